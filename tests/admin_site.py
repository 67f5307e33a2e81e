"""The admin app under a real supervisor, beside an app to operate on."""

import contextlib
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from admin_case import PASSWORD, csrf_token, set_password
from harness import REPOSITORY, Project, Running, eventually

from apps.admin.access.store import Store

COACH = """
import logging
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    print("a visitor came")
    return "{text}\\n"
"""


@dataclass
class Site:
    """A running supervisor with the apps ``admin`` and ``coach``."""

    project: Project
    running: Running
    _secrets: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the admin app is."""
        return f"http://127.0.0.1:{self.project.port('admin')}"

    def token(self, right: str) -> dict[str, str]:
        """Return the header that shows an API token."""
        store = Store(self.project.folder / ".flask-supervisor" / "admin")
        secret = self._secrets.get(right, "")
        if not secret or store.token_of(secret) is None:  # a test may have revoked it
            _, self._secrets[right] = store.add_token(f"test {right}", right)
        return {"Authorization": f"Bearer {self._secrets[right]}"}

    def api(self, method: str, path: str, right: str = "operate", **more: Any) -> Any:
        """Make a request of the API, and return its answer."""
        address = f"{self.address}/api/v1{path}"
        headers = {**self.token(right), **more.pop("headers", {})}
        return requests.request(method, address, headers=headers, timeout=60, **more)

    def worker_of(self, name: str) -> int:
        """Return the pid of an app's worker; 0 while it doesn't serve."""
        return int(self.running.app(name)["pid"] or 0)

    def write_coach(self, text: str, more: str = "") -> None:
        """Replace the source of the coach app."""
        self.project.file("coach").write_text(more + COACH.format(text=text), encoding="utf-8")

    def wait_for_deploy(self) -> dict[str, Any]:
        """Wait for the end of the deploy that was begun, and return how it ended."""

        def ended() -> Any:
            found = self.api("GET", "/deploy", "read").json()
            return not found["running"] and found["outcome"]

        return eventually(ended, timeout_s=60, what="the deploy ends")


class Visitor:
    """Somebody with a browser without JavaScript."""

    def __init__(self, address: str) -> None:
        self.session = requests.Session()
        self.address = address

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def get(self, path: str) -> requests.Response:
        """Load a page."""
        return self.session.get(self.address + path, timeout=60)

    def send(self, page: str, path: str | None = None, **more: Any) -> requests.Response:
        """Send a form of ``page`` to ``path``."""
        given = {"csrf_token": csrf_token(self.get(page).text), **more.pop("data", {})}
        return self.session.post(self.address + (path or page), data=given, timeout=120, **more)

    def log_in(self) -> "Visitor":
        """Log in."""
        assert self.send("/login", data={"password": PASSWORD}).status_code == 200
        return self


def archive(**sources: str) -> bytes:
    """Return a .tar.gz with modules of these names."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, source in sources.items():
            member = tarfile.TarInfo(f"{name}.py")
            member.size = len(source.encode())
            tar.addfile(member, io.BytesIO(source.encode()))
    return packed.getvalue()


def text_of(page: str) -> str:
    """Return the words of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<main")[2]).split())


@contextlib.contextmanager
def site(folder: Path, **more: str) -> Iterator[Site]:
    """Run a supervisor in ``folder`` with the admin app and ``coach``; ``more`` are apps too."""
    folder.mkdir()
    project = Project(folder)
    project.app("coach", COACH.format(text="coach 1"), known_good_after_s=1, deploy_watch_s=1)
    for name, source in more.items():
        project.app(name, source)
    project.app("admin", "", target="apps.admin:create_app()", control=True, path=str(REPOSITORY))
    set_password(folder / ".flask-supervisor")
    (folder / ".flask-supervisor").chmod(0o700)
    try:
        running = project.start()
        for name in ("coach", "admin"):
            running.wait_for(name, state="ready", timeout_s=60)
        yield Site(project, running)
    finally:
        project.clean_up()
