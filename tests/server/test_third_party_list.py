"""Frameworks and third-party apps from the registry: served as by plain waitress, to the byte."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Project
from packages import install
from peer import plain_waitress
from third_party_apps import APPS
from wire import Wire

# the installation takes a while
pytestmark = pytest.mark.timeout(900)

# What differs between two answers to one request: times, and what the apps draw by lot.
_MASKED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rb"\w{3}, \d\d[ -]\w{3}[ -]\d{4} [\d:]{8} GMT", b"masked"),  # of any header, or cookie
        (rb"(?mi)^etag: .*$", b"ETag: masked"),  # bottle: with the inode
        (rb'"end_id":"[^"]*"', b'"end_id":"masked"'),  # dash
        (rb"(?mi)^x-amzn?-request-?id: .*$", b"X-Amzn-Requestid: masked"),  # moto
        (rb"<RequestId>\w*</RequestId>", b"<RequestId>masked</RequestId>"),
        (rb"<(LastModified|CreationDate)>[^<]*<", b"<masked<"),
    )
)


def write(folder: Path, name: str, libraries: Path) -> str:
    """Write an app and its data into ``folder``; return its target."""
    folder.mkdir(exist_ok=True)
    data = folder / "data.txt"
    data.write_text("hello world")
    os.utime(data, (1e9, 1e9))
    source = f"import sys\nsys.path.append({str(libraries)!r})\n{APPS[name].source}"
    (folder / f"{name}_main.py").write_text(source, encoding="utf-8")
    return f"{name}_main:app"


@pytest.fixture
def libraries() -> Iterator[Path]:
    """A folder for packages, which is removed at once: some are large."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", APPS)
def test_an_app_of_the_list(
    project: Project,
    libraries: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Each request of its list has the same answer from both."""
    install(libraries, *APPS[name].packages)
    app, folder = f"app_{name}", tmp_path / "plain"
    port = project.app(app)
    project.apps[app]["target"] = write(project.folder / app, name, libraries)
    running = project.start()
    target = write(folder, name, libraries)
    monkeypatch.chdir(folder)
    running.wait_for(app, state="ready", timeout_s=120)
    with plain_waitress(target, folder=folder) as plain:
        for request in APPS[name].requests:
            ours = _answer(port, request)
            assert ours.startswith(b"HTTP/1.1 "), request
            assert ours == _answer(plain, request), request
    assert running.app(app)["restarts"] == 0


def _answer(port: int, request: bytes) -> bytes:
    with Wire(port) as wire:
        answer = wire.send(request).rest().replace(b"\r\n", b"\n")
    for pattern, replacement in _MASKED:
        answer = pattern.sub(replacement, answer)
    return answer
