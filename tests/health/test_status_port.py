"""What monitors read on the status port, and what ``flask-supervisor status`` prints."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from harness import GOOD_APP, Answer, Project, Running, ask, eventually, free_ports
from observing import refused_with
from wire import Wire

SECRET = "hunter2-sesame"  # planted, to be found nowhere
BROKEN = f"""
import os
assert os.environ["API_KEY"] == "{SECRET}"
def load():
    password = os.environ["API_KEY"]
    raise RuntimeError("no such file: /opt/field/{SECRET}/settings/coach.db or '/etc/x/y.ini'")
load()
"""
PATHS = ["/", "/livez", "/readyz", "/health", "/health/admin", "/health/coach", "/health/nobody"]
REFUSED = ["/nowhere", "/health/", "/livez/", "/health/admin/more", "/..", "/%2e%2e/etc/passwd"]
NUMBER = (int, float)
APP_FIELDS: dict[str, Any] = {
    "status": str,
    "state": str,
    "serving": str,
    "port": int,
    "address": str,
    "pid": (int, type(None)),
    "workers": list,
    "generation": int,
    "restarts": int,
    "since": str,
    "age_s": NUMBER,
    "reason": (str, type(None)),
    "hint": (str, type(None)),
}
HEALTH_FIELDS: dict[str, Any] = {
    "status": str,
    "version": str,
    "started": str,
    "age_s": NUMBER,
    "apps": dict,
    "checks": dict,
    "events": list,
}
CHECK_FIELDS: dict[str, Any] = {"status": str, "reason": (str, type(None)), "critical": bool}
EVENT_FIELDS: dict[str, Any] = {
    "time": str,
    "age_s": NUMBER,
    "app": (str, type(None)),
    "kind": str,
    "text": str,
}
RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/<~…-])/(?!health|livez|readyz|metrics)[\w.-]+/[\w./-]+")


def start(project: Project) -> Running:
    """Run an app that serves and one that can't be imported."""
    project.app("admin", env={"API_KEY": SECRET})
    project.app("coach", BROKEN, env={"API_KEY": SECRET})
    started = project.start()
    refused_with(project.port("coach"), "RuntimeError")
    started.wait_for("admin", state="ready")
    started.wait_for("coach", serving="stand-in")
    return started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield one supervisor for all tests that only read."""
    project = Project(tmp_path_factory.mktemp("status"))
    try:
        yield start(project)
    finally:
        project.clean_up()


def assert_fields(document: dict[str, Any], fields: dict[str, Any]) -> None:
    """Fail unless each field is there and of its type."""
    for name, kind in fields.items():
        assert name in document
        assert isinstance(document[name], kind), f"{name}: {document[name]!r}"


def assert_health(document: dict[str, Any]) -> None:
    """Fail unless this is a whole health document."""
    assert_fields(document, HEALTH_FIELDS)
    assert RFC_3339_UTC.fullmatch(document["started"])
    for app in document["apps"].values():
        assert_app(app)
    for check in document["checks"].values():
        assert_fields(check, CHECK_FIELDS)
    assert 0 < len(document["events"]) <= 20
    for event in document["events"]:
        assert_fields(event, EVENT_FIELDS)
        assert RFC_3339_UTC.fullmatch(event["time"])


def assert_app(app: dict[str, Any]) -> None:
    """Fail unless this is the document of one app."""
    assert_fields(app, APP_FIELDS)
    assert app["status"] in {"pass", "warn", "fail"}
    assert app["state"] in {"starting", "ready", "backoff", "failed", "stopped", "blocked"}
    assert app["serving"] in {"app", "last-known-good", "stand-in", "nothing"}
    assert RFC_3339_UTC.fullmatch(app["since"])
    for worker in app["workers"]:
        assert_fields(worker, {"pid": int, "generation": int, "state": str})


def test_the_documents(running: Running) -> None:
    """Each path answers with its status code and fields, of the documented types."""
    project = running.project
    index = ask(project.status_port, "/")
    assert index.status == 200
    assert {"/livez", "/readyz", "/health", "/health/APP"} <= set(index.json["paths"])
    livez = ask(project.status_port, "/livez")
    assert (livez.status, livez.json) == (200, {"status": "pass"})
    health = ask(project.status_port, "/health")
    assert (health.status, health.json["status"]) == (503, "fail")
    assert_health(health.json)
    assert list(health.json["apps"]) == ["admin", "coach"]
    admin = ask(project.status_port, "/health/admin")
    assert (admin.status, admin.json["status"]) == (200, "pass")
    assert_app(admin.json)
    assert admin.json["workers"][0]["pid"] == admin.json["pid"]
    assert admin.json["port"] == project.port("admin")
    coach = ask(project.status_port, "/health/coach")
    assert (coach.status, coach.json["status"]) == (503, "fail")
    assert_app(coach.json)
    assert coach.json["reason"].startswith("RuntimeError: no such file: ")


def test_readiness_names_what_is_missing(project: Project) -> None:
    """503 with the reason of each app that isn't ready; 200 once all are."""
    start(project)
    answer = ask(project.status_port, "/readyz")
    assert answer.status == 503
    assert list(answer.json["not_ready"]) == ["coach"]
    assert "RuntimeError" in answer.json["not_ready"]["coach"]
    project.file("coach").write_text(GOOD_APP.format(text="coach"))
    eventually(lambda: ask(project.status_port, "/readyz").status == 200)
    assert ask(project.status_port, "/health").status == 200
    assert project.command("status").returncode == 0


def test_every_answer_has_its_content_type(running: Running) -> None:
    """All answers have the right JSON type and forbid caching."""
    port = running.project.status_port
    for path in [*PATHS, *REFUSED]:
        for method in ("GET", "HEAD", "POST", "DELETE"):
            answer = ask(port, path, method=method)
            assert answer.headers["cache-control"] == "no-store", (path, method)
            expected = "application/json"
            if answer.status >= 400 and (method in ("POST", "DELETE") or answer.status != 503):
                expected = "application/problem+json"
            elif path.startswith("/health"):
                expected = "application/health+json"
            assert answer.headers["content-type"].split(";")[0] == expected, (path, method)
            if method == "HEAD":
                assert answer.body == b""
            else:
                assert answer.json


def test_head_is_answered_like_get(running: Running) -> None:
    """The same code and length, without the body."""
    port = running.project.status_port
    for path in PATHS:
        get, head = ask(port, path), ask(port, path, method="HEAD")
        assert head.status == get.status
        assert head.body == b""
        length = int(head.headers["content-length"])
        assert abs(length - len(get.body)) < 100  # ages grow


def test_an_unknown_app_gets_404_with_the_known_ones(running: Running) -> None:
    """404 lists the known names, whatever the unknown name is."""
    port = running.project.status_port
    for name in ("nobody", "Admin", "admin%00", "%3Cscript%3E", "a" * 2000, "%F0%9F%90%8D"):
        answer = ask(port, f"/health/{name}")
        assert answer.status == 404, name
        assert "admin, coach" in answer.json["detail"]


def test_other_methods_are_refused(running: Running) -> None:
    """405 with the allowed methods; nothing changes."""
    port = running.project.status_port
    for path in PATHS:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = ask(port, path, method=method, body=b"{}")
            assert answer.status == 405, (path, method)
            allowed = {word.strip() for word in answer.headers["allow"].split(",")}
            assert {"GET", "HEAD"} <= allowed
            assert method not in allowed


def test_no_body_is_taken(running: Running) -> None:
    """What announces a body is refused before it comes, also in a GET."""
    for method, status in (("GET", 413), ("POST", 405)):
        with Wire(running.project.status_port) as wire:
            wire.send(f"{method} /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
            assert wire.answer().status == status
            assert wire.rest_or_nothing() == b""
    answer = ask(running.project.status_port, "/livez", headers={"X": "x" * 20_000})
    assert answer.status == 431


def test_no_secret_is_shown(running: Running) -> None:
    """Port 6000 and the broken app's port show no secret, absolute path or traceback."""
    project = running.project
    answers: list[Answer] = [ask(project.status_port, path) for path in [*PATHS, *REFUSED]]
    answers += [ask(project.port("coach"), accept=kind) for kind in ("text/html", "*/*")]
    for answer in answers:
        for forbidden in (SECRET, str(project.folder), "Traceback", 'File "', "site-packages"):
            assert forbidden not in answer.text, answer.text
        told_back = answer.status == 404  # with the path that was asked for
        if not told_back and "html" not in answer.headers["content-type"]:
            found = ABSOLUTE_PATH.search(answer.text)
            assert found is None, f"{found}: {answer.text}"
    assert "Traceback" in running.log  # that is where it belongs


def test_paths_in_a_message_are_left_out(project: Project) -> None:
    """Paths in an exception lose their folders, and URLs their passwords."""
    messages = [
        "'/opt/field-trainer/data'",
        "[Errno 13] Permission denied: '/home/pi/my data/coach.db'",
        "config=/etc/coach/coach.ini",
        "sqlite:////var/lib/coach/coach.db",
        "file:///var/lib/coach/coach.db is locked",
        f"postgresql://coach:{SECRET}@db.example/teams",
    ]
    for number, message in enumerate(messages):
        project.app(f"app_{number}", f"raise RuntimeError({message!r})\n")
    running = project.start()
    given_away = []
    for name in project.apps:
        reason = eventually(lambda name=name: running.app(name)["reason"])
        assert reason.startswith("RuntimeError: ")
        forbidden = ("/opt", "/home", "/etc", "/var", "my data", SECRET)
        given_away += [reason for folder in forbidden if folder in reason]
    assert not given_away


def test_the_status_command(running: Running) -> None:
    """It prints a table with reasons and exits with 1; ``--json`` has the form of ``/health``."""
    project = running.project
    shown = project.command("status")
    assert shown.returncode == 1
    header, admin, coach, reason, *_ = shown.stdout.splitlines()[1:]
    assert header.split() == ["APP", "STATE", "SERVING", "PORT", "PID", "SINCE"]
    assert admin.split()[:4] == ["admin", "ready", "app", str(project.port("admin"))]
    assert coach.split()[0] == "coach"
    assert coach.split()[2:4] == ["stand-in", str(project.port("coach"))]
    assert reason.strip().startswith("RuntimeError: no such file: ")
    assert SECRET not in shown.stdout
    as_json = project.command("status", "--json")
    assert as_json.returncode == 1
    document = json.loads(as_json.stdout)
    assert_health(document)
    health = running.health()
    assert set(health) - {"host"} <= set(document)  # the status worker alone knows the machine
    assert document["apps"].keys() == health["apps"].keys()
    for name in ("admin", "coach"):
        assert document["apps"][name].keys() == health["apps"][name].keys()
        for key in ("status", "serving", "port", "reason"):
            assert document["apps"][name][key] == health["apps"][name][key]


def test_the_status_command_without_a_supervisor(project: Project) -> None:
    """It exits with 1 and says what to do; a disabled app is listed."""
    project.app("admin")
    project.app("off", enabled=False, port=free_ports(1)[0])
    never = project.command("status")
    assert never.returncode == 1
    assert not never.stdout
    assert "no supervisor is running" in never.stderr
    running = project.start()
    running.wait_for("admin", state="ready")
    document = json.loads(project.command("status", "--json").stdout)
    assert document["disabled"] == ["off"]
    assert list(document["apps"]) == ["admin"]
    running.kill()
    ended = project.command("status", "--json")
    assert ended.returncode == 1
    assert not ended.stdout
    assert "no supervisor is running" in ended.stderr
