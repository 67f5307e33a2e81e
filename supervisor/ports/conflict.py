"""Names the holder of a port in words that may be public."""

from dataclasses import replace
from pathlib import PurePath

from supervisor.ports.sock_diag import (
    Holder,
    describe,
    find_holders,
    next_command,
    time_wait_count,
    unit_of,
)
from supervisor.process.proc_stat import read_stat

SERVICE = "flask-supervisor.service"
_WORKER_NAMES = "fs-"  # how ps shows workers, whatever they run


def conflict(port: int, own_pid: int) -> dict[str, str | None]:
    """Return the fields of a `reports.Cause`: who but ``own_pid`` holds ``port``, and what to type.

    ``own_pid`` is the main process or a worker. BLOCKS while it scans /proc: run it in a throw-away
    child.
    """
    holders = [holder for holder in find_holders(port) if holder.pid != own_pid]
    own = next((holder for holder in holders if is_own(holder, _main_of(own_pid))), None)
    if own is not None:
        reason = f"port {port} is in use by this supervisor itself: pid {own.pid} ({own.command})"
        hint = "another app or the status server has it: correct the port of one of them"
        return {"reason": reason, "hint": hint}
    if holders and all(is_old_worker(holder, own_pid) for holder in holders):
        pids = ", ".join(str(holder.pid) for holder in holders)
        reason = f"port {port} is still held by a worker of this service that is ending: pid {pids}"
        return {"reason": reason, "hint": "wait: the port is tried again by itself"}
    reason = in_use_by(port, holders) + time_wait_note(port)
    return {"reason": reason, "hint": advice(port, holders)}


def in_use_by(port: int, holders: list[Holder]) -> str:
    """Return a sentence that names the holders of ``port``, as far as they are known."""
    names = " and ".join(map(_name, holders))
    return f"port {port} is in use by {names}" if names else f"port {port} is in use"


def advice(port: int, holders: list[Holder]) -> str:
    """Return what an operator can do; nobody is told to end a supervisor that serves."""
    if any(map(is_supervisor, holders)):
        return (
            "see what that one serves: flask-supervisor status; two can't serve one port, so give "
            "one of them another port in its configuration"
        )
    return f"free it with: {next_command(holders, port)}"


def _name(holder: Holder) -> str:
    text = describe(public(holder))
    return f"another flask-supervisor, {text}" if is_supervisor(holder) else text


def is_supervisor(holder: Holder) -> bool:
    """Return whether ``holder`` is the main process of a supervisor, or one of its workers."""
    return holder.unit == SERVICE or _looks_like_one(holder)


def _looks_like_one(holder: Holder) -> bool:
    is_worker = (holder.command or "").startswith(_WORKER_NAMES)
    return is_worker or runs_supervisor((holder.command_line or "").split())


def is_own(holder: Holder, main_pid: int) -> bool:
    """Return whether ``holder`` is the main process, or a descendant, as self-bound apps are."""
    pid = holder.pid
    while pid is not None and pid > 1:
        if pid == main_pid:
            return True
        found = read_stat(pid)
        pid = None if found is None else found.parent
    return False


def _main_of(pid: int) -> int:
    found = read_stat(pid)
    return found.parent if found and found.name.startswith(_WORKER_NAMES) else pid


def is_old_worker(holder: Holder, own_pid: int) -> bool:
    """Return whether ``holder`` is a worker that an earlier main process of our service has left.

    ``own_pid`` is of our service, of which systemd runs one main process at a time.
    """
    own = unit_of(own_pid)
    is_service = own is not None and own.endswith(".service")
    return is_service and holder.unit == own and _looks_like_one(holder)


def runs_supervisor(words: list[str]) -> bool:
    """Return whether a command line is ``flask-supervisor run`` or ``-m supervisor run``."""
    for number, word in enumerate(words[:-1]):
        if words[number + 1] == "run" and (
            PurePath(word).name == "flask-supervisor"
            or (word == "supervisor" and number > 0 and words[number - 1] == "-m")
        ):
            return True
    return False


def time_wait_note(port: int | None) -> str:
    """Return a clause that says that old connections, if there are any, don't block the port.

    Without their number, which changes all the time: each change would be a new reason.
    """
    waiting = port is not None and time_wait_count(port)
    return "; its connections in TIME_WAIT never block it" if waiting else ""


def public(holder: Holder) -> Holder:
    """Return ``holder`` with the program and its script alone: arguments may hold secrets."""
    if not holder.command_line:
        return holder
    program, *arguments = holder.command_line.split()
    words = [PurePath(program).name]
    if arguments and not arguments[0].startswith("-") and "=" not in arguments[0]:
        words.append(PurePath(arguments[0]).name)
    elif arguments[:1] == ["-m"]:
        words += arguments[:2]
    return replace(holder, command_line=" ".join(words))
