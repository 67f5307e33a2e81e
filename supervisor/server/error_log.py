"""The log of the server's errors, which an app's logging configuration can't turn off.

Waitress logs to the logger ``waitress``. An app may disable that (`logging.config.dictConfig`
disables all existing loggers by default), or send it to a file. So an error is logged as waitress
does it, and is written to standard error too unless a handler has written it there.
"""

import contextlib
import logging
import os
import sys
import traceback
from typing import Any

from waitress.utilities import logger as waitress_logger

from supervisor.values.levels import marked, of_number

_STREAMS = {1, 2}  # descriptors that the main process captures


class ErrorLog:
    """Stands in for ``logger`` in waitress's classes; errors and notices always reach the log."""

    def __init__(self, logger: logging.Logger = waitress_logger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def exception(self, message: str, *arguments: object, **more: Any) -> None:
        """Log the exception that is being handled, with its traceback."""
        self._write(logging.ERROR, message, arguments, {"exc_info": True, **more})

    def error(self, message: str, *arguments: object, **more: Any) -> None:
        """Log an error."""
        self._write(logging.ERROR, message, arguments, more)

    def notice(self, message: str, *arguments: object) -> None:
        """Log what an operator has to know of an app, as a warning."""
        self._write(logging.WARNING, message, arguments, {})

    def log(self, level: int, message: str, *arguments: object, **more: Any) -> None:
        """Log ``message`` with ``level``."""
        if level >= logging.ERROR:
            self._write(level, message, arguments, more)
        else:
            self._logger.log(level, message, *arguments, **more)

    def _write(
        self, level: int, message: str, arguments: tuple[object, ...], more: dict[str, Any]
    ) -> None:
        is_shown = False
        try:
            is_shown = _reaches_a_stream(self._logger, level)
            self._logger.log(level, message, *arguments, **more)
        except Exception:  # noqa: BLE001 - a filter or a handler of the app raised
            is_shown = False
        if not is_shown:
            text = message % arguments if arguments else message
            if more.get("exc_info"):
                text += "\n" + traceback.format_exc().rstrip()
            to_standard_error(marked(text, of_number(level)) + "\n")


def _reaches_a_stream(logger: logging.Logger, level: int) -> bool:
    """Return whether a handler writes a record of ``level`` to standard output or error."""
    if not logger.isEnabledFor(level) or logger.disabled:
        return False
    handlers: list[logging.Handler] = []
    current: logging.Logger | None = logger
    while current is not None:
        handlers += current.handlers
        current = current.parent if current.propagate else None
    if not handlers and logging.lastResort is not None:
        handlers = [logging.lastResort]
    return any(handler.level <= level and _is_stream(handler) for handler in handlers)


def _is_stream(handler: logging.Handler) -> bool:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no stream, or a closed one
        return handler.stream.fileno() in _STREAMS  # type: ignore[attr-defined]
    return False


def to_standard_error(text: str) -> None:
    """Write ``text`` to descriptor 2: the app may have replaced or closed `sys.stderr`."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
    data = text.encode("utf-8", "backslashreplace")
    with contextlib.suppress(OSError):  # the app has closed it: there is no other place
        while data:
            data = data[os.write(2, data) :]


log = ErrorLog()
