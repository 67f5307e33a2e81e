"""Watches an import that takes long: where it is, whether it serves by itself, whether it is over.

An import is left alone for a second; after that a thread looks at it twice a second. Needs the
standard library alone.
"""

import contextlib
import signal
import sys
import time
from _thread import allocate_lock, get_ident, start_new_thread  # the real ones, whatever is patched
from collections.abc import Callable
from pathlib import Path
from time import sleep
from types import FrameType
from typing import Any

from supervisor.worker import app_signals
from supervisor.worker.frames import own_place, server_called, stack
from supervisor.worker.import_failure import ImportTimeout, ServesAtImport

OnPlace = Callable[[str, int], None]
"""Receives the file, relative to the app's folder, and the line where an import is; in a thread."""

_GREENLET_LOOPS = ("/gevent/hub.py", "/eventlet/hubs/hub.py")
_QUIET_S = 1.0
_LOOK_EVERY_S = 0.5
_ALARM_AGAIN_S = 0.503  # an import that catches what is raised is interrupted again


class ImportWatch:
    """Watches the block, in the main thread; without ``timeout_s`` it does nothing.

    Raises `ImportTimeout` in the block when that takes longer than ``timeout_s`` seconds, and
    `ServesAtImport` when it has called a server that does not return. ``on_place`` learns where
    in the app's folder ``path`` it is.
    """

    def __init__(
        self, timeout_s: float | None, path: Path | None = None, on_place: OnPlace | None = None
    ) -> None:
        self._timeout_s = timeout_s
        self._path = path
        self._on_place = on_place
        self._deadline = 0.0
        self._thread = get_ident()
        self._served: str | None = None  # the call of a server that doesn't return
        self._is_looking = False
        self._suspended: list[FrameType] = []  # of the import, while a loop of greenlets runs
        self._lock = allocate_lock()  # held while the other thread acts
        self._is_over = False

    def __enter__(self) -> None:
        if self._timeout_s is None:
            return
        self._deadline = time.monotonic() + self._timeout_s
        app_signals.install(signal.SIGALRM, self._alarmed)
        first_s = min(_QUIET_S, self._timeout_s)
        signal.setitimer(signal.ITIMER_REAL, first_s, _ALARM_AGAIN_S)

    def __exit__(self, *_: object) -> None:
        if self._timeout_s is None:
            return
        if signal.getitimer(signal.ITIMER_REAL)[1] == _ALARM_AGAIN_S:  # not one of the app's own
            signal.setitimer(signal.ITIMER_REAL, 0)
        with self._lock:
            self._is_over = True
        app_signals.uninstall(signal.SIGALRM)

    def _alarmed(self, _number: int, _frame: FrameType | None) -> None:
        left_s = self._deadline - time.monotonic()
        main = _main_greenlet()
        self._suspended = list(stack(main.gr_frame)) if main is not None else []
        if self._served is not None:
            _raise(ServesAtImport(self._served), main)
        if left_s <= 0:
            _raise(ImportTimeout(f"the import took longer than {self._timeout_s:g} s"), main)
        if self._path is not None and not self._is_looking:
            signal.setitimer(signal.ITIMER_REAL, left_s, _ALARM_AGAIN_S)
            self._is_looking = True
            with contextlib.suppress(RuntimeError):  # the system has no thread to give
                start_new_thread(self._look, (self._path,))

    def _look(self, path: Path) -> None:
        """Look at the import until it is over, in a thread of its own."""
        place: tuple[str, int] | None = None
        server: tuple[FrameType, str] | None = None
        while True:
            with self._lock:
                if self._is_over:
                    return
                frames = list(stack(sys._current_frames().get(self._thread)))
                if any(one.f_code.co_filename.endswith(_GREENLET_LOOPS) for one in frames):
                    self._alarm()  # only that thread knows which one imports
                    frames = self._suspended
                found, place = place, own_place(frames, path)
                if place is not None and place != found and self._on_place is not None:
                    self._on_place(*place)
                before, server = server, server_called(frames)
                if server is not None and before is not None and server[0] is before[0]:
                    self._served = server[1]
                    self._alarm()
                    return
                del frames
            sleep(_LOOK_EVERY_S)

    def _alarm(self) -> None:
        if signal.getsignal(signal.SIGALRM) == self._alarmed:  # the app has installed no other one
            signal.pthread_kill(self._thread, signal.SIGALRM)


def _main_greenlet() -> Any:
    """Return the greenlet that imports, if this thread runs another one for it; else None."""
    current = sys.modules["greenlet"].getcurrent() if "greenlet" in sys.modules else None
    if current is None or current.parent is None:
        return None
    while current.parent is not None:
        current = current.parent
    return current


def _raise(error: BaseException, main_greenlet: Any) -> None:
    """Raise ``error`` in the import."""
    if main_greenlet is None:
        raise error
    main_greenlet.throw(error)
