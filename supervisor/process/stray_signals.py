"""Signals that have no meaning for the main process: logged, instead of ending it."""

import asyncio
import signal
from collections.abc import Callable

# Their default action ends a process, and operators send them by habit or mistake: to rotate logs,
# or to print a stack. SIGABRT stays as it is: it is systemd's watchdog.
STRAY = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGQUIT)


def log_stray_signals(loop: asyncio.AbstractEventLoop, log: Callable[[str], None]) -> None:
    """Call ``log`` in ``loop`` with one line for each stray signal that arrives."""
    for number in STRAY:
        loop.add_signal_handler(
            number, log, f"{number.name} is ignored: it has no meaning for the main process"
        )
