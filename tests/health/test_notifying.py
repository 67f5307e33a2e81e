"""Messages to people: sent for real through Apprise to a web server of the test."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from children import beside
from harness import GOOD_APP, Project, eventually, free_ports
from health_documents import APP, BROKEN

from supervisor.config.reader import parse
from supervisor.config.show import settings
from supervisor.health import notifier
from supervisor.health.notifier import AnnouncedFile, Destination, Notifier, send_in_child
from supervisor.policy import notifications
from supervisor.policy.notifications import Announced, NotifierState, Subject
from supervisor.values.errors import ConfigError
from supervisor.values.states import Status


class Inbox(HTTPServer):
    """Receives messages as Apprise's ``json://`` sends them; ``code`` is what it answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.messages: list[dict[str, Any]] = []
        self.code = 200

    @property
    def url(self) -> str:
        """Its address for Apprise, with a password."""
        return f"json://me:k3-secret@127.0.0.1:{self.server_address[1]}/inbox"


class Receiver(BaseHTTPRequestHandler):
    """Takes one message."""

    server: Inbox

    def do_POST(self) -> None:
        """Keep it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.code == 200:
            self.server.messages.append(json.loads(body))
        self.send_response(self.server.code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """Run a server that takes messages."""
    made = Inbox()
    with beside(lambda: made.serve_forever(poll_interval=0.05)):
        yield made
        made.shutdown()
    made.server_close()


# ---- one message


def test_a_message_is_delivered(inbox: Inbox) -> None:
    """By a child, with title, body and kind."""
    assert send_in_child(inbox.url, "kitchen: coach fails", "no x\nä", "fail") is None
    [message] = inbox.messages
    assert (message["title"], message["message"]) == ("kitchen: coach fails", "no x\nä")
    assert message["type"] == "failure"


def test_what_keeps_a_message_from_being_delivered(inbox: Inbox) -> None:
    """A refusal, nobody there, a kind of address that there is not; never the secret."""
    inbox.code = 500
    refused = send_in_child(inbox.url, "t", "b", "fail")
    gone = send_in_child(f"json://me:k3-secret@127.0.0.1:{free_ports(1)[0]}", "t", "b", "warn")
    unknown = send_in_child("nosuch://k3-secret", "t", "b", "pass")
    for problem in (refused, gone, unknown):
        assert problem
        assert "k3-secret" not in problem
    assert "500" in str(refused)
    assert "does not know this kind of address" in str(unknown)


def test_a_service_that_hangs() -> None:
    """The child is ended at its timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"json://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        assert send_in_child(url, "t", "b", "fail", timeout_s=2) == "no answer within 2 s"
        assert time.monotonic() - started < 20


# ---- what was announced


def test_what_was_announced_is_kept(tmp_path: Path) -> None:
    """By destination; written when it changes, and only then."""
    file = AnnouncedFile(tmp_path / "notified")
    state = NotifierState(
        subjects={"a": Subject(announced=Announced.FAIL), "b": Subject(announced=Announced.PASS)}
    )
    file.save("one", state)
    inode = (tmp_path / "notified").stat().st_ino
    file.save("one", state)
    assert (tmp_path / "notified").stat().st_ino == inode
    again = AnnouncedFile(tmp_path / "notified")
    assert notifications.announced_json(again.load("one")) == {"a": "fail"}
    assert again.load("other").subjects == {}
    again.save("other", state)
    third = AnnouncedFile(tmp_path / "notified")
    assert notifications.announced_json(third.load("one")) == {"a": "fail"}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"one": 3}', b'{"one": {"a": "x"}}', b"\xff"]
)
def test_garbage_counts_as_nothing(tmp_path: Path, content: bytes) -> None:
    """And is replaced by the next change."""
    (tmp_path / "notified").write_bytes(content)
    file = AnnouncedFile(tmp_path / "notified")
    assert file.load("one").subjects == {}
    file.save("one", NotifierState(subjects={"a": Subject(announced=Announced.WARN)}))
    assert AnnouncedFile(tmp_path / "notified").load("one").subjects.keys() == {"a"}


# ---- a notifier


def test_a_notifier_tells_and_recovers(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure, an outage of the service, and the recovery that happened meanwhile."""
    monkeypatch.setattr(notifier, "LOOK_S", 0.05)
    for name, value in (("SETTLE_S", 0.2), ("GAP_S", 0.1), ("_RETRY_FIRST_S", 0.2)):
        monkeypatch.setattr(notifications, name, value)
    apps = {"coach": APP}
    destination = Destination(url=inbox.url, least=Status.WARN, apps=frozenset())
    file = AnnouncedFile(tmp_path / "notified")
    thread = Notifier(destination, lambda: (apps, {}), file)
    thread.start()
    apps = {"coach": BROKEN}
    eventually(lambda: inbox.messages, what="it is told")
    assert inbox.messages[0]["title"].endswith(": coach fails")
    assert BROKEN["reason"] in inbox.messages[0]["message"]
    inbox.code = 503
    apps = {"coach": APP}
    problem = eventually(lambda: thread.problem, what="it is tried")
    assert "503" in problem.reason
    inbox.code = 200
    eventually(lambda: len(inbox.messages) == 2, what="the recovery came")
    assert inbox.messages[1]["title"].endswith(": coach is well again")
    eventually(lambda: thread.problem is None, what="all is well")
    thread.stop()
    thread.join(30)
    assert not [one for one in threading.enumerate() if one.name == "notify"]
    assert json.loads((tmp_path / "notified").read_text()) == {destination.key: {}}


# ---- configured


def config_with(**keys: Any) -> Any:
    """Return a configuration that tells somebody."""
    raw = {"apps": {"a": {"target": "a:b", "port": 1}}, "notify": [keys]}
    return parse(raw, Path("s.toml"))


def test_where_messages_go_is_a_secret() -> None:
    """Not printed, not in a report, not in an error."""
    config = config_with(url="json://me:k3-secret@x", on="fail", apps=["a"])
    assert "k3-secret" not in f"{list(settings(config))} {config!r}"
    assert "json://me:k3-secret@x" in config.secret_values()
    with pytest.raises(ConfigError) as raised:
        config_with(url="k3-secret without a scheme")
    assert "k3-secret" not in str(raised.value)
    assert "must be an address of Apprise" in str(raised.value)


def test_an_app_that_there_is_not() -> None:
    """A mistake in a name would be silence."""
    with pytest.raises(ConfigError, match="there is no such app; known: a"):
        config_with(url="json://x", apps=["b"])


def test_the_test_command(project: Project, inbox: Inbox) -> None:
    """Each destination with its outcome, by number; exit code 1 when one is not reached."""
    project.app("coach")
    project.write()
    nobody = project.command("notify", "test")
    assert nobody.returncode == 1
    assert "has no [[notify]]" in nobody.stderr
    gone = f"json://127.0.0.1:{free_ports(1)[0]}"
    text = project.config.read_text()
    add = f'\n[[notify]]\nurl = "{inbox.url}"\n[[notify]]\nurl = "{gone}"\n'
    found = run_with(project, text + add, "notify", "test")
    assert found.returncode == 1
    assert found.stdout.splitlines()[0] == "notify[0]: delivered"
    assert found.stdout.splitlines()[1].startswith("notify[1]: ")
    assert "k3-secret" not in found.stdout + found.stderr
    [message] = inbox.messages
    assert "a test of flask-supervisor" in message["title"]
    as_json = run_with(
        project, text + f'\n[[notify]]\nurl = "{inbox.url}"\n', "notify", "test", "--json"
    )
    assert as_json.returncode == 0
    assert json.loads(as_json.stdout) == [{"notify": 0, "problem": None}]


def run_with(project: Project, text: str, *words: str) -> Any:
    """Run a command on a configuration of this text."""
    project.config.write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *words, "--config", str(project.config)],
        capture_output=True,
        text=True,
        env=project.environment(),
        timeout=60,
        check=False,
    )


@pytest.mark.timeout(180)
def test_a_running_supervisor_tells(project: Project, inbox: Inbox) -> None:
    """An app breaks and is repaired, over a restart of the supervisor in between."""
    project.app("coach")
    project.write()
    text = project.config.read_text() + f'\n[[notify]]\nurl = "{inbox.url}"\non = "fail"\n'
    running = project.start()
    running.wait_for("coach", state="ready")
    project.config.write_text(text)
    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: "notify[0]" in running.health()["checks"], what="it is read")
    project.file("coach").write_text("import nosuch\n")
    assert project.command("restart", "coach").returncode == 1
    eventually(lambda: inbox.messages, timeout_s=60, what="it is told")
    assert "coach fails: ModuleNotFoundError" in inbox.messages[0]["message"]
    eventually(lambda: list(project.folder.rglob("notified")), what="it is kept")
    running.stop()
    project.file("coach").write_text(GOOD_APP.format(text="x"))
    again = project.start()
    project.config.write_text(text)
    again.process.send_signal(signal.SIGHUP)
    again.wait_for("coach", state="ready")
    eventually(lambda: len(inbox.messages) >= 2, timeout_s=60, what="the recovery")
    assert "coach is well again" in inbox.messages[1]["message"]
    assert "k3-secret" not in running.log + again.log
