"""Marks what an app logs with its level, whatever format the app has chosen.

The main process, and journald, read the mark (``<4>text``, of sd-daemon(3)) and remove it. Without
it a format with no level word, or no logging configuration at all, would hide a warning. Needs the
standard library alone.
"""

import logging
import os
from typing import Any

from supervisor.values.levels import marked, of_number


def mark_logged_levels() -> None:
    """From now on handlers that write to this worker's output mark what they write.

    What goes elsewhere, to a file or to a stream that the app has made, stays as it is.
    """
    output = _identity(2)

    def emit(handler: Any, record: logging.LogRecord) -> None:
        """As in `logging`, with the mark."""
        try:
            text = handler.format(record)
            stream = handler.stream
            if handler.terminator == "\n" and _leads_to(stream, output):
                text = marked(text, of_number(record.levelno))
            stream.write(text + handler.terminator)
            handler.flush()
        except RecursionError:  # https://github.com/python/cpython/issues/80455
            raise
        except Exception:  # noqa: BLE001 - as in `logging`, which reports it
            handler.handleError(record)

    logging.StreamHandler.emit = emit  # type: ignore[assignment, method-assign]


def _leads_to(stream: object, output: tuple[int, int]) -> bool:
    try:
        return _identity(stream.fileno()) == output  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError, TypeError):  # no file, or a closed one
        return False


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
