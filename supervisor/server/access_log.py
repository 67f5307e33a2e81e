"""One line for each request, in the combined log format of Apache and nginx, and its seconds.

Tools for access logs read it. It goes where the app's output goes, marked as information.
"""

import time
from typing import Any

from supervisor.server.error_log import to_standard_error
from supervisor.values.levels import marked

_FIELD_MAX = 900  # characters; with these the line is written in one piece: pipe(7), PIPE_BUF
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"  # whatever the locale is


def write(task: Any, status: str, seconds: float) -> None:
    """Write the line of waitress's ``task``, which was answered with ``status``."""
    request = task.request
    environ = getattr(task, "environ", None) or {}  # an app, or a trusted proxy, may have set it
    client = environ.get("REMOTE_ADDR") or task.channel.addr[0]
    now = time.localtime()
    month = _MONTHS[3 * now.tm_mon - 3 : 3 * now.tm_mon]
    moment = time.strftime(f"%d/{month}/%Y:%H:%M:%S %z", now)
    first = getattr(request, "first_line", b"").decode("latin-1") or "-"
    line = (
        f'{client} - - [{moment}] "{_quoted(first, 2)}" {status[:3]} {_size(task)} '
        f'"{_quoted(request.headers.get("REFERER", "-"))}" '
        f'"{_quoted(request.headers.get("USER_AGENT", "-"))}" {seconds:.3f}'
    )
    to_standard_error(marked(line, "info") + "\n")


def _size(task: Any) -> int:
    """Return the bytes of the answer's body."""
    if not task.has_body or getattr(task.request, "command", "") == "HEAD":
        return 0
    return getattr(task, "body_bytes", 0) or task.content_length or 0  # or: a file


def _quoted(text: str, share: int = 1) -> str:
    """Return a text of a client so that it can't end its field: escaped as by nginx, and cut."""
    safe = "".join(c if " " <= c <= "~" and c not in '"\\' else f"\\x{ord(c):02X}" for c in text)
    return safe[: share * _FIELD_MAX]
