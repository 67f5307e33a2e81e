"""The program of an app (``command``): started by a worker, on the listener of its port."""

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from supervisor.process.descent import descendants
from supervisor.process.fork import close_others
from supervisor.process.oom import KillCounter
from supervisor.process.prctl import die_with_parent
from supervisor.process.proc_stat import read_stat
from supervisor.values.errors import SupervisorError
from supervisor.values.records import dataclass
from supervisor.values.reports import Exit

_ACTIVATED_FD = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
# A copy for `{fd}`: servers that know LISTEN_FDS close that descriptor when they have taken it, and
# would not find it again by its number.
_NAMED_FD = 4
_ABOVE = 64  # descriptors are moved above this for a moment: they may have each other's numbers
_NOT_STARTED = 127  # exit code of a child that could not execute the program


class ProgramError(SupervisorError):
    """The program can't be started."""


def words_of(command: Sequence[str], port: int | None) -> list[str]:
    """Return the words of ``command`` with the values of ``{fd}`` and ``{port}``."""
    values = {"{fd}": str(_NAMED_FD), "{port}": "" if port is None else str(port)}
    words = list(command)
    for placeholder, value in values.items():
        words = [word.replace(placeholder, value) for word in words]
    return words


def find_program(word: str, path: Path, search_path: str) -> str:
    """Return the file of the program that the first word of a command names.

    A word with a slash is relative to ``path``, the app's folder; any other is looked up in the
    folders of ``search_path`` (``PATH``). Raises `ProgramError`.
    """
    if not path.is_dir():
        raise ProgramError(
            f"the app's folder {path.name}/ does not exist", hint="correct its `path`"
        )
    named = str(path / word) if "/" in word else word
    found = shutil.which(named, path=search_path)
    if found is not None:
        return found
    if "/" not in word:
        raise ProgramError(
            f"the program {word} of its `command` is not installed, or not on the PATH",
            hint=f"install it where the app's interpreter is (pip install {word}), name its "
            "environment by `python`, or give its whole path",
        )
    what = "can't be executed" if os.path.exists(named) else "doesn't exist"
    raise ProgramError(
        f"the program {Path(word).name} of its `command` {what}",
        hint="correct `command`; a path is relative to the app's `path`, and needs the mode of a "
        "program (chmod +x)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that runs; ``pidfd`` becomes readable when it ends."""

    name: str
    pid: int
    pidfd: int
    kills: KillCounter = field(repr=False)

    def has_ended(self, within_s: float) -> bool:
        """Return whether it has ended, or ends in ``within_s`` seconds."""
        waiting = select.poll()
        waiting.register(self.pidfd, select.POLLIN)
        return bool(waiting.poll(within_s * 1000))

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has stopped it, as SIGSTOP does."""
        stat = read_stat(self.pid)
        return stat is not None and stat.is_stopped

    def members(self) -> list[int]:
        """Return the pids of the program and of all that it has started."""
        return [self.pid, *descendants(self.pid)]

    def terminate(self) -> None:
        """Ask it to end, by SIGTERM."""
        self._send([self.pid], signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to it and to all that it has started."""
        self._send(self.members(), signal.SIGKILL)

    def reap(self) -> Exit:
        """Return how it ended; blocks until it has."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        killed = code == -signal.SIGKILL
        return Exit.from_exitcode(code, out_of_memory=self.kills.claim() if killed else None)

    @staticmethod
    def _send(pids: list[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def start_program(
    words: Sequence[str],
    *,
    file: str,
    path: Path,
    environment: Mapping[str, str],
    listener: socket.socket | None,
) -> Program:
    """Start ``file`` with ``words`` in the folder ``path``; raise `ProgramError` if that fails.

    It inherits ``listener``, which is non-blocking, as by socket activation (sd_listen_fds(3)) and
    for ``{fd}``, and this process's output. The kernel kills it when the calling thread ends.
    """
    name = Path(words[0]).name
    kills = KillCounter()
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        try:
            _execute(words, file, path, dict(environment), listener, write_end, parent)
        except OSError as error:
            os.write(write_end, str(error.errno).encode())
        finally:
            os._exit(_NOT_STARTED)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        failure = stream.read()
    if failure:
        os.waitpid(pid, 0)
        raise ProgramError(
            f"the program {name} could not be started: {os.strerror(int(failure))}",
            hint="try it in the app's folder, with the same user",
        )
    return Program(name=name, pid=pid, pidfd=os.pidfd_open(pid), kills=kills)


def _execute(
    words: Sequence[str],
    file: str,
    path: Path,
    environment: dict[str, str],
    listener: socket.socket | None,
    kept: int,
    parent: int,
) -> None:
    """Execute the program in place of this process, which has just been forked."""
    die_with_parent()
    if os.getppid() != parent:  # it ended before the kernel knew
        os._exit(_NOT_STARTED)
    os.chdir(path)
    kept = fcntl.fcntl(kept, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    if listener is not None:
        moved = fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD, _ABOVE)
        os.dup2(moved, _ACTIVATED_FD)
        os.dup2(moved, _NAMED_FD)
        environment |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    close_others({kept} | ({_ACTIVATED_FD, _NAMED_FD} if listener else set()))
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execve(file, list(words), environment)
