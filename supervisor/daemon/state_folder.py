"""The state folder while the supervisor runs: no port depends on it.

Where it can't be used, as on a disk that is read-only, full or not mounted yet, commands still find
this process by its abstract name, and the folder is tried again. When it is removed, or another one
is mounted over it, it is made again.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Callable

from supervisor.control.server import ControlServer, listen
from supervisor.files import state_dir
from supervisor.files.state_dir import StateDir
from supervisor.policy.health_document import CheckFacts
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.source.fingerprints import Watch, taken
from supervisor.supervision.runtime import Runtime
from supervisor.values.errors import AlreadyRunning, SupervisorError
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause
from supervisor.values.watch_requests import WatchKey, WatchRequest, WatchSubject

_EVERY_S = 2.0  # its control socket is looked at so often
_RETRY_S = 5.0
_TIMEOUT_S = 10.0

_DISK_HINT = "free some space there: df -h and df -i show what is full"
_CAUSES = {
    errno.EROFS: ("its disk is read-only", "find out why: sudo dmesg | grep -e mmc -e EXT4"),
    errno.ENOSPC: ("its disk is full, or out of inodes", _DISK_HINT),
    errno.EDQUOT: ("the quota of its user is used up", _DISK_HINT),
}
_HINT = "set state_dir in [supervisor] to a folder that the supervisor's user may write to"


class StateFolder:
    """Holds ``state``, and serves ``server`` in it and by its name.

    ``started`` is for a second supervisor's error; ``renewed`` is called when the folder can be
    used again, and may be empty. ``was_left`` says, from `open` on, that the run before has not
    closed the folder: it ended unexpectedly.
    """

    def __init__(
        self,
        runtime: Runtime,
        state: StateDir,
        server: ControlServer,
        *,
        started: str,
        renewed: Callable[[], None],
    ) -> None:
        self.problem: Cause | None = None
        self.was_left = False
        self._runtime = runtime
        self._state = state
        self._server = server
        self._started = started
        self._renewed = renewed
        self._listener: socket.socket | None = None  # in the folder
        self._watch: list[WatchRequest] = []
        self._opened = 0
        self._retry_at = 0.0
        self._tries = False

    def begin(self) -> None:
        """Take the name, and `open` the folder unless its disk hangs; raises `AlreadyRunning`."""
        self._state.take_name()
        self._state.answers = self._state.path not in self._runtime.silent
        if not self._state.answers:
            self.problem = Cause(
                reason="the state folder can't be used: its disk does not answer",
                hint="look for its mount: findmnt; dmesg shows what the disk reports",
            )
            return
        self.open()

    def open(self) -> None:
        """Take the name and the lock, and bind the control socket, as far as that is possible.

        What isn't is in `problem`. Raises `AlreadyRunning`.
        """
        self._retry_at = self._runtime.now() + _RETRY_S
        self._state.answers = True
        try:
            if self._opened == 0:
                self.was_left = os.path.lexists(self._state.control_socket)
            self._state.lock(self._started)
            self._listener = listen(self._state.control_socket)
        except AlreadyRunning:
            raise
        except SupervisorError as error:
            self.problem = _cause(error.__cause__)
            return
        self.problem = None
        self._opened += 1
        file = str(self._state.control_socket)
        key = WatchKey(process="", subject=WatchSubject.LISTENER, number=self._opened)
        watch = [taken(Watch(trees=(), files=(file,)))]
        self._watch = [WatchRequest(key=key, watch=watch, every_s=_EVERY_S)]

    async def serve(self) -> None:
        """Answer the clients that come by the name or the control socket."""
        if self._state.named is not None:
            await self._server.start(self._state.named)
        await self._serve_in_folder()
        if self.problem is not None:
            text = f"{self.problem.reason}; every port is served without it"
            self._record(text, problem=True)

    async def _serve_in_folder(self) -> None:
        if self._listener is not None:
            await self._server.start(self._listener)

    def watches(self) -> list[WatchRequest]:
        """Return the watch of the control socket, by whose end the folder's is noticed."""
        return self._watch

    def checks(self) -> list[CheckFacts]:
        """Return the check that warns of a folder that can't be used."""
        if self.problem is None:
            return []
        reason, hint = self.problem.reason, self.problem.hint
        return [CheckFacts(name="state_folder", reason=reason, hint=hint, critical=False)]

    def on_gone(self, number: int) -> None:
        """Handle that the control socket is not at its place any more."""
        if number == self._opened and self.problem is None:
            text = "the control socket, or the state folder, was removed or replaced"
            self._record(f"{text}: making it again", problem=True)
            self._runtime.jobs.run(self._open_again())

    def on_tick(self) -> None:
        """Try a folder again that can't be used, when that is due."""
        if self.problem is not None and self._runtime.now() >= self._retry_at and not self._tries:
            self._tries = True
            self._runtime.jobs.run(self._try_again())

    async def _try_again(self) -> None:
        """Look at the folder in a child, since its disk may hang; then open it."""
        try:
            fault = await run_in_child(
                state_dir.fault, self._state.path, timeout_s=_TIMEOUT_S, quiet=True
            )
        except (TaskFailed, OSError):
            fault = errno.ETIMEDOUT
        self._tries = False
        self._retry_at = self._runtime.now() + _RETRY_S
        if fault is None:
            await self._open_again()

    async def _open_again(self) -> None:
        if self._listener is not None:
            self._server.forget(self._listener)
            self._listener = None
        try:
            self.open()
        except AlreadyRunning as error:
            self.problem = Cause(reason="another supervisor has the state folder", hint=error.hint)
        if self.problem is None:
            await self._serve_in_folder()
            self._record("the state folder is in use again")
            self._renewed()
        self._runtime.signal.notify()

    def _record(self, text: str, *, problem: bool = False) -> None:
        self._runtime.journal.record(EventKind.STARTED, text, app=None, problem=problem)

    def close(self) -> None:
        """Remove the control socket, and release the lock and the name."""
        if self._listener is not None:
            with contextlib.suppress(OSError):  # the next start replaces it
                self._state.control_socket.unlink()
        self._state.unlock()


def _cause(error: BaseException | None) -> Cause:
    number = error.errno if isinstance(error, OSError) else None
    reason, hint = _CAUSES.get(number or 0, (getattr(error, "strerror", None) or str(error), _HINT))
    return Cause(reason=f"the state folder can't be used: {reason}", hint=hint)
