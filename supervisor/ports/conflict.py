"""Names the holder of a port in words that may be public."""

from dataclasses import replace
from pathlib import PurePath

from supervisor.ports.sock_diag import Holder, describe, find_holders, next_command, time_wait_count


def conflict(port: int, own_pid: int) -> dict[str, str | None]:
    """Return the fields of a `reports.Cause`: who but ``own_pid`` holds ``port``, and what to type.

    BLOCKS while it scans /proc: run it in a throw-away child.
    """
    holders = [holder for holder in find_holders(port) if holder.pid != own_pid]
    reason = in_use_by(port, holders) + time_wait_note(port)
    return {"reason": reason, "hint": f"free it with: {next_command(holders, port)}"}


def in_use_by(port: int, holders: list[Holder]) -> str:
    """Return a sentence that names the holders of ``port``, as far as they are known."""
    names = " and ".join(describe(public(holder)) for holder in holders)
    return f"port {port} is in use by {names}" if names else f"port {port} is in use"


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
