"""Ends a process that ran an app's code: its threads and exit handlers get a limited time.

Afterwards it ends the processes that the app has started and left, within the same time.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import traceback
from _thread import start_new_thread  # the real ones, whatever an app patches
from collections.abc import Callable
from time import sleep
from typing import NoReturn

from supervisor.process.descent import end_own_descendants

CLEANUP_S = 2.0  # for non-daemon threads and atexit handlers


_last: list[Callable[[], None]] = []


def call_last(function: Callable[[], None]) -> None:
    """Let `exit_process` call ``function`` when nothing else of this process runs any more."""
    _last.append(function)


def _exit_later(code: int) -> None:
    sleep(CLEANUP_S)
    _end(code)


def _end(code: int) -> NoReturn:
    try:
        for function in _last:
            function()
    finally:
        os._exit(code)


def exit_process(code: int) -> NoReturn:
    """Join threads and run atexit handlers, flush, end what was started, and exit with ``code``.

    All of it takes at most `CLEANUP_S`. Called in the main thread.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # it is ending already
    with contextlib.suppress(RuntimeError):  # no thread left: then there is no limit
        start_new_thread(_exit_later, (code,))
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # joins non-daemon threads
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - the app's handlers; the process ends either way
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    end_own_descendants()
    _end(code)
