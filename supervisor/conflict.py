"""Says who holds a port, in words that anybody may read."""

from dataclasses import replace
from pathlib import PurePath

from supervisor.sockdiag import Holder, describe, find_holders, next_command


def conflict(port: int, own_pid: int) -> dict[str, str | None]:
    """Give the fields of a `model.Cause`: who but ``own_pid`` holds ``port``, what to type next.

    BLOCKS while it scans /proc: run it in a throw-away child.
    """
    holders = [holder for holder in find_holders(port) if holder.pid != own_pid]
    names = " and ".join(describe(public(holder)) for holder in holders)
    reason = f"port {port} is in use by {names}" if names else f"port {port} is in use"
    return {"reason": reason, "hint": f"free it with: {next_command(holders, port)}"}


def public(holder: Holder) -> Holder:
    """Keep of the command line the program and its script: arguments may hold secrets."""
    if not holder.command_line:
        return holder
    program, *arguments = holder.command_line.split()
    words = [PurePath(program).name]
    if arguments and not arguments[0].startswith("-") and "=" not in arguments[0]:
        words.append(PurePath(arguments[0]).name)
    elif arguments[:1] == ["-m"]:
        words += arguments[:2]
    return replace(holder, command_line=" ".join(words))
