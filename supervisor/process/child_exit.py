"""The end of a process that ran foreign code: its threads and exit handlers, within a bound."""

import atexit
import contextlib
import os
import signal
import sys
import threading
import traceback
from typing import NoReturn

CLEANUP_S = 2.0  # threads and atexit handlers get this long


def end(code: int) -> NoReturn:
    """Give threads and atexit handlers `CLEANUP_S`, flush, and end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # it ends already
    limit = threading.Timer(CLEANUP_S, os._exit, [code])
    limit.daemon = True
    with contextlib.suppress(RuntimeError):  # no thread to be had: then there is no limit
        limit.start()
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # joins non-daemon threads
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - foreign handlers; the process ends either way
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
