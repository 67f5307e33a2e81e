"""The signal handlers of a worker, which take the place of the app's for a while.

A worker drains on SIGTERM and SIGINT. The handler that an app has installed for SIGTERM, to turn
motors off, is called at the end of the worker. A process that the app forks has the handlers that
it would have without a supervisor.
"""

import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]

_ours: dict[int, Handler] = {}
_replaced: dict[int, Any] = {}  # what was installed before: the app's handler, or a default


def install(number: int, handler: Handler) -> None:
    """Install ``handler`` in place of the app's; called in the main thread."""
    replaced = signal.signal(number, handler)
    _replaced[number] = signal.SIG_DFL if replaced is None else replaced  # None: not of Python
    _ours[number] = handler


def uninstall(number: int) -> None:
    """Install what there was before, unless the app has installed a handler meanwhile."""
    handler, replaced = _ours.pop(number), _replaced.pop(number)
    if signal.getsignal(number) == handler:
        signal.signal(number, replaced)


def block() -> set[int]:
    """Block in this thread the signals that we handle; return the mask that there was before.

    Around a fork: a signal that arrives in the new process before `restore` would be lost.
    """
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, _ours))


def restore() -> None:
    """Install the app's handlers, or the defaults, in place of ours: for a forked process."""
    for number, handler in _ours.items():
        if signal.getsignal(number) == handler:
            signal.signal(number, _replaced[number])


def call_replaced(number: int) -> None:
    """Call the handler of the app, if it has one, and report what that raises.

    `SystemExit` is not reported: the usual handler ends the process by `sys.exit`, which is what
    its caller does next.
    """
    handler = _replaced.get(number)
    if not callable(handler) or handler is signal.default_int_handler:
        return
    try:
        handler(number, sys._getframe())
    except SystemExit:
        return
    except BaseException:  # noqa: BLE001 - the app's own code: reported
        traceback.print_exc()
