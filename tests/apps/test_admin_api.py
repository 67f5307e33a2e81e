"""The API of the admin app, against its own document, under a real supervisor."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from admin_site import COACH, Site, Visitor, archive, site, text_of
from harness import REPOSITORY, ask, eventually
from hypothesis import given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from apps.admin.api.openapi import markdown
from apps.admin.api.operations import OPERATIONS, Operation
from supervisor.client import Client

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


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


def test_the_admin_app_killed_in_a_deploy(running: Site) -> None:
    """The deploy goes on without it, and the page says how it ended when it is back."""
    source = {"archive": ("next.tar.gz", archive(coach=COACH.format(text="whatever happens")))}
    assert running.api("POST", "/apps/coach/deploy", files=source).status_code == 202
    os.kill(running.running.worker("admin"), signal.SIGKILL)
    assert eventually(running.wait_for_deploy, timeout_s=60)["ok"]
    with Visitor(running.address) as visitor:
        page = visitor.log_in().get("/deploy").text
    assert "Done: the deploy of next.tar.gz" in text_of(page)
    assert ask(running.project.port("coach")).text == "whatever happens\n"


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
