"""What the frames of an import say: where it is in the app, and whether it serves by itself.

Needs the standard library alone.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

# Functions that serve until the process ends, which no module may call while it is imported: the
# end of the file's name and the function, and its name for people.
_NAMES = {
    ("bottle.py", "run"): "bottle.run()",
    ("flask_socketio/__init__.py", "run"): "socketio.run()",
    ("waitress/__init__.py", "serve"): "waitress.serve()",
    ("waitress/server.py", "run"): "run() of waitress",
    ("werkzeug/serving.py", "run_simple"): "run_simple() of werkzeug",
    ("gevent/baseserver.py", "serve_forever"): "serve_forever() of gevent",
    ("eventlet/wsgi.py", "server"): "eventlet.wsgi.server()",
    ("cheroot/server.py", "start"): "start() of cheroot",
    ("cheroot/server.py", "safe_start"): "start() of cheroot",
    ("cherrypy/process/wspbus.py", "block"): "cherrypy.engine.block()",
    ("tornado/platform/asyncio.py", "start"): "IOLoop.start() of tornado",
    ("uvicorn/main.py", "run"): "uvicorn.run()",
    ("uvicorn/server.py", "run"): "run() of uvicorn",
    ("hypercorn/run.py", "run"): "run() of hypercorn",
    ("gunicorn/app/base.py", "run"): "run() of gunicorn",
    ("aiohttp/web.py", "run_app"): "aiohttp.web.run_app()",
    ("sanic/mixins/startup.py", "run"): "run() of sanic",
    ("django/core/management/__init__.py", "execute_from_command_line"): (
        "execute_from_command_line() of Django"
    ),
    ("paho/mqtt/client.py", "loop_forever"): "loop_forever() of paho-mqtt",
    ("werkzeug/_reloader.py", "run_with_reloader"): "run_with_reloader() of werkzeug",
    ("socketserver.py", "serve_forever"): "serve_forever()",
}
_FUNCTIONS = {function for _, function in _NAMES}


def is_own(file: str, path: Path) -> bool:
    """Return whether ``file`` is the app's own: below ``path`` and not in site-packages."""
    return file.startswith(f"{path}{os.sep}") and "site-packages" not in file


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield ``frame`` and its callers: the innermost first, as everywhere here."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def own_place(frames: Sequence[FrameType], path: Path) -> tuple[str, int] | None:
    """Return the innermost file of the app in ``path``, relative to that, and its line."""
    for frame in frames:
        file = frame.f_code.co_filename
        if is_own(file, path):
            return file.removeprefix(f"{path}{os.sep}"), frame.f_lineno
    return None


def is_in(frames: Sequence[FrameType], file: str, function: str) -> bool:
    """Return whether ``function`` of a file whose name ends with ``file`` is in the stack."""
    codes = (frame.f_code for frame in frames)
    return any(one.co_name == function and one.co_filename.endswith(file) for one in codes)


def server_called(frames: Sequence[FrameType]) -> tuple[FrameType, str] | None:
    """Return the frame and the name of the function that serves, as the app has called it."""
    for frame in reversed(frames):
        if name := _name_of(frame):
            return frame, name
    return None


def _name_of(frame: FrameType) -> str | None:
    code = frame.f_code
    if code.co_name not in _FUNCTIONS:
        return None
    for (file, function), name in _NAMES.items():
        if code.co_name == function and f"/{code.co_filename}".endswith(f"/{file}"):
            return name
    return None
