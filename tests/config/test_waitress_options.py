"""Options of waitress: all are checked, and reach the server of the app."""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Project, ask
from server_process import serving
from waitress.adjustments import Adjustments
from wire import Wire

from supervisor.config import reader
from supervisor.config.problems import Problem, Problems
from supervisor.config.waitress_options import OWNED, check_options
from supervisor.values.errors import ConfigError

RIGHT: list[dict[str, Any]] = [
    {},
    {"ident": "coach"},
    {"ident": ""},
    {"channel_timeout": 30, "connection_limit": 50, "cleanup_interval": 5},
    {"max_request_body_size": 1000, "max_request_header_size": 1000},
    {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": ["x-forwarded-for"]},
    {"trusted_proxy": "*", "trusted_proxy_headers": "forwarded", "trusted_proxy_count": 2},
    {"expose_tracebacks": True, "log_socket_errors": False},
    {"url_scheme": "https", "url_prefix": "/coach", "server_name": "pi.local"},
    {"send_bytes": 1, "channel_request_lookahead": 0},
]
WRONG = [
    ({"channel_timout": 30}, '.channel_timout: waitress has no such option; did you mean "channel'),
    ({"sparkle": 1}, ".sparkle: waitress has no such option (it has: channel_request_lookahead,"),
    ({"port": 80}, ".port: can't be set here: set `port` of the app"),
    ({"threads": 8}, ".threads: can't be set here: set `threads` and `max_threads` of the app"),
    ({"channel_timeout": "30"}, '.channel_timeout = "30": must be a whole number, 1 or more'),
    ({"channel_timeout": 0}, ".channel_timeout = 0: must be a whole number, 1 or more"),
    ({"channel_timeout": True}, ".channel_timeout = true: must be a whole number, 1 or more"),
    ({"expose_tracebacks": "yes"}, '.expose_tracebacks = "yes": must be true or false'),
    ({"ident": 1}, ".ident = 1: must be a string of one line"),
    (
        {"trusted_proxy": "*", "trusted_proxy_headers": ["x-real-ip"]},
        ".trusted_proxy_headers = ['x-real-ip']: must be a list of these: forwarded, ",
    ),
    ({"trusted_proxy": "*"}, ".trusted_proxy: needs `trusted_proxy_headers`"),
    (
        {"trusted_proxy_headers": ["forwarded"]},
        ": trusted_proxy_headers has no meaning without setting trusted_proxy",
    ),
    ({"trusted_proxy_count": 2}, ": trusted_proxy_count has no meaning without setting trust"),
    (
        {"trusted_proxy": "*", "trusted_proxy_headers": ["forwarded", "x-forwarded-for"]},
        ": The Forwarded proxy header and the X-Forwarded-{By,Host,Proto,Port,For} headers are",
    ),
]


def mistakes(
    options: dict[str, Any], path: str, *, is_hidden: Callable[[str], bool] = lambda _path: False
) -> list[Problem]:
    """Return what is wrong with ``options``, the table at the key path ``path``."""
    problems = Problems(is_hidden)
    check_options(options, path, problems)
    return problems.found


@pytest.mark.parametrize("options", RIGHT, ids=str)
def test_valid_options_are_accepted(options: dict[str, Any]) -> None:
    """Options that waitress accepts give no mistake."""
    assert mistakes(options, "apps.coach.waitress") == []


@pytest.mark.parametrize(("options", "beginning"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_options_are_explained(options: dict[str, Any], beginning: str) -> None:
    """Each message has the option, its value, and what is accepted."""
    (problem,) = mistakes(options, "apps.coach.waitress")
    text = f"{problem.path}{problem.text}"
    assert text.startswith(f"apps.coach.waitress{beginning}")


def test_all_mistakes_are_reported_at_once() -> None:
    """Each wrong option is reported."""
    given = {"ident": 1, "port": 80, "channel_timeout": -1, "url_prefix": "/fine"}
    problems = mistakes(given, "x")
    assert {one.path for one in problems} == {"x.ident", "x.port", "x.channel_timeout"}


def test_a_secret_is_not_shown() -> None:
    """The value of an option that is a secret is hidden."""
    (problem,) = mistakes({"ident": 12345}, "x", is_hidden=lambda path: path == "x.ident")
    assert "(hidden)" in problem.text
    assert "12345" not in problem.text


@pytest.mark.parametrize("name", sorted(name for name, _ in Adjustments._params))
def test_every_option_of_waitress_is_known(name: str) -> None:
    """No option of this version of waitress is unknown: it is owned by us, or its value checked."""
    (problem, *_) = mistakes({name: object()}, "x")
    assert ("can't be set here" in problem.text) == (name in OWNED)
    assert "no such option" not in problem.text


def test_a_wrong_option_is_reported_with_other_mistakes(tmp_path: Path) -> None:
    """The message has the file and the key path."""
    file = tmp_path / "supervisor.toml"
    file.write_text(
        '[apps.coach]\ntarget = "a:b"\nport = 0\nwaitress = { indent = "x" }\n', encoding="utf-8"
    )
    with pytest.raises(ConfigError) as raised:
        reader.load(file)
    assert (
        f'{file}: apps.coach.waitress.indent: waitress has no such option; did you mean "ident"?'
        in (raised.value.problems)
    )
    assert len(raised.value.problems) == 2


def test_waitress_is_loaded_only_to_check_options(tmp_path: Path) -> None:
    """Reading a configuration without these options does not import waitress."""
    file = tmp_path / "supervisor.toml"
    file.write_text('[apps.coach]\ntarget = "a:b"\nport = 5001\n', encoding="utf-8")
    code = (
        "import sys, pathlib; from supervisor.config import reader\n"
        f"reader.load(pathlib.Path({str(file)!r})); print('waitress' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


# ---- the server uses them


def test_options_reach_an_app(project: Project) -> None:
    """Identity, URL prefix, body limit and proxy of an app are those of its configuration."""
    source = """
from flask import Flask, request
app = Flask(__name__)

@app.route("/where", methods=["GET", "POST"])
def where():
    return f"{request.script_root} {request.path} {request.remote_addr} {request.scheme}\\n"
"""
    options = {
        "ident": "coach-server",
        "url_prefix": "/coach",
        "max_request_body_size": 100,
        "trusted_proxy": "127.0.0.1",
        "trusted_proxy_headers": ["x-forwarded-for", "x-forwarded-proto"],
    }
    port = project.app("coach", source, waitress=options)
    plain = project.app("plain", source)
    running = project.start()
    running.worker("coach")
    running.worker("plain")
    sent = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    answer = ask(port, "/coach/where", headers=sent)
    assert answer.text == "/coach /where 192.0.2.7 https\n"
    assert answer.headers["server"] == "coach-server"
    assert ask(port, "/coach/where", method="POST", body=b"x" * 100).status == 413
    assert ask(port, "/coach/where", method="POST", body=b"x" * 99).status == 200
    other = ask(plain, "/where", headers=sent)
    assert other.text == " /where 127.0.0.1 http\n"
    assert other.headers["server"] == "waitress"


def test_the_limit_of_connections_is_that_of_the_app(wires: contextlib.ExitStack) -> None:
    """`connection_limit` limits the connections of its app, and of no other."""
    with serving(options={"connection_limit": 10}) as server:
        silent = [wires.enter_context(Wire(server.port)) for _ in range(15)]
        others = [wires.enter_context(Wire(server.other_port)) for _ in range(15)]
        assert ask(server.port, "/new").text == "/new\n"
        assert silent[0].rest() == b""
        assert silent[-1].get("/last").answer().text == "/last\n"
        assert all(wire.get("/o").answer().text == "/o\n" for wire in others)
        assert server.wait_for_metrics("other", connections=15).total == 15


def test_clients_beyond_the_limit_wait_in_the_kernel() -> None:
    """While all allowed connections are busy, the next client waits and is answered then."""
    options = {"connection_limit": 3}
    with serving(options=options) as server, contextlib.ExitStack() as stack:
        busy = [stack.enter_context(Wire(server.port)).get("/hold") for _ in range(3)]
        server.wait_for(held=3)
        late = stack.enter_context(Wire(server.port)).get("/late")
        assert ask(server.other_port).status == 200
        assert server.command("count")["connections"] == 3
        server.command("release")
        assert [wire.answer().text for wire in busy] == ["/hold\n"] * 3
        assert late.answer().text == "/late\n"


def test_a_client_that_disconnects_is_noticed() -> None:
    """With `channel_request_lookahead` a disconnect is noticed during the request."""
    with serving(options={"channel_request_lookahead": 1}) as server, Wire(server.port) as wire:
        wire.get("/hold")
        server.wait_for(held=1, connections=1)
        wire.reset()
        server.wait_for(held=1, connections=0)
        server.command("release")
        server.wait_for_metrics(busy=0, connections=0)
