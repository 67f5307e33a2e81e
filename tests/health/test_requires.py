"""What an app requires: each kind checked against real files, ports and servers, and `check`."""

import importlib.machinery
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from children import beside
from harness import GOOD_APP, Project, free_ports
from wire import answer_each

from supervisor.config.reader import parse
from supervisor.config.settings import REQUIREMENT_KEYS, Requirement
from supervisor.health.check_settings import describe
from supervisor.health.checks import Surroundings, run_check
from supervisor.process.throwaway import call_in_child
from supervisor.values.errors import ConfigError

NOBODY = 65534


def why(folder: Path, environment: dict[str, str] | None = None, **keys: Any) -> str | None:
    """Return why a requirement does not hold, in ``folder``, or None."""
    around = Surroundings(
        environment=environment or {}, folder=folder, search_path=[str(folder), *sys.path]
    )
    cause = run_check(Requirement(**keys), around)
    if cause is None:
        return None
    assert cause.hint, "what to do about it"
    return cause.reason


# ---- files and directories


def test_what_exists(tmp_path: Path) -> None:
    """A directory is no file, a file is no directory, and links are followed."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "dangling").symlink_to("nowhere")
    expected = {
        ("directory", "folder"): None,
        ("directory", "link"): None,
        ("directory", str(tmp_path)): None,
        ("directory", "file"): "file is no directory",
        ("directory", "nosuch"): "nosuch doesn't exist",
        ("directory", "file/x"): "file/x can't be checked: Not a directory",
        ("directory", "dangling"): "dangling is a link that leads to nothing",
        ("file", "file"): None,
        ("file", "folder"): "folder is a directory, and no file",
        ("file", "nosuch"): "nosuch doesn't exist",
    }
    found = {(kind, path): why(tmp_path, kind=kind, path=path) for kind, path in expected}
    assert found == expected


def check_as_nobody(folder: str, kind: str, path: str) -> str | None:
    """Check a requirement as another user."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    return why(Path(folder), kind=kind, path=path, writable=True)


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return a folder that other users may enter."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o777, None),
        (0o755, "this user may not write to x"),
        (0o700, "this user may not read x"),
    ],
)
@pytest.mark.parametrize("kind", ["directory", "file"])
@pytest.mark.root
def test_what_may_be_written(shared: str, kind: str, mode: int, said: str | None) -> None:
    """``writable`` means: by the user that the supervisor runs as."""
    path = Path(shared, "x")
    path.mkdir() if kind == "directory" else path.write_text("")
    path.chmod(mode)
    assert call_in_child(check_as_nobody, shared, kind, "x", timeout_s=30) == said


@pytest.mark.root
def test_what_is_mounted(tmp_path: Path) -> None:
    """An empty mount point, whose disk is missing, does not meet ``mounted``."""
    folder = tmp_path / "tftpboot"
    folder.mkdir()
    keys = {"kind": "directory", "path": "tftpboot", "mounted": True, "writable": True}
    assert why(tmp_path, **keys) == "tftpboot exists, but no file system is mounted on it"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    try:
        assert why(tmp_path, **keys) is None
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        said = why(tmp_path, **keys)
        assert said == "tftpboot lies on a file system that is read-only"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_how_much_is_free(tmp_path: Path) -> None:
    """The limit is in percent; by default five."""
    assert why(tmp_path, kind="disk", free_percent=0.0) is None
    said = why(tmp_path, kind="disk", free_percent=100.0, path=str(tmp_path))
    assert said is not None
    assert said.startswith(f"{tmp_path} has ")
    assert said.endswith("100 % are required")
    assert why(tmp_path, kind="disk", path="nosuch") == (
        "nosuch can't be checked: No such file or directory"
    )


# ---- the network


def test_a_port_that_answers(tmp_path: Path) -> None:
    """An accepted connection is enough; refused, silent and unknown have different reasons."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert why(tmp_path, kind="tcp", host="127.0.0.1", port=port) is None
        assert why(tmp_path, kind="tcp", port=port) is None
    [port] = free_ports(1)
    said = why(tmp_path, kind="tcp", host="127.0.0.1", port=port)
    assert said == f"127.0.0.1:{port} can't be reached: Connection refused"
    said = why(tmp_path, kind="tcp", host="nosuch.invalid", port=port)
    assert said is not None
    assert said.startswith("the name nosuch.invalid can't be resolved")


def test_a_port_that_is_silent(tmp_path: Path) -> None:
    """A listener with a full backlog doesn't answer: the check ends after its time-out."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        said = why(tmp_path, kind="tcp", host="127.0.0.1", port=port, timeout_s=0.3)
    assert said == f"127.0.0.1:{port} doesn't answer within 0.3 s"


class Answers(BaseHTTPRequestHandler):
    """Answers with the status that the path names; ``/redirect`` leads to 200."""

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/200")
        else:
            self.send_response(int(self.path.removeprefix("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    """Yield the URL of a web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_that_answers(tmp_path: Path, web: str) -> None:
    """Below 400, after redirects, is good; other codes are in the reason."""
    for path in ("/200", "/204", "/redirect"):
        assert why(tmp_path, kind="http", url=web + path) is None
    for status, words in ((404, "404 Not Found"), (500, "500 Internal Server Error")):
        url = f"{web}/{status}"
        assert why(tmp_path, kind="http", url=url) == f"{url} answers {words}"
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}/"
    assert why(tmp_path, kind="http", url=url) == f"{url} can't be reached: Connection refused"


def test_a_password_in_a_url_is_not_shown(tmp_path: Path) -> None:
    """Neither the name of the requirement nor the reason has it."""
    [port] = free_ports(1)
    url = f"http://user:secret@127.0.0.1:{port}/"
    assert describe(Requirement(kind="http", url=url)) == f"http http://127.0.0.1:{port}/"
    assert "secret" not in str(why(tmp_path, kind="http", url=url))


def test_a_server_that_speaks_no_http(tmp_path: Path) -> None:
    """Garbage, silence and a closed connection are reasons, not errors of the check."""
    for answer in (b"garbage\n", b""):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            with beside(partial(answer_each, listener, answer)):
                assert why(tmp_path, kind="http", url=url) is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        said = why(tmp_path, kind="http", url=url, timeout_s=0.3)
        assert said == f"{url} doesn't answer within 0.3 s"


# ---- variables, modules, commands


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TOKEN", None, "the variable TOKEN is not set"),
        ("TOKEN", "", "the variable TOKEN is empty"),
        ("TOKEN", "k3-secret", None),
        ("TOKEN", "fd-default-2024", "the variable TOKEN still has its shipped value"),
        ("TOKEN", "CHANGE_ME", "the variable TOKEN still has its shipped value"),
        ("SECRET_KEY", "dev", "the variable SECRET_KEY still has its shipped value"),
        ("MODE", "dev", None),
    ],
)
def test_a_variable(tmp_path: Path, name: str, value: str | None, said: str | None) -> None:
    """It has to be set, not empty, and not a placeholder."""
    environment = {} if value is None else {name: value}
    assert why(tmp_path, environment, kind="env", name=name, default="fd-default-2024") == said


def test_a_module(tmp_path: Path) -> None:
    """It is found without an import, also in packages without an __init__.py."""
    for path in ("mine.py", "pkg/__init__.py", "pkg/inner.py", "space/deep/x.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("raise SystemExit('imported')")
    (tmp_path / f"fast{importlib.machinery.EXTENSION_SUFFIXES[0]}").write_text("")
    before = set(sys.modules)
    for name in (
        "mine",
        "pkg",
        "pkg.inner",
        "space.deep.x",
        "fast",
        "sys",
        "json.decoder",
        "flask",
    ):
        assert why(tmp_path, kind="module", name=name) is None, name
    for name, missing in (("nosuch", "nosuch"), ("pkg.x.y", "pkg.x"), ("mine.x", "mine.x")):
        assert why(tmp_path, kind="module", name=name) == f"there is no module {missing}"
    assert not {"mine", "pkg", "space"} & (set(sys.modules) - before)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["true"], None),
        (["test", "-f", "here"], None),
        (["sh", "-c", 'test "$TOKEN" = x'], None),
        (["sh", "-c", "echo loud; exit 3"], "sh ends with exit code 3"),
        (["sh", "-c", "kill -9 $$"], "sh was killed by signal 9"),
        (["sleep", "60"], "sleep takes longer than 0.3 s"),
        (["nosuch-command"], "nosuch-command can't be run: No such file or directory"),
    ],
)
def test_a_command(tmp_path: Path, command: list[str], said: str | None) -> None:
    """It has to exit with 0; it runs in the app's folder with the app's environment."""
    (tmp_path / "here").write_text("")
    environment = {**os.environ, "TOKEN": "x"}
    assert why(tmp_path, environment, kind="command", command=command, timeout_s=0.3) == said


# ---- the configuration


def problems(**keys: Any) -> list[str]:
    """Return the errors in the configuration of one requirement."""
    app = {"target": "a:b", "port": 1, "requires": [keys]}
    try:
        parse({"apps": {"coach": app}, "requires": [keys]}, Path("s.toml"))
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize("kind", REQUIREMENT_KEYS)
def test_keys_that_a_kind_needs(kind: str) -> None:
    """A missing key and one that the kind doesn't know are errors with their key path."""
    values = {"path": "x", "port": 1, "url": "http://x", "name": "x", "command": ["x"]}
    needed, _possible = REQUIREMENT_KEYS[kind]
    good = {"kind": kind, **{key: values[key] for key in needed}}
    assert problems(**good) == []
    for key in needed:
        left = {name: value for name, value in good.items() if name != key}
        assert problems(**left) == [
            f"s.toml: apps.coach.requires[0].{key}: this key is required for {kind}",
            f"s.toml: requires[0].{key}: this key is required for {kind}",
        ]
    wrong = "url" if kind != "http" else "port"
    assert problems(**good, **{wrong: values[wrong]})[1] == (
        f"s.toml: requires[0].{wrong}: requirements of kind {kind} have no such key"
    )


def test_a_url_that_is_not_http() -> None:
    """Only http and https are accepted: a file is refused."""
    assert 'must be "http://..." or "https://..."' in problems(kind="http", url="file:///x")[0]


# ---- check


def test_check_shows_what_is_required(project: Project) -> None:
    """A requirement that doesn't hold is shown with the app, and the exit code is 1."""
    project.app(
        "coach",
        env={"TOKEN": "k3"},
        requires=[
            {"kind": "directory", "path": "coach"},
            {"kind": "env", "name": "TOKEN"},
            {"kind": "module", "name": "coach"},
            {"kind": "file", "path": "nosuch.pem"},
            {"kind": "disk", "free_percent": 100, "critical": False},
        ],
    )
    project.app("admin")
    found = project.command("check")
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    assert lines[0].startswith("coach: ok, imported in ")
    assert lines[1:6] == [
        "  requires directory coach: ok",
        "  requires env TOKEN: ok",
        "  requires module coach: ok",
        "  requires file nosuch.pem: nosuch.pem doesn't exist",
        "    create it, or correct `path`",
    ]
    assert "100 % are required" in lines[6]
    assert lines[-1] == "1 of 2 apps cannot be served: coach"
    (project.folder / "nosuch.pem").write_text("")
    assert project.command("check").returncode == 0  # the other one isn't critical
    document = json.loads(project.command("check", "--json").stdout)
    assert document["ok"]
    assert [one["ok"] for one in document["apps"]["coach"]["requires"]] == [True] * 4 + [False]
    assert document["requires"] == document["apps"]["admin"]["requires"] == []


def test_what_all_apps_require(project: Project) -> None:
    """Requirements of all apps are checked whatever apps are named."""
    project.app("coach")
    project.write()
    text = project.config.read_text() + '[[requires]]\nkind = "file"\npath = "nosuch"\n'
    for words in (("check",), ("check", "coach")):
        project.config.write_text(text)
        found = subprocess.run(
            [sys.executable, "-m", "supervisor", *words, "--config", str(project.config)],
            capture_output=True,
            text=True,
            env=project.environment(),
            timeout=60,
            check=False,
        )
        assert found.returncode == 1
        assert found.stdout.splitlines()[0] == "requires file nosuch: nosuch doesn't exist"
        assert "a requirement of all apps is not met" in found.stdout.splitlines()[-1]


def test_a_secret_in_a_requirement_is_never_shown(project: Project) -> None:
    """A value from a file is hidden wherever it would appear in a reason."""
    (project.folder / "url").write_text("http://127.0.0.1:1/k3-secret")
    project.app(
        "coach",
        GOOD_APP.format(text="x"),
        requires=[{"kind": "http", "url": {"file": "url"}}],
    )
    for words in (("check",), ("check", "--json"), ("config", "show")):
        found = project.command(*words)
        assert "k3-secret" not in found.stdout + found.stderr
    found = project.command("check")
    assert "requires http (hidden): http (hidden) is not as required" in found.stdout


def test_a_check_that_hangs_is_killed(project: Project) -> None:
    """A dead network disk blocks a check for ever: its child is killed."""
    project.app(
        "coach", requires=[{"kind": "command", "command": ["sleep", "3600"], "timeout_s": 0.2}]
    )
    found = project.command("check")
    assert "sleep takes longer than 0.2 s" in found.stdout
    assert not project.processes()
