"""What every page shares: its helpers in templates, partial answers, and how files are kept."""

import gzip
import re
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, request, url_for

from apps.admin.charts import Charts
from apps.admin.fields import duration

LIVE = "X-Live"  # a request for the live part of a page only, and its answer
_STATIC_AGE_S = 24 * 3600
_ZIPPED_MIN = 2048
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")

PAGES = (
    ("overview.index", "Overview"),
    ("events.index", "Events"),
    ("checks.index", "Checks"),
    ("configuration.index", "Configuration"),
    ("machine.index", "Machine"),
    ("machines.index", "Machines"),
    ("settings.index", "Settings"),
)


def add_rendering(app: Flask) -> None:
    """Add the helpers of templates to ``app``, and what its answers have in common."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["duration"] = duration
    app.jinja_env.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    app.jinja_env.filters["size"] = _size
    app.jinja_env.filters["clock"] = lambda time: _local(time, "%H:%M:%S")
    app.jinja_env.filters["day"] = lambda time: _local(time, "%Y-%m-%d %H:%M")
    app.context_processor(_context)
    app.after_request(_finish)


def browser_host() -> str:
    """Return the host by which the browser reached this machine, without a port; "" if strange."""
    host = re.sub(r":\d+$", "", request.host)
    return host if _HOST.fullmatch(host) else ""


def charts() -> Charts:
    """Return the charts of the last hour."""
    found: Charts = current_app.extensions["charts"]
    return found


def _context() -> dict[str, Any]:
    return {"pages": PAGES, "live_only": LIVE in request.headers, "asset": _asset}


def _asset(name: str) -> str:
    """Return the address of a file of ours, another one when it has changed."""
    file = Path(current_app.static_folder or "") / name
    return url_for("static", filename=name, v=f"{file.stat().st_mtime_ns // 10**9:x}")


def _finish(response: Response) -> Response:
    if request.endpoint == "static" or (request.endpoint or "").endswith(".static"):
        return _static(response)
    response.headers["Cache-Control"] = "no-store"
    if LIVE in request.headers and response.mimetype == "text/html":
        response.headers[LIVE] = "1"
        if response.status_code == 200:
            response.add_etag(weak=True)
            response.make_conditional(request)
    return response


def _static(response: Response) -> Response:
    """Let browsers keep a file for a day, and send style sheets compressed."""
    if response.status_code == 200:
        response.cache_control.public = True
        response.cache_control.max_age = _STATIC_AGE_S
        response.cache_control.no_cache = None
        folder = current_app.static_folder
        if request.endpoint != "static":
            folder = current_app.blueprints[request.blueprint or ""].static_folder
        name = (request.view_args or {}).get("filename", "")
        file = Path(folder or "") / name
        if request.accept_encodings["gzip"] and name.endswith((".css", ".js")):
            zipped = _zipped(file, file.stat().st_mtime_ns)
            if len(zipped) > _ZIPPED_MIN:
                response.close()  # the file that it would have sent
                response.direct_passthrough = False
                response.set_data(zipped)
                response.headers["Content-Encoding"] = "gzip"
                response.headers.pop("ETag", None)
        response.vary.add("Accept-Encoding")
    return response


@lru_cache(maxsize=8)
def _zipped(file: Path, _changed: int) -> bytes:
    return gzip.compress(file.read_bytes(), mtime=0)


def _local(time: str | float, form: str) -> str:
    """Return a time (RFC 3339, or Unix time) as the machine's clock has it."""
    try:
        if isinstance(time, str):
            found = datetime.fromisoformat(time.replace("Z", "+00:00"))
        else:
            found = datetime.fromtimestamp(time, UTC)
        return found.astimezone().strftime(form)
    except (ValueError, OverflowError, OSError):
        return str(time)


def _size(count: float) -> str:
    """Return a number of bytes in words."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
