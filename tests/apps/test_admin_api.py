"""The API of the admin app, against its own document, under a real supervisor."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from admin_site import COACH, Site, Visitor, archive, site, text_of
from harness import REPOSITORY, Poller, ask, eventually
from hypothesis import given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from apps.admin.api.openapi import markdown
from apps.admin.api.operations import OPERATIONS, Operation
from supervisor.client import Client

CHECKS = (
    not_a_server_error,
    negative_data_rejection,
    unsupported_method,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


EXITS = """
import os
app.before_request(lambda: os._exit(3))
"""
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A supervisor for all tests of this module."""
    with site(tmp_path_factory.mktemp("api") / "project") as made:
        yield made


@pytest.fixture(scope="module")
def document(running: Site) -> Any:
    """The OpenAPI document, with names of apps that lead somewhere."""
    found = requests.get(f"{running.address}/api/v1/openapi.json", timeout=60).json()
    for operations in found["paths"].values():
        for one in operations.values():
            for parameter in one.get("parameters", ()):
                if parameter["name"] == "app":
                    parameter["schema"] = {"type": "string", "enum": ["coach", "nosuch"]}
    schema = schemathesis.openapi.from_dict(found)
    schema.config.update(base_url=f"{running.address}/api/v1")
    return schema


def test_the_documentation_is_made_of_the_list() -> None:
    """docs/api.md is what `python -m apps.admin.api` prints."""
    assert (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8") == markdown()


def test_a_deploy_from_archive_to_rollback(running: Site) -> None:
    """A bad archive is refused with the reason, a good one serves, a rollback brings it back."""
    running.api("POST", "/apps/coach/start")
    running.running.wait_for("coach", state="ready", serving="app", timeout_s=60)
    port = running.project.port("coach")
    bad = {"archive": ("bad.tar.gz", archive(coach="import nosuch_module"))}
    assert running.api("POST", "/apps/coach/deploy", files=bad).status_code == 202
    ended = running.wait_for_deploy()
    assert (ended["ok"], ended["phase"]) == (False, "refused")
    assert "nosuch_module" in ended["reason"]
    before = ask(port).text
    good = {"archive": ("good.tar.gz", archive(coach=COACH.format(text="from the API")))}
    assert running.api("POST", "/apps/coach/deploy", files=good).status_code == 202
    assert running.wait_for_deploy()["ok"]
    assert ask(port).text == "from the API\n"
    assert running.api("POST", "/apps/coach/rollback", json={"release": None}).status_code == 202
    assert running.wait_for_deploy()["ok"]
    assert ask(port).text == before
    uploads = running.project.folder / ".flask-supervisor" / "admin" / "uploads"
    assert len(list(uploads.iterdir())) <= 2


def test_the_configuration_is_changed_by_one_at_a_time(running: Site) -> None:
    """An invalid text is refused, so is one made of an older text; a valid one is in effect."""
    found = running.api("GET", "/configuration/text").json()
    wrong = running.api(
        "PUT",
        "/configuration/text",
        json={"text": found["text"] + "\n[admin]\nanonymos = 1\n", "digest": found["digest"]},
    )
    assert wrong.status_code == 422
    assert 'did you mean "anonymous"?' in wrong.json()["detail"]
    text = found["text"] + '\n[admin]\nanonymous = "read"\n'
    given = {"text": text, "digest": found["digest"]}
    assert running.api("POST", "/configuration/check", json={"text": text}).json() == {
        "problems": [],
        "hint": None,
        "changes": "in effect now: admin.anonymous",
    }
    assert running.api("PUT", "/configuration/text", json=given).status_code == 200
    late = running.api("PUT", "/configuration/text", json=given)
    assert (late.status_code, late.json()["code"]) == (409, "changed")
    eventually(
        lambda: requests.get(f"{running.address}/api/v1/snapshot", timeout=60).status_code == 200,
        what="anybody may look",
    )
    with Visitor(running.address) as visitor:
        visitor.log_in()
        for what in ("# seen", "# seen again"):  # the page reads it again when it has changed
            with running.project.config.open("a", encoding="utf-8") as file:
                file.write(what + "\n")
            assert what + "\n" in visitor.get("/configuration/edit").text
            assert what + "\n" in visitor.get("/configuration/edit").text
    text = running.api("GET", "/configuration/text").json()
    back = {"text": found["text"], "digest": text["digest"]}
    assert running.api("PUT", "/configuration/text", json=back).status_code == 200
    names = [one["name"] for one in text["history"]]
    assert names, "what came up is kept"
    assert "[apps.coach]" in running.api("GET", f"/configuration/history/{names[0]}").json()["text"]
    again = running.api("POST", "/configuration/reload").json()
    assert again == {"changes": "nothing has changed"}


def test_what_nobody_waits_for_is_told(running: Site) -> None:
    """The answer comes at once; when it comes to nothing, an event says so."""
    running.api("POST", "/apps/coach/stop")
    running.running.wait_for("coach", state="stopped")
    assert running.api("POST", "/apps/coach/reload").json() == {"app": "coach", "begun": True}

    def told() -> bool:
        events = running.api("GET", "/events", "read").json()["events"]
        return any("not done as it was asked for: it is stopped" in one["text"] for one in events)

    eventually(told, what="an event")
    control = running.project.folder / ".flask-supervisor" / "control.sock"
    events = Client(str(control)).call("events", app="coach")["events"]
    assert {one["app"] for one in events} == {"coach"}
    running.api("POST", "/apps/coach/start")
    running.running.wait_for("coach", state="ready", timeout_s=60)


def test_who_did_what_is_not_for_the_public(running: Site) -> None:
    """Operators see name and address of who changed something, port 6000 only what was changed."""
    name = "phone of the gardener"
    running.api("POST", "/tokens", json={"name": name, "right": "read"})
    text = f"creation of the API token {name} (read)"
    full = f"{text}, by token test operate from 127.0.0.1"
    assert full in [one["text"] for one in running.api("GET", "/events", "read").json()["events"]]
    assert full in running.project.command("events").stdout

    def told(document: Any) -> list[str]:
        return [one["text"] for one in document["events"] if one["kind"] == "audit"]

    snapshot = running.api("GET", "/snapshot", "read").json()
    public = eventually(lambda: text in (found := told(running.running.health())) and found)
    assert text in told(snapshot)
    assert not any("127.0.0.1" in one for one in (*public, *told(snapshot)))


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "", {}, 404),
        ("GET", "//snapshot", {}, 404),
        ("GET", "/apps/nosuch", {}, 404),
        ("POST", "/apps/nosuch/restart", {}, 404),
        ("DELETE", "/tokens/nosuch", {}, 404),
        ("POST", "/snapshot", {}, 405),
        ("BREW", "/snapshot", {}, 405),
        ("PUT", "/configuration/text", {"data": "{bad", "headers": JSON}, 400),
        ("PUT", "/configuration/text", {"data": "[" * 100_000, "headers": JSON}, 400),
        ("PUT", "/configuration/text", {"data": b"\xff", "headers": JSON}, 400),
        ("POST", "/configuration/check", {"data": '{"text": "\\ud800"}', "headers": JSON}, 400),
        ("POST", "/configuration/check", {"json": {"text": "#" * 600_000}}, 413),
        ("POST", "/configuration/check", {"data": "text=1"}, 415),
        ("POST", "/apps/coach/deploy", {}, 400),
        ("POST", "/apps/coach/deploy", {"files": {"archive": ("a.exe", b"")}}, 415),
        ("GET", "/apps/coach/logs?after=-1", {}, 400),
        ("GET", "/apps/coach/compare?old=live&new=nosuch", {}, 422),
        ("GET", "/configuration/history/..%2Fpassword", {}, 404),
        ("POST", "/apps/coach/rollback", {"json": {"release": "x\n\x1b[31m"}}, 400),
    ],
)
def test_every_mistake_has_a_problem_document(
    running: Site, method: str, path: str, more: dict[str, Any], status: int
) -> None:
    """Whatever is wrong, the answer says so as RFC 9457 wants it."""
    answer = running.api(method, path, **more)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert (status == 405) == ("Allow" in answer.headers)


def test_a_large_text_reaches_the_supervisor(running: Site) -> None:
    """As much as a request may have, in any language, is answered by what is wrong with it."""
    text = json.dumps({"text": "é" * 200_000}, ensure_ascii=False).encode()
    found = running.api("POST", "/configuration/check", data=text, headers=JSON).json()
    assert found["problems"]


def test_a_halted_supervisor_keeps_nobody_waiting(running: Site) -> None:
    """What would take long where the supervisor works answers within seconds where it doesn't."""
    pid = running.running.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        for path in ("/snapshot", "/apps/coach/files", "/configuration/text"):
            begun = time.monotonic()
            answer = running.api("GET", path)
            assert time.monotonic() - begun < 20
            assert (answer.status_code, answer.json()["code"]) == (503, "timeout")
            assert answer.headers["Retry-After"]
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_configuration_is_restored_by_its_name(running: Site) -> None:
    """The text comes back if the file is still what the client saw; the record says so."""
    found = running.api("GET", "/configuration/text").json()
    name = next(one["name"] for one in found["history"] if one["live"])
    path = f"/configuration/history/{name}/restore"
    assert running.api("POST", path, json={"digest": "other"}).status_code == 409
    restored = running.api("POST", path, json={"digest": found["digest"]}).json()
    assert restored == {"changes": "nothing has changed"}
    events = running.api("GET", "/events").json()["events"]
    assert any(f"restore of the configuration {name}" in one["text"] for one in events)


def test_machines_are_compared_by_their_files(running: Site) -> None:
    """An app's files are compared with those at an address that a token opens."""
    address = running.address.removeprefix("http://")
    secret = running.token("read")["Authorization"].removeprefix("Bearer ")
    given = {"app": "coach", "address": address, "token": secret}
    found = running.api("POST", "/machines/compare", json=given).json()
    assert (found["same"], found["changed"]) == (1, [])
    wrong = running.api("POST", "/machines/compare", json={**given, "token": "wrong"})
    assert (wrong.status_code, wrong.json()["detail"]) == (
        422,
        f"{address} does not accept this token.",
    )
    away = running.api("POST", "/machines/compare", json={**given, "address": "127.0.0.1:9"})
    assert "gives no answer: Connection refused" in away.json()["detail"]


def test_a_machine_that_is_off_keeps_no_page_waiting(running: Site) -> None:
    """The page comes at once, and has the answers when they are there."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Visitor(running.address) as visitor,
    ):
        hosts = f'[hosts]\nus = "127.0.0.1:{running.project.status_port}"\n'
        hosts += f'silent = "127.0.0.1:{silent.getsockname()[1]}"\n'
        (running.project.folder / "hosts.toml").write_text(hosts, encoding="utf-8")
        page = text_of(visitor.log_in().get("/machines").text)
        assert "Asking the other machines" in page
        page = eventually(
            lambda: (page := text_of(visitor.get("/machines").text)) and "silent" in page and page
        )
        assert "2 of 2 apps ready" in page
        assert "unreachable no answer" in page
        (running.project.folder / "hosts.toml").unlink()


@pytest.mark.parametrize(
    ("text", "more", "says", "serves"),
    [
        ("whatever happens", "", "Done: the deploy of next.tar.gz", "whatever happens\n"),
        ("next", EXITS, "Undone The deploy of next.tar.gz", "whatever happens\n"),
    ],
    ids=["it is completed", "it is undone"],
)
def test_the_admin_app_killed_in_a_deploy(
    running: Site, text: str, more: str, says: str, serves: str
) -> None:
    """The deploy goes on without it, and the page says how it ended when it is back."""
    source = {"archive": ("next.tar.gz", archive(coach=COACH.format(text=text) + more))}
    assert running.api("POST", "/apps/coach/deploy", files=source).status_code == 202
    os.kill(running.running.worker("admin"), signal.SIGKILL)
    with Poller(running.project.port("coach"), rate=20):
        assert eventually(running.wait_for_deploy, timeout_s=60)["ok"] is not bool(more)
    with Visitor(running.address) as visitor:
        page = visitor.log_in().get("/deploy").text
    assert says in text_of(page)
    assert ask(running.project.port("coach")).text == serves


def test_the_password_by_command_ends_sessions(running: Site) -> None:
    """`flask-supervisor password` sets it while the supervisor runs."""
    with Visitor(running.address) as visitor:
        visitor.log_in()
        file = running.project.folder / ".flask-supervisor" / "admin" / "password"
        kept = file.read_bytes()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "supervisor",
                "password",
                "--stdin",
                "-c",
                str(running.project.config),
            ],
            input="another one 2\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=running.project.environment(),
            cwd=running.project.folder,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "another one" not in done.stdout
        assert visitor.get("/").url.endswith("/login")
        given = {"password": "another one 2"}
        assert visitor.send("/login", data=given).url == running.address + "/"
        file.write_bytes(kept)
    short = running.project.command("password", "--stdin")
    assert (short.returncode, "choose one of 8 to 200" in short.stderr) == (1, True)


# At the end: what is sent at random leaves the app in any state.
@pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: one.name)
def test_every_answer_is_documented(one: Operation, running: Site, document: Any) -> None:
    """Whatever is sent, by whom: no 500, and no answer that the document doesn't have."""
    path = re.sub(r"<(\w+)>", r"{\1}", one.path)

    @given(case=document[path][one.method].as_strategy())
    @settings(max_examples=4, database=None)
    def send(case: Any) -> None:
        for headers in (running.token("operate"), running.token("read"), {}):
            case.call_and_validate(headers=headers, checks=CHECKS, timeout=60)

    send()
