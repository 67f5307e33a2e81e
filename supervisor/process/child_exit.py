"""Ends a process that ran an app's code: its threads and exit handlers get a limited time."""

import atexit
import contextlib
import os
import signal
import sys
import threading
import traceback
from typing import NoReturn

CLEANUP_S = 2.0  # for non-daemon threads and atexit handlers


def exit_process(code: int) -> NoReturn:
    """Join threads and run atexit handlers for at most `CLEANUP_S`, flush, and exit with ``code``.

    Called in the main thread.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # it is ending already
    limit = threading.Timer(CLEANUP_S, os._exit, [code])
    limit.daemon = True
    with contextlib.suppress(RuntimeError):  # no thread left: then there is no limit
        limit.start()
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # joins non-daemon threads
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - the app's handlers; the process ends either way
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
