"""Loads and runs what every worker needs, once, before the first fork."""

import gc

from flask import Flask


def warm_up() -> None:
    """Load and run what every worker needs, once, so that all of them share it.

    No thread is started: forking has to stay safe. The garbage collector never visits what is there
    by then, so that a worker's first collection doesn't copy it; what comes later is collected.
    """
    app = Flask("warm_up", static_folder=None)
    app.add_url_rule("/", view_func=lambda: "ok")
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
    }
    for _ in range(3):
        b"".join(app(environ, lambda _status, _headers, _error=None: lambda _data: None))
    gc.freeze()
    gc.enable()
