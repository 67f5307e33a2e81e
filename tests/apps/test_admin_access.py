"""Who may do what in the admin app, and what attackers try."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from admin_case import (
    PASSWORD,
    Speak,
    answers,
    csrf_token,
    logged_in,
    says,
    token,
    words,
)
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from apps.admin import create_app
from apps.admin.access.throttle import Throttle

SNAPSHOT = {"status": "pass", "apps": {"coach": {"state": "ready", "status": "pass", "port": 1}}}
SCRIPT = answers(
    snapshot=SNAPSHOT,
    logs={"lines": [], "last": 0},
    admin_fleet={"file": None, "machines": []},
    release_progress={
        "running": False,
        "what": None,
        "app": None,
        "lines": [],
        "last": 0,
        "outcome": None,
    },
    config_show={"settings": [{"path": "admin.anonymous", "value": "none", "origin": "default"}]},
)
READING = {
    "snapshot",
    "events",
    "logs",
    "admin.failure",
    "admin.fleet",
    "config.show",
    "release.list",
    "release.compare",
    "release.files",
    "release.progress",
}
OPEN = {"/login", "/logout", "/api/v1/openapi.json"}


def log_in(client: FlaskClient, password: str = PASSWORD, **fields: str) -> TestResponse:
    """Send the form of the login page."""
    given = {"csrf_token": csrf_token(client.get("/login").text), "password": password, **fields}
    return client.post("/login", data=given)


def routes(client: FlaskClient) -> list[tuple[str, str]]:
    """Return every method with every path of the app; names in paths are those of `SNAPSHOT`."""
    found = []
    for rule in client.application.url_map.iter_rules():
        if rule.endpoint.endswith("static"):
            continue
        path = rule.rule
        for name, value in (("<verb>", "restart"), ("<name>", "coach"), ("<app>", "coach")):
            path = path.replace(name, value)
        path = re.sub(r"<\w+>", "00000000", path)
        found += [(method, path) for method in sorted(rule.methods - {"HEAD", "OPTIONS"})]
    return found


# ---- every route


def test_nobody_gets_in(speak: Speak) -> None:
    """Without a login nothing is read and nothing changes, by any route and method."""
    client = speak(SCRIPT, anonymous="none")
    tried = routes(client)
    assert len(tried) > 50
    for method, path in tried:
        answer = client.open(path, method=method, json={} if method != "GET" else None)
        expected = (401,) if path.startswith("/api/") else (302,)
        if path not in OPEN:
            assert answer.status_code in expected, (method, path)
    assert not speak.asked


def test_anybody_may_glance_only(speak: Speak) -> None:
    """With `anonymous = "read"` the state is shown, and neither logs nor files nor levers."""
    client = speak(SCRIPT, anonymous="read")
    page = client.get("/apps/coach")
    assert page.status_code == 200
    assert "<form" not in page.text
    for method, path in routes(client):
        client.open(path, method=method, json={} if method != "GET" else None)
    assert speak.methods <= {"snapshot", "events"}
    assert client.get("/apps/coach/logs").status_code == 302
    assert client.get("/api/v1/configuration").status_code == 401


def test_a_token_that_may_read_changes_nothing(speak: Speak) -> None:
    """With a read token every route that changes something answers 403."""
    client = speak(SCRIPT, anonymous="none")
    shown = token(client, "read")
    before = files_of(client)
    for method, path in routes(client):
        answer = client.open(
            path, method=method, headers=shown, json={} if method != "GET" else None
        )
        if path not in OPEN and method != "GET":
            assert answer.status_code in (403, 405), (method, path)
    assert speak.methods <= READING
    assert files_of(client) == before


def files_of(client: FlaskClient) -> dict[str, Any]:
    """Return what is kept of passwords and tokens, but for the last use."""
    store = client.application.extensions["access"]
    return {
        "password": store.password(),
        "tokens": [(one.id, one.digest, one.right) for one in store.tokens()],
    }


# ---- passwords and sessions


def test_the_first_password_works_once(speak: Speak) -> None:
    """It is announced once, and whoever logs in with it has to choose another one first."""
    client = speak(SCRIPT, has_password=False)
    (text,) = speak.announced
    password = text.rpartition(" ")[2]
    create_app(take_samples=False)
    assert len(speak.announced) == 1
    assert log_in(client, password).headers["Location"] == "/"
    assert client.get("/apps/coach/logs").headers["Location"] == "/settings/password"
    page = client.get("/settings/password").text
    given = {"csrf_token": csrf_token(page), "new": PASSWORD, "again": PASSWORD}
    assert client.post("/settings/password", data=given).headers["Location"] == "/settings"
    assert client.get("/").status_code == 200
    assert log_in(client.application.test_client(), password).status_code == 403


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"old": PASSWORD, "new": "short", "again": "short"}, "at least 8 characters"),
        ({"old": PASSWORD, "new": "x" * 201, "again": "x" * 201}, "at most 200 characters"),
        ({"old": PASSWORD, "new": "long enough", "again": "longer yet"}, "differ"),
        ({"old": "wrong", "new": "long enough", "again": "long enough"}, "not the present"),
    ],
)
def test_a_bad_new_password(speak: Speak, fields: dict[str, str], problem: str) -> None:
    """Each mistake has its own words, and changes nothing."""
    client = logged_in(speak(SCRIPT))
    fields["csrf_token"] = csrf_token(client.get("/settings/password").text)
    answer = client.post("/settings/password", data=fields)
    assert answer.status_code == 422
    assert problem in words(answer.text)
    assert "admin.audit" not in speak.methods


def test_sessions_survive_a_reload_and_end_with_the_password(speak: Speak) -> None:
    """Another process of the app knows the session; after a new password it is gone."""
    client = speak(SCRIPT, anonymous="none")
    log_in(client)
    cookie = client.get_cookie("flask_supervisor_admin")
    assert cookie is not None
    assert (cookie.http_only, cookie.same_site) == (True, "Lax")
    again = create_app(take_samples=False).test_client()
    again.set_cookie("flask_supervisor_admin", cookie.value)
    assert again.get("/").status_code == 200
    client.application.extensions["access"].set_password("another one")
    assert again.get("/").status_code == 302


def test_the_first_password_is_told_to_the_log_alone(
    speak: Speak, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What this app prints can be read with a read token: it is not there either."""
    speak(SCRIPT)
    (tmp_path / "admin" / "password").unlink()
    speak.end()
    create_app(take_samples=False)
    printed = capsys.readouterr().out
    assert re.search(r"set one on the machine: flask-supervisor password", printed)
    assert not re.search(r"\w{4}-\w{4}-\w{4}-\w{4}", printed)


def test_a_cookie_that_came_by_https_goes_by_https_only(speak: Speak) -> None:
    """As behind a reverse proxy that waitress knows; without HTTPS it could not be sent at all."""
    app = speak(SCRIPT).application
    for scheme, secure in (("https", True), ("http", False)):
        answer = app.test_client().get("/login", base_url=f"{scheme}://localhost")
        assert ("Secure" in answer.headers["Set-Cookie"]) is secure


@pytest.mark.parametrize("at", [0.0, 4e9])
def test_no_clock_ends_a_session(speak: Speak, monkeypatch: pytest.MonkeyPatch, at: float) -> None:
    """Who logs in while the machine's clock is wrong stays logged in when it is set."""
    client = speak(SCRIPT, anonymous="none")
    with monkeypatch.context() as wrong:
        wrong.setattr("time.time", lambda: at)
        answer = log_in(client)
    assert "Expires=Fri, 01 Jan 2100" in answer.headers["Set-Cookie"]
    cookie = re.match(r"flask_supervisor_admin=([^;]+)", answer.headers["Set-Cookie"])
    client.set_cookie("flask_supervisor_admin", cookie[1])
    assert client.get("/").status_code == 200
    client.set_cookie("flask_supervisor_admin", cookie[1][:-3] + "xyz")
    assert client.get("/").status_code == 302


def test_a_session_cannot_be_fixed(speak: Speak) -> None:
    """What an attacker put into a cookie before the login is worth nothing after it."""
    victim = speak(SCRIPT, anonymous="none")
    victim.get("/login")
    planted = victim.get_cookie("flask_supervisor_admin")
    assert planted is not None
    log_in(victim)
    attacker = victim.application.test_client()
    attacker.set_cookie("flask_supervisor_admin", planted.value)
    assert attacker.get("/").status_code == 302
    assert victim.get("/").status_code == 200


def logged_out(client: FlaskClient) -> FlaskClient:
    """Log in by the form, and out again; returns the client."""
    assert log_in(client).status_code == 302
    client.post("/logout", data={"csrf_token": csrf_token(client.get("/").text)})
    return client


def test_logging_out_ends_the_session_wherever_it_is(speak: Speak) -> None:
    """A copy of the cookie is worth nothing then, also after a reload; other sessions go on."""
    client = speak(SCRIPT, anonymous="none")
    other = client.application.test_client()
    for one in (client, other):
        log_in(one)
    copied = client.get_cookie("flask_supervisor_admin")
    client.post("/logout", data={"csrf_token": csrf_token(client.get("/").text)})
    for thief in (client.application.test_client(), create_app(take_samples=False).test_client()):
        thief.set_cookie("flask_supervisor_admin", copied.value)
        assert thief.get("/").status_code == 302
    assert client.get("/").status_code == 302
    assert other.get("/").status_code == 200


# ---- attacks


@pytest.mark.parametrize(
    "path",
    ["/apps/coach/stop", "/apps/coach/rollback", "/configuration/edit", "/settings/tokens"],
)
def test_a_form_of_another_site_does_nothing(speak: Speak, path: str) -> None:
    """A session alone changes nothing: the form's own token is missing, or wrong."""
    client = logged_in(speak(SCRIPT))
    for fields in ({}, {"csrf_token": "wrong"}):
        assert client.post(path, data={"text": "x", **fields}).status_code == 400
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer wrong"}):
        answer = client.post("/api/v1/apps/coach/stop", headers=headers)
        assert answer.status_code == 401
    assert not speak.asked


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x",
        "/\r\nSet-Cookie: x=1",
        "http:evil.example",
        "///evil.example",
    ],
)
def test_the_login_leads_to_no_other_host(speak: Speak, wanted: str) -> None:
    """After the login the browser stays here, whatever the address said."""
    client = speak(SCRIPT)
    answer = log_in(client, next=wanted)
    assert answer.status_code == 302
    location = answer.headers["Location"]
    assert location == "/" or re.fullmatch(r"/%0d%0a[\w:-]+", location)
    assert "x=1" not in str(answer.headers)
    assert client.get("/login", query_string={"next": wanted}).headers["Location"] == location


def test_guessing_is_slow_and_locks_nobody_out(speak: Speak) -> None:
    """After ten wrong passwords a client waits; others don't, and the wait ends."""
    client = speak(SCRIPT)
    now = [100.0]
    client.application.extensions["throttle"] = Throttle(clock=lambda: now[0])
    assert {log_in(client, "wrong").status_code for _ in range(10)} == {403}
    refused = log_in(client)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 61
    told = [one for one in speak.asked if "wrong passwords" in one["params"].get("text", "")]
    assert len(told) == 1
    other = client.application.test_client()
    page = other.get("/login", environ_base={"REMOTE_ADDR": "192.0.2.7"}).text
    given = {"csrf_token": csrf_token(page), "password": PASSWORD}
    found = other.post("/login", data=given, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert found.status_code == 302
    now[0] += 61
    assert log_in(client).status_code == 302


def test_who_guesses_from_the_owners_address_keeps_nobody_out(speak: Speak) -> None:
    """A browser that has been logged in has attempts of its own, as behind one reverse proxy."""
    client = logged_out(speak(SCRIPT, anonymous="none"))
    guesser = client.application.test_client()
    assert {log_in(guesser, "wrong").status_code for _ in range(11)} == {403, 429}
    logged_out(client)
    assert [log_in(client, "wrong").status_code for _ in range(11)][-1] == 429


def test_many_guesses_at_once_are_no_more(speak: Speak) -> None:
    """Attempts count before it is known how they end, so concurrent ones count too."""
    client = speak(SCRIPT, anonymous="none")
    given = {"csrf_token": csrf_token(client.get("/login").text), "password": "wrong"}
    cookie = client.get_cookie("flask_supervisor_admin")

    def guess(_number: int) -> int:
        other = client.application.test_client()
        other.set_cookie("flask_supervisor_admin", cookie.value)
        return other.post("/login", data=given).status_code

    with ThreadPoolExecutor(30) as threads:
        assert sorted(threads.map(guess, range(30))) == [403] * 10 + [429] * 20


def test_the_present_password_is_not_guessed_either(speak: Speak) -> None:
    """Neither a session nor a token is a way to try passwords without end."""
    client = logged_in(speak(SCRIPT))
    page = client.get("/settings/password").text
    fields = {
        "csrf_token": csrf_token(page),
        "old": "wrong",
        "new": "12345678",
        "again": "12345678",
    }
    tried = [client.post("/settings/password", data=fields).status_code for _ in range(11)]
    assert tried == [422] * 10 + [429]
    shown = token(client, "operate")
    given = {"old": "wrong", "new": "12345678"}
    answers = [client.put("/api/v1/password", headers=shown, json=given) for _ in range(11)]
    assert [one.status_code for one in answers] == [403] * 10 + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 61


def test_the_throttle_forgets() -> None:
    """A flood of addresses costs no memory; a network of IPv6 counts as one client."""
    throttle = Throttle(attempts=2, clock=lambda: 0.0)
    for number in range(5000):
        throttle.attempt(f"10.0.{number // 256}.{number % 256}")
    assert len(throttle._attempts_of) == 1000
    assert throttle.attempt("2001:db8::1") == throttle.attempt("2001:db8::2:3") == 0
    assert throttle.is_last("2001:db8::1")
    assert throttle.attempt("2001:db8::ffff") > 0
    assert throttle.attempt("2001:db8:0:1::1") == 0
    throttle.succeed("2001:db8::1")
    assert throttle.attempt("2001:db8::1") == 0


@pytest.mark.parametrize(
    "host", ['evil"><script>alert(1)</script>', "evil.example/@x", "a b", "evil.example:99:1"]
)
def test_a_strange_host_is_not_repeated(speak: Speak, host: str) -> None:
    """The header Host leads to no link, and no address of a redirect."""
    client = logged_in(speak(SCRIPT))
    page = client.get("/", headers={"Host": host})
    assert "<script>" not in page.text
    assert page.status_code == 400 or 'href="http://' not in page.text
    client.delete_cookie("flask_supervisor_admin")
    assert "evil" not in client.get("/settings", headers={"Host": host}).headers.get("Location", "")


def test_no_other_site_can_frame_it(speak: Speak) -> None:
    """Every page forbids frames, scripts in it and requests to elsewhere."""
    client = logged_in(speak(SCRIPT))
    for path in ("/", "/settings", "/login", "/nothing"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "coach%0d%0aX-Evil: 1", "%00", "a" * 5000],
)
def test_names_in_addresses_lead_nowhere(speak: Speak, name: str) -> None:
    """A name is a name for the supervisor, and never a path or a header."""
    client = logged_in(speak(SCRIPT))
    for path in (f"/apps/{name}/logs.txt", f"/configuration/history/{name}", f"/apps/{name}"):
        answer = client.get(path)
        assert "root:" not in answer.text
        assert "X-Evil" not in answer.headers


@pytest.mark.parametrize(
    "name",
    ["../../../../evil.zip", "/etc/cron.d/evil.zip", "..\\..\\evil.zip", ".evil.zip", "a b;c.zip"],
)
def test_an_upload_stays_in_its_folder(speak: Speak, tmp_path: Path, name: str) -> None:
    """Whatever an archive is called, it is stored in the folder for uploads."""
    import io

    results = {
        "snapshot": SNAPSHOT,
        "release_progress": {"running": False, "what": None, "lines": [], "outcome": None},
        "release_deploy": {"begun": True},
    }
    client = speak(answers(**results))
    shown = token(client, "operate")
    given = {"archive": (io.BytesIO(b"PK"), name)}
    answer = client.post("/api/v1/apps/coach/deploy", headers=shown, data=given)
    assert answer.status_code == 202
    (asked,) = (one for one in speak.asked if one["method"] == "release.deploy")
    source = Path(asked["params"]["source"])
    assert source.parent.parent == tmp_path / "admin" / "uploads"
    assert source.read_bytes() == b"PK"
    assert re.fullmatch(r"[\w.-]+", source.name)
    assert not source.name.startswith(".")


def test_what_may_not_be_uploaded(speak: Speak) -> None:
    """Another kind of file is refused, and one that is too large too."""
    import io

    client = speak(answers(snapshot=SNAPSHOT, release_progress={"running": False}))
    shown = token(client, "operate")
    other = client.post(
        "/api/v1/apps/coach/deploy", headers=shown, data={"archive": (io.BytesIO(b""), "a.exe")}
    )
    assert other.status_code == 415
    client.application.config["UPLOAD_MAX"] = 1000
    large = client.post(
        "/api/v1/apps/coach/deploy",
        headers=shown,
        data={"archive": (io.BytesIO(b"x" * 5000), "a.zip")},
    )
    assert large.status_code == 413


# ---- tokens


def test_tokens_are_kept_as_hashes_and_can_be_revoked(speak: Speak, tmp_path: Path) -> None:
    """The secret is shown once and is in no file; the last use is known; revoked ones end."""
    client = logged_in(speak(SCRIPT))
    page = client.get("/settings").text
    given = {"csrf_token": csrf_token(page), "name": "grafana", "right": "read"}
    shown = client.post("/settings/tokens", data=given).text
    secret = re.search(r'id="secret">([^<]+)<', shown)[1]
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.get("/api/v1/snapshot", headers=headers).json == SNAPSHOT
    for file in (tmp_path / "admin").iterdir():
        if file.is_file():
            assert secret not in file.read_text()
            assert file.name == "lock" or file.stat().st_mode & 0o077 == 0
    assert (tmp_path / "admin").stat().st_mode & 0o077 == 0
    (kept,) = json.loads((tmp_path / "admin" / "tokens").read_text())
    assert kept["last_used"]
    assert "grafana" in words(client.get("/settings").text)
    assert secret not in client.get("/settings").text
    client.post(f"/settings/tokens/{kept['id']}/revoke", data={"csrf_token": csrf_token(page)})
    answer = client.application.test_client().get("/api/v1/snapshot", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize(
    "content",
    [
        '{"hash": 7, "half',
        "",
        "[" * 100_000,
        "\udcff",
        '{"hash": 7, "one_time": false, "id": "x"}',
        '{"hash": "", "one_time": false, "id": ""}',
        '[{"id": 1, "name": 1, "right": "operate", "digest": 5, "created": 1}]',
        None,  # a folder in its place
    ],
)
def test_a_damaged_file_lets_nobody_in(speak: Speak, tmp_path: Path, content: str | None) -> None:
    """Garbage is no password, and no token; the page says what to do, and nothing is lost."""
    client = speak(SCRIPT, anonymous="none")
    shown = token(client, "operate")
    for name in ("password", "tokens"):
        file = tmp_path / "admin" / name
        file.unlink()
        if content is None:
            file.mkdir()
        else:
            file.write_bytes(content.encode("utf-8", "surrogateescape"))
    answer = log_in(client)
    assert answer.status_code == 403
    assert "Set one on the machine: flask-supervisor password" in words(answer.text)
    assert client.get("/api/v1/snapshot", headers=shown).status_code == 401
    announced = len(speak.announced)
    again = create_app(take_samples=False).test_client()
    if content is None:  # it can't be read now, but what is in it may be good
        assert (tmp_path / "admin" / "password").is_dir()
        return
    (text,) = speak.announced[announced:]
    assert log_in(again, text.rpartition(" ")[2]).status_code == 302
    token(client, "read")
    for name in ("password", "tokens"):
        kept = (tmp_path / "admin" / f"{name}.damaged").read_bytes()
        assert kept == content.encode("utf-8", "surrogateescape")


def test_a_full_disk_is_said_and_changes_nothing(speak: Speak, tmp_path: Path) -> None:
    """A password or token that can't be kept is not in effect, and the record says so."""
    client = logged_in(speak(SCRIPT))
    shown = token(client, "operate")
    for name in ("password.new", "tokens.new"):
        (tmp_path / "admin" / name).mkdir()  # whole files are written there first
    before = files_of(client)
    answers = [
        client.put("/api/v1/password", headers=shown, json={"old": PASSWORD, "new": "12345678"}),
        client.post("/api/v1/tokens", headers=shown, json={"name": "x", "right": "read"}),
    ]
    for answer in answers:
        assert answer.status_code == 507
        assert "can't be written" in answer.json["detail"]
        assert "nothing was changed" in answer.json["hint"]
    assert files_of(client) == before
    told = [one["params"]["text"] for one in speak.asked if one["method"] == "admin.audit"]
    assert [text.startswith("no change of the password: ") for text in told][:2] == [False, True]


def test_what_was_done_is_on_record(speak: Speak) -> None:
    """The event says who did what, and from where."""
    client = logged_in(speak(answers(snapshot=SNAPSHOT, restart={"apps": {"coach": None}})))
    page = client.get("/apps/coach").text
    client.post("/apps/coach/restart", data={"csrf_token": csrf_token(page)})
    client.post("/api/v1/apps/coach/restart", headers=token(client, "operate"))
    told = [one["params"] for one in speak.asked if one["method"] == "admin.audit"]
    assert told == [
        {"text": "restart of coach", "by": "the operator from 127.0.0.1", "app": "coach"},
        {"text": "restart of coach", "by": "token test operate from 127.0.0.1", "app": "coach"},
    ]
    asked = [one["params"] for one in speak.asked if one["method"] == "restart"]
    assert asked == [{"apps": ["coach"], "wait": False}] * 2


def test_a_read_only_disk_locks_nobody_out(speak: Speak, tmp_path: Path) -> None:
    """Where nothing can be written, the password still opens."""
    client = speak(SCRIPT, anonymous="none")
    if os.geteuid() == 0:  # root may write anywhere: a folder in the way is what stops it
        (tmp_path / "admin" / "lock").unlink(missing_ok=True)
        (tmp_path / "admin" / "lock").mkdir()
    else:
        (tmp_path / "admin").chmod(0o500)
    again = create_app(take_samples=False).test_client()
    assert log_in(again).status_code == 302
    (tmp_path / "admin").chmod(0o700)
    assert client.get("/login").status_code == 200


def test_an_unknown_snapshot_is_no_right(speak: Speak) -> None:
    """A supervisor that doesn't know of `[admin]` opens nothing."""
    client = speak(says({}), anonymous="everything")
    assert client.get("/").status_code == 302
