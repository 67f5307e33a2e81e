"""Helpers for tests of the admin app: a scripted supervisor, logging in, reading pages."""

import contextlib
import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash

from apps.admin import create_app
from supervisor.client import socket_address

Request = dict[str, Any]
Script = Callable[[Request], bytes | None]
Speak = "ScriptedSupervisor"

PASSWORD = "field trainer 1"
PASSWORD_ID = "0123456789abcdef"
_OWN = {
    "admin.announce": {},
    "admin.audit": {},
    "events": {"events": [], "last": 0},
    "admin.failure": {"failure": None},
}


def says(snapshot: object) -> Script:
    """Return a script that answers every request with ``snapshot``."""
    return lambda request: json.dumps({"id": request["id"], "result": snapshot}).encode() + b"\n"


def answers(**results: Any) -> Script:
    """Return a script that knows these methods, written with ``_`` for the dot."""

    def script(request: Request) -> bytes:
        name = request["method"].replace(".", "_")
        if name in results:
            return says(results[name])(request) or b""
        error = {"code": "unknown_method", "message": f"no {name}", "hint": None}
        return json.dumps({"id": request["id"], "error": error}).encode() + b"\n"

    return script


class ScriptedSupervisor:
    """Answers on a control socket as scripts say; ``asked`` has the requests, but for a few.

    The bytes that a script returns are sent; for None the connection stays open, and silent.
    """

    def __init__(self, path: Path) -> None:
        self.asked: list[Request] = []
        self.announced: list[str] = []
        self._path = path
        self._over = threading.Event()
        self._servers: list[tuple[socketserver.BaseServer, threading.Thread]] = []

    def __call__(
        self, script: Script, *, anonymous: str = "read", has_password: bool = True
    ) -> FlaskClient:
        """Start it with ``script``, and return a client of the app."""
        if has_password:
            set_password(self._path.parent)
        own = {
            **{name: says(result) for name, result in _OWN.items()},
            "admin.settings": says({"anonymous": anonymous}),
        }
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                request = json.loads(self.rfile.readline())
                if request["method"] == "admin.announce":
                    outer.announced.append(request["params"]["text"])
                elif request["method"] != "admin.settings":
                    outer.asked.append(request)
                answer = own.get(request["method"], script)(request)
                if answer is None:
                    outer._over.wait(30)
                else:
                    self.wfile.write(answer)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = False  # so that closing it waits for the handlers

        with socket_address(self._path) as address:
            server = Server(address, Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self._servers.append((server, thread))
        return create_app(take_samples=False).test_client()

    @property
    def methods(self) -> set[str]:
        """The names of the methods that were asked for."""
        return {request["method"] for request in self.asked}

    def end(self) -> None:
        """Stop it."""
        self._over.set()
        for server, thread in self._servers:
            server.shutdown()
            server.server_close()
            thread.join(10)


def logged_in(client: FlaskClient) -> FlaskClient:
    """Log in by a session, as after the form; returns the client."""
    with client.session_transaction() as session:
        session["password"], session["number"] = PASSWORD_ID, "that of a test"
    return client


def set_password(state_dir: Path) -> None:
    """Set `PASSWORD`, with a hash that takes no time."""
    kept = {
        "hash": generate_password_hash(PASSWORD, method="pbkdf2:sha256:1"),
        "one_time": False,
        "id": PASSWORD_ID,
    }
    (state_dir / "admin").mkdir(parents=True, exist_ok=True)
    file = state_dir / "admin" / "password"
    file.write_text(json.dumps(kept))
    file.chmod(0o600)


def token(client: FlaskClient, right: str) -> dict[str, str]:
    """Return the header that shows a new API token."""
    _, secret = client.application.extensions["access"].add_token(f"test {right}", right)
    return {"Authorization": f"Bearer {secret}"}


def csrf_token(page: str) -> str:
    """Return the token of the forms of a page."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, "the page has no form"
    return found[1]


def words(page: str) -> str:
    """Return the text of a page as a reader sees it, its spaces made single."""
    main = re.sub(r"</?(a|b|span)\b[^>]*>", "", page.partition("<main")[2])
    return " ".join(re.sub(r"^[^>]*>|<[^>]*>", " ", main).split()).replace("&#39;", "'")


@contextlib.contextmanager
def scripted(path: Path) -> Iterator[ScriptedSupervisor]:
    """Yield a supervisor whose control socket is at ``path``."""
    made = ScriptedSupervisor(path)
    try:
        yield made
    finally:
        made.end()
