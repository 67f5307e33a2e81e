"""A WSGI app that fails in every way that its path names, for tests of the server.

``/view/KIND`` raises before the answer, ``/first/KIND`` in a generator that has sent nothing,
``/stream/KIND`` in one that has sent a part, and ``/close/KIND`` in the ``close`` of its iterable.
``/full_disk`` makes the end of the request fail, as when its temporary file can't be closed.
``/headers?NAME=VALUE`` answers 200 with that header, ``/logging/NAME`` sets up logging first.
"""

import asyncio
import errno
import logging
import logging.config
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

KINDS: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "error": lambda: RuntimeError("broken on purpose"),
}
HTML = [("Content-Type", "text/html; charset=utf-8")]


class _FailsToClose:
    """An iterable that is complete, and whose ``close`` raises."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"whole\n"])

    def close(self) -> None:
        """Raise, as WSGI servers call it at the end."""
        raise self._error


class _RaisingFilter(logging.Filter):
    def filter(self, _record: logging.LogRecord) -> bool:
        """Fail."""
        raise RuntimeError("a filter that fails")


def _disable_loggers() -> None:
    logging.config.dictConfig({"version": 1})


def _disable_logging() -> None:
    logging.disable(logging.CRITICAL)


def _log_to_file() -> None:
    logging.basicConfig(filename="app.log", force=True)


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, format="app: %(message)s", force=True)


def _fail_to_log() -> None:
    logging.getLogger("waitress").addFilter(_RaisingFilter())


def _close_stderr() -> None:
    sys.stderr = None


LOGGING: dict[str, Callable[[], None]] = {
    "disabled_loggers": _disable_loggers,
    "disabled": _disable_logging,
    "file": _log_to_file,
    "stderr": _log_to_stderr,
    "failing": _fail_to_log,
    "no_stderr": _close_stderr,
}


def _fail_to_close() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Fail as the path says."""
    _, where, kind = [*environ["PATH_INFO"].split("/"), "", ""][:3]
    if where == "logging":
        LOGGING[kind]()
    if where == "full_disk":
        environ["waitress.client_disconnected"].__self__.requests[0].close = _fail_to_close
    if where == "view":
        raise KINDS[kind]()
    headers = parse_qsl(environ["QUERY_STRING"]) if where == "headers" else []
    if where == "first":
        return _raising(start_response, b"", KINDS[kind]())
    start_response("200 OK", [*HTML, *headers])
    if where == "stream":
        return _raising(None, b"part\n", KINDS[kind]())
    if where == "close":
        return _FailsToClose(KINDS[kind]())
    return [environ["PATH_INFO"].encode() + b"\n"]


def _raising(
    start_response: Callable[..., Any] | None, part: bytes, error: BaseException
) -> Iterator[bytes]:
    if start_response is not None:
        start_response("200 OK", HTML)
    yield part
    raise error
