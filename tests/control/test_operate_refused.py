"""Commands that can't be carried out: no supervisor, another's, unknown apps, nonsense."""

import json
import signal
import socket
from typing import Any

import pytest
from harness import Project, Running, ask, eventually
from operating_case import NOBODY, control_socket, open_project, run_as, wait_until_ready

from supervisor.client import socket_address

COMMANDS = ("start", "stop", "restart", "reload")
ASKING = ("status", "logs", "events")


@pytest.mark.parametrize(
    "words",
    [*[(c, "coach") for c in COMMANDS], *[(c,) for c in ASKING], ("logs", "-f"), ("events", "-f")],
)
def test_without_a_supervisor(project: Project, words: tuple[str, ...]) -> None:
    """Exit code 1, and the command that starts one."""
    project.app("coach")
    result = project.command(*words)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: no supervisor is running for {project.folder}/.flask-supervisor\n"
        "  start it with: flask-supervisor run\n"
    )


def test_the_state_folder_of_a_crashed_run(project: Project) -> None:
    """The socket that ``kill -9`` left answers nobody; a new run replaces it."""
    port = project.app("coach")
    running = project.start()
    wait_until_ready(running, "coach")
    running.kill()
    eventually(lambda: not project.processes())
    assert control_socket(project).exists()
    for command in (*ASKING, *COMMANDS):
        result = project.command(command, *(["all"] if command in COMMANDS else []))
        assert (result.returncode, result.stdout) == (1, "")
        assert "error: no supervisor is running" in result.stderr
    for words in (("check",), ("config", "check"), ("config", "show"), ("doctor",)):
        assert project.command(*words).returncode == 0, words
    again = project.start()
    wait_until_ready(again, "coach")
    assert project.command("restart", "coach").returncode == 0
    assert ask(port).text == "coach\n"
    assert again.stop(signal.SIGTERM) == 0
    assert not control_socket(project).exists()


@pytest.mark.root
def test_another_user_is_told_to_use_sudo() -> None:
    """Neither the apps nor the log are for everybody on the machine."""
    with open_project() as project:
        project.app("coach")
        wait_until_ready(project.start(), "coach")
        for command in (*ASKING, *COMMANDS):
            words = [command, "coach"] if command in COMMANDS else [command]
            result = run_as(NOBODY, project.folder, *words)
            assert (result.returncode, result.stdout) == (1, ""), result.stderr
            assert result.stderr == (
                f"error: cannot connect to {control_socket(project)}: permission denied\n"
                "  the supervisor runs as another user: repeat the command with sudo\n"
            )


@pytest.mark.root
def test_another_user_can_look_at_the_configuration() -> None:
    """What needs no supervisor works; a second one is refused without harm to the first."""
    with open_project() as project:
        project.app("coach")
        running = project.start()
        wait_until_ready(running, "coach")
        for words in (("check",), ("config", "check"), ("config", "show")):
            result = run_as(NOBODY, project.folder, *words)
            assert (result.returncode, result.stderr) == (0, ""), words
        refused = run_as(NOBODY, project.folder, "run")
        assert refused.returncode == 1
        assert f"already running as pid {running.process.pid}" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert ask(project.port("coach")).text == "coach\n"


def test_a_configuration_that_was_broken_meanwhile(project: Project) -> None:
    """The supervisor that runs is asked all the same; `run` and `check` say what is wrong."""
    project.app("coach")
    running = project.start()
    wait_until_ready(running, "coach")
    project.apps["coach"] |= {"threads": 0, "env": {"TOKEN": {"env": "ONLY_THE_UNIT_HAS_IT"}}}
    for command in ASKING:
        result = project.command(command)
        assert (result.returncode, result.stderr) == (0, ""), command
        assert "coach" in result.stdout
    assert json.loads(project.command("status", "--json").stdout)["disabled"] == []
    assert project.command("restart", "coach").returncode == 0
    for words in (("run",), ("check",), ("config", "show")):
        result = project.command(*words)
        assert result.returncode == 1
        assert "apps.coach.threads = 0" in result.stderr
        assert "the variable ONLY_THE_UNIT_HAS_IT is not set" in result.stderr


# ---- what makes no sense


@pytest.mark.parametrize("command", COMMANDS)
def test_apps_that_cannot_be_operated(project: Project, command: str) -> None:
    """An unknown one is refused with the known names, a disabled one with what to do; no app: 2.

    Only `reload` has a meaning without an app.
    """
    project.app("coach")
    project.app("off", enabled=False)
    running = project.start()
    pid = running.worker("coach")
    result = project.command(command, "coach", "nosuch")
    assert (result.returncode, result.stdout) == (1, "")
    assert "there is no app 'nosuch'; known: coach" in result.stderr
    result = project.command(command, "off")
    assert (result.returncode, result.stdout) == (1, "")
    assert "app 'off' is disabled" in result.stderr
    assert "enabled = true" in result.stderr
    assert running.worker("coach") == pid
    assert project.command(command).returncode == (0 if command == "reload" else 2)
    assert running.worker("coach") == pid


NONSENSE = {
    "hello": "not_json",
    "[1]": "not_a_request",
    '{"method": "stop", "params": [1]}': "not_a_request",
    '{"method": "explode"}': "unknown_method",
    '{"method": "stop"}': "bad_params",
    '{"method": "stop", "params": {"apps": [1]}}': "unknown_app",
    '{"method": "stop", "params": {"apps": [{}]}}': "unknown_app",
    '{"method": "logs", "params": {"app": ["coach"]}}': "unknown_app",
    '{"method": "logs", "params": {"newest": -1}}': "bad_params",
    "[" * 100_000: "not_json",
}


def answered(running: Running, line: str) -> Any:
    """Return the code of the error that a line on the control socket is answered with."""
    path = control_socket(running.project)
    with socket.socket(socket.AF_UNIX) as client, socket_address(path) as address:
        client.settimeout(10)
        client.connect(address)
        client.sendall(line.encode() + b"\n")
        received = b""
        while not received.endswith(b"\n"):
            part = client.recv(65536)
            if not part:
                return None
            received += part
    return json.loads(received)["error"]["code"]


def test_nonsense_on_the_control_socket(project: Project) -> None:
    """Whatever a client says, it gets an answer, and the supervisor works on."""
    project.app("coach")
    running = project.start()
    found = {line[:50]: answered(running, line) for line in NONSENSE}
    assert found == {line[:50]: code for line, code in NONSENSE.items()}
    assert "Traceback" not in running.log
    wait_until_ready(running, "coach")
