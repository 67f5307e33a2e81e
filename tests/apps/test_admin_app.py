"""The overview of the admin app, on a scripted supervisor."""

import re
from pathlib import Path
from typing import Any

import pytest
from admin_case import Speak, logged_in, says, set_password, words

from apps.admin import create_app
from apps.admin.fields import duration
from supervisor.client import SOCKET_VARIABLE

READY = {
    "status": "pass",
    "state": "ready",
    "serving": "app",
    "port": 5000,
    "address": "0.0.0.0:5000",
    "pid": 101,
    "workers": [{"pid": 101, "generation": 1, "state": "ready"}],
    "generation": 1,
    "restarts": 0,
    "since": "2026-11-23T08:00:00Z",
    "age_s": 200.0,
    "reason": None,
    "hint": None,
    "retry_in_s": None,
}
FAILED = READY | {
    "status": "fail",
    "state": "failed",
    "serving": "stand-in",
    "port": 5001,
    "pid": None,
    "restarts": 17,
    "age_s": 4.2,
    "reason": "ModuleNotFoundError: No module named 'x' (coach_interface.py, line 23)",
    "hint": "copy x.py beside coach_interface.py",
    "retry_in_s": 43.2,
}


def test_asks_for_the_snapshot_once_a_page(speak: Speak) -> None:
    """Each page is made from one fresh snapshot."""
    client = speak(says({"apps": {}}))
    for _ in range(2):
        assert client.get("/").status_code == 200
    assert [request["method"] for request in speak.asked] == ["snapshot", "snapshot"]


def test_all_ready(speak: Speak) -> None:
    """When all apps are ready one sentence says so, and every app has its facts and its link."""
    apps = {"admin": READY, "coach": READY | {"port": 5001, "pid": 102, "restarts": 2}}
    client = speak(says({"status": "pass", "version": "0.1.0", "age_s": 7300, "apps": apps}))
    answer = client.get("/", headers={"Host": "pi.local:5000"})
    assert answer.status_code == 200
    text = words(answer.text)
    assert "All 2 apps are ready" in text
    assert "coach ready Serving the app" in text
    assert "Since 3 min Restarts 2 Process 102" in text
    assert "Supervisor 0.1.0, running for 2 h" in text
    assert "Nothing yet." in text
    assert 'href="http://pi.local:5001/"' in answer.text


def test_one_failed(speak: Speak) -> None:
    """A failed app is named at the top, with its reason, what to do, and the next try."""
    client = speak(says({"status": "fail", "apps": {"admin": READY, "coach": FAILED}}))
    answer = client.get("/")
    text = words(answer.text)
    assert "1 of 2 apps is not ready: coach" in text
    assert "not ready: coach ModuleNotFoundError: No module named 'x'" in text
    assert "coach failing often, retried once a minute Serving" in text
    assert "What to do: copy x.py beside coach_interface.py" in text
    assert "Serving the stand-in, with the reason" in text
    assert "Since 4 s Restarts 17 Process none Next try in 43 s" in text
    assert "<title>1 of 2 apps is not ready: coach</title>" in answer.text
    assert 'href="/apps/coach"' in answer.text
    assert 'id="app-coach"' in answer.text


@pytest.mark.parametrize(
    ("apps", "headline"),
    [
        ({}, "No apps are configured"),
        ({"a": READY}, "The only app is ready"),
        ({"a": FAILED, "b": FAILED, "c": READY}, "2 of 3 apps are not ready: a, b"),
        (
            {"a": READY | {"state": "stopped", "status": "warn"}, "b": READY},
            "1 of 2 apps is stopped: a",
        ),
        (
            {"a": READY | {"status": "warn", "serving": "last-known-good"}, "b": READY},
            "All 2 apps are ready, with a warning: a",
        ),
        ({"a": READY | {"status": "fail"}}, "The only app is not ready: a"),
    ],
)
def test_headline(speak: Speak, apps: dict[str, Any], headline: str) -> None:
    """The headline says in words what the colours say."""
    text = words(speak(says({"apps": apps})).get("/").text)
    assert f"{headline} " in text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("starting", "starting"),
        ("backoff", "waiting to start again"),
        ("blocked", "has no port yet"),
        ("stopped", "stopped by an operator"),
        ("hibernating", "hibernating"),
    ],
)
def test_state_in_words(speak: Speak, state: str, text: str) -> None:
    """Every state has its words; one of a newer supervisor is shown as it is."""
    client = speak(says({"apps": {"coach": {"state": state}}}))
    assert f"coach {text} " in words(client.get("/").text)


def test_failing_check(speak: Speak) -> None:
    """A check that fails is named at the top, one that passes is not."""
    checks = {
        "status_port": {
            "status": "fail",
            "reason": "port 6000 is in use by pid 830",
            "hint": "look at pid 830",
        },
        "disk": {"status": "pass", "reason": None},
    }
    client = speak(says({"status": "fail", "apps": {"a": READY}, "checks": checks}))
    text = words(client.get("/").text)
    assert "status port: port 6000 is in use by pid 830 What to do: look at pid 830" in text
    assert "disk" not in text


def test_events_newest_first(speak: Speak) -> None:
    """The latest event is at the top, with its age and its app."""
    events = [
        {"time": "2026-11-23T08:00:00Z", "age_s": 90.0, "app": None, "text": "started"},
        {"time": "2026-11-23T08:01:00Z", "age_s": 1.0, "app": "coach", "text": "is ready"},
    ]
    text = words(speak(says({"apps": {}, "events": events})).get("/").text)
    assert "What happened 1 s ago coach is ready 1 min ago started" in text


@pytest.mark.parametrize(
    ("host", "link"),
    [
        ("192.168.7.232:5000", "http://192.168.7.232:5001/"),
        ("pi.local", "http://pi.local:5001/"),
        ("[fe80::1]:5000", "http://[fe80::1]:5001/"),
        ("[::1]", "http://[::1]:5001/"),
    ],
)
def test_link_keeps_the_host(speak: Speak, host: str, link: str) -> None:
    """An app's link leads to the host by the name that the browser used."""
    answer = speak(says({"apps": {"coach": FAILED}})).get("/", headers={"Host": host})
    assert f'href="{link}"' in answer.text


def test_unix_socket_has_no_link(speak: Speak) -> None:
    """An app without a port shows where it listens instead."""
    app = READY | {"port": None, "address": "unix:/run/coach.sock"}
    page = speak(says({"apps": {"coach": app}})).get("/").text
    assert "Port unix:/run/coach.sock" in words(page)
    assert "http://" not in page


@pytest.mark.parametrize(
    "snapshot",
    [
        {},
        {"status": "excellent", "apps": None, "checks": [], "events": {}},
        {"apps": {"coach": None}, "checks": {"disk": None}, "events": [None, 7, {}]},
        {"apps": {"coach": {"state": 7, "status": [], "port": "5001", "pid": True}}},
        {"apps": {"coach": {"age_s": "old", "restarts": {}, "reason": 5, "serving": []}}},
        {"apps": {"coach": {"age_s": float("nan"), "retry_in_s": float("inf")}}},
        {"apps": {"coach": READY | {"mood": "fine"}}, "weather": {"rain": True}},
    ],
)
def test_tolerates_other_supervisors(speak: Speak, snapshot: dict[str, Any]) -> None:
    """Missing, unknown and strange fields don't break the page."""
    answer = speak(says(snapshot)).get("/")
    assert answer.status_code == 200
    assert ("coach" in words(answer.text)) == ("coach" in (snapshot.get("apps") or {}))


def test_everything_is_escaped(speak: Speak) -> None:
    """Nothing from the snapshot becomes markup."""
    evil = "<script>alert(1)</script>\"'"
    app = FAILED | {"state": evil, "serving": evil, "reason": evil, "hint": evil, "address": evil}
    snapshot = {
        "version": evil,
        "apps": {evil: app, "b": app | {"port": None}},
        "checks": {evil: {"status": "fail", "reason": evil, "hint": evil}},
        "events": [{"text": evil, "app": evil, "time": evil, "age_s": 1}],
    }
    page = speak(says(snapshot)).get("/").text
    assert "alert(1)" in page
    assert "<script>" not in page
    assert 'alert(1)</script>"' not in page


def test_not_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a supervisor the page is a 503 with the reason, and what to do."""
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "control.sock"))
    set_password(tmp_path)
    answer = logged_in(create_app(take_samples=False).test_client()).get("/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    text = words(answer.text)
    assert "The supervisor does not answer No supervisor is running for" in text
    assert "What to do: start it with: flask-supervisor run" in text
    assert "admin.js" in answer.text, "the page must go on refreshing itself"


def test_not_under_a_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that isn't run by a supervisor says which setting is missing."""
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    answer = create_app().test_client().get("/", follow_redirects=True)
    assert "control = true" in answer.text


def test_the_last_picture_stays(speak: Speak) -> None:
    """When the supervisor stops answering, the page says so, and how old what it shows is."""
    given = [says({"status": "fail", "apps": {"coach": FAILED}})]
    client = logged_in(speak(lambda request: given[0](request), anonymous="none"))
    assert client.get("/").status_code == 200
    given[0] = lambda _: b""
    answer = client.get("/", headers={"X-Live": "1"})
    assert answer.status_code == 503
    assert answer.headers["X-Live"] == "1"
    text = words("<main>" + answer.text)
    assert "The supervisor does not answer The supervisor closed the connection" in text
    assert re.search(r"How it was \d+ s ago: The only app is not ready", text)
    assert "What to do: copy x.py beside coach_interface.py" in text
    nobody = client.application.test_client()
    assert "coach" not in nobody.get("/", follow_redirects=True).text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"", "The supervisor closed the connection"),
        (b"\x00\xffgarbage\n", "The supervisor's answer is not JSON"),
        (b'{"id": 1, "result": ["no", "snapshot"]}\n', "The supervisor's answer is not a snapshot"),
        (
            b'{"id": 1, "error": {"code": "denied", "message": "not you", "hint": "use sudo"}}\n',
            "Not you What to do: use sudo",
        ),
    ],
)
def test_unusable_answer(speak: Speak, line: bytes, text: str) -> None:
    """An error, garbage or no answer from the supervisor is a 503 with the reason."""
    answer = speak(lambda _: line).get("/")
    assert answer.status_code == 503
    assert text in words(answer.text)


def test_silence(speak: Speak) -> None:
    """The page waits for a silent supervisor until the time limit."""
    client = speak(lambda _: None)
    client.application.config["CONTROL_TIMEOUT_S"] = 0.05
    answer = client.get("/")
    assert answer.status_code == 503
    assert "The supervisor did not answer within 0.05 s" in words(answer.text)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/", 405)]
)
def test_error_pages(speak: Speak, method: str, path: str, status: int) -> None:
    """Wrong addresses and methods get an error page of the app, with a link back."""
    answer = speak(says({})).open(path, method=method)
    assert answer.status_code == status
    assert "To all apps" in answer.text
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/", "/nothing", "/login", "/static/admin.js"])
def test_security_headers(speak: Speak, path: str) -> None:
    """Every answer carries the security headers; pages are never kept."""
    with speak(says({})).get(path) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        is_page = answer.mimetype == "text/html"
        assert (answer.headers.get("Cache-Control") == "no-store") == is_page


def test_page_needs_no_other_host(speak: Speak) -> None:
    """Every file that the page names is served by the app; it refreshes without JavaScript too."""
    client = speak(says({"apps": {}}))
    page = client.get("/").text
    names = re.findall(r'<(?:link|script)[^>]* (?:href|src)="([^"]+)"', page)
    assert any(name.endswith("bootstrap.min.css") for name in names)
    for name in names:
        with client.get(name) as answer:
            assert (name, answer.status_code) == (name, 200)
    assert re.search(r'<noscript><meta http-equiv="refresh" content="\d+"></noscript>', page)
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", page)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (47.9 * 3600, "47 h"),
        (48 * 3600, "2 days"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    """A duration is shown in its largest whole unit."""
    assert duration(seconds) == text
