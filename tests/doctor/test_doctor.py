"""``flask-supervisor doctor``: each diagnosis, with and without the problem."""

import json
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from harness import GOOD_APP, Project, eventually, free_ports, process_in_test
from operating_case import HOLDER, NOBODY, open_project, run_as, run_command, wait_until_ready

from supervisor.doctor import machine
from supervisor.values.states import Status

STRANGER = 54321  # a user without a name
NO_ADDRESS = "192.0.2.1"  # RFC 5737: of no machine

Result = "subprocess.CompletedProcess[str]"


def findings(result: Result) -> dict[str, Any]:
    """Return the worst diagnosis of each topic; the exit code has to agree with them."""
    assert result.stderr == ""
    found = json.loads(result.stdout)
    order = ("pass", "warn", "fail")
    by_topic = {
        one["topic"]: one for one in sorted(found, key=lambda one: order.index(one["status"]))
    }
    bad = any(one["status"] == "fail" for one in found)
    assert result.returncode == (1 if bad else 0)
    assert all(one["text"] for one in found)
    return by_topic


def examined(project: Project, **options: Any) -> dict[str, Any]:
    """Run doctor on a project whose configuration is written already."""
    return findings(run_command(project.folder, "doctor", "--json", **options))


def examined_as(uid: int, project: Project) -> dict[str, Any]:
    """Run doctor as another user."""
    project.write()
    return findings(run_as(uid, project.folder, "doctor", "--json"))


def says(finding: dict[str, Any]) -> tuple[str, str, str | None]:
    """Return status, text and hint of a diagnosis."""
    return finding["status"], finding["text"], finding["hint"]


def test_all_is_well(project: Project) -> None:
    """Before the first start everything passes, in the order in which a start would fail."""
    project.app("coach")
    result = project.command("doctor", "--json")
    everything = json.loads(result.stdout)
    found = [one for one in everything if one["topic"] != "service"]  # depends on the machine
    assert result.returncode == 0
    assert everything[-1]["topic"] == "service"
    assert [one["topic"] for one in found] == [
        "python",
        "packages",
        "configuration",
        "state folder",
        "running",
        "port of status",
        "port of coach",
        "disk",
        "limits",
        "clock",
    ]
    assert {one["status"] for one in found} == {"pass"}
    assert not (project.folder / ".flask-supervisor").exists()  # it changes nothing
    shown = project.command("doctor")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [line[:5] for line in shown.stdout.splitlines()[: len(found)]] == ["ok   "] * len(found)


# ---- packages, clock


def test_supervisord_beside_this_one(project: Project) -> None:
    """Both packages have the same import name."""
    project.app("coach")
    project.write()
    for name, metadata in (("supervisor-4.2.5", "Name: supervisor\n"), ("half-0.1", None)):
        folder = project.folder / "site" / f"{name}.dist-info"
        folder.mkdir(parents=True)
        if metadata:  # an interrupted pip leaves the other one
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\n{metadata}Version: 4.2.5\n")
    path = f"{os.environ.get('PYTHONPATH', '')}:{Path(machine.__file__).parents[2]}"
    found = examined(project, env={"PYTHONPATH": f"{path}:{project.folder / 'site'}"})
    assert found["packages"]["status"] == "fail"
    assert "supervisord" in found["packages"]["text"]


def test_a_package_that_is_missing() -> None:
    """The diagnosis names it, with the command that installs it."""
    found = machine.packages(("flask", "no-such-package"))
    assert found.status is Status.FAIL
    assert (found.text, found.hint) == ("missing: no-such-package", "pip install no-such-package")


@pytest.mark.parametrize(
    ("wall_s", "status"), [(0.0, Status.WARN), (1.6e9, Status.WARN), (1.8e9, Status.PASS)]
)
def test_a_clock_that_is_not_set(wall_s: float, status: Status) -> None:
    """A Raspberry Pi without a network boots in the past."""
    found = machine.clock(lambda: wall_s)
    assert found.status is status
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_s)) in found.text


# ---- configuration


def test_folders_of_apps(project: Project) -> None:
    """A missing folder, or a file in its place, is a problem, but not for a disabled app."""
    for name in ("coach", "camera", "off"):
        project.app(name)
    project.apps["coach"]["path"] = "nowhere"
    project.apps["camera"] |= {"path": "camera/camera.py"}
    project.apps["off"] |= {"path": "nowhere", "enabled": False}
    result = project.command("doctor", "--json")
    found = [one for one in json.loads(result.stdout) if one["topic"] == "configuration"]
    assert [(one["status"], one["text"]) for one in found[1:]] == [
        ("fail", f"app coach: its folder {project.folder}/nowhere does not exist"),
        ("fail", f"app camera: its folder {project.folder}/camera/camera.py does not exist"),
    ]
    assert "correct apps.coach.path" in found[1]["hint"]
    assert result.returncode == 1


@pytest.mark.root
def test_a_folder_that_cannot_be_entered() -> None:
    """The diagnosis names the closed folder, on the way to the app's or itself, and its owner."""
    with open_project() as project:
        project.app("coach", path="closed/coach")
        (project.folder / "closed" / "coach").mkdir(parents=True)
        os.chown(project.folder / "closed", STRANGER, STRANGER)
        (project.folder / "closed").chmod(0o700)
        text = examined_as(NOBODY, project)["configuration"]["text"]
        closed = project.folder / "closed"
        assert text == (
            f"app coach: cannot enter its folder {closed}/coach: {closed} belongs to uid {STRANGER}"
        )
        closed.chmod(0o755)
        (closed / "coach").chmod(0o700)
        text = examined_as(NOBODY, project)["configuration"]["text"]
        assert f"cannot read its folder {closed}/coach: it belongs to root" in text


# ---- state folder, disk


def owned(mode: int, uid: int) -> Callable[[Path], None]:
    """Return a function that makes the state folder with this mode and owner."""

    def make(folder: Path) -> None:
        folder.mkdir()
        folder.chmod(mode)
        os.chown(folder, uid, uid)

    return make


STATE_FOLDERS: dict[str, tuple[Callable[[Path], Any], str, str, str]] = {
    "not made yet": (
        lambda folder: folder.parent.chmod(0o777),
        "pass",
        "{path} (not created yet)",
        "None",
    ),
    "may not be made": (
        lambda folder: os.chown(folder.parent, STRANGER, STRANGER),
        "fail",
        "cannot create {path}: {parent} belongs to uid 54321",
        "sudo install -d -m 700 -o $USER {path}, or set state_dir in [supervisor]",
    ),
    "our own": (owned(0o700, NOBODY), "pass", "{path}", "None"),
    "our own, closed": (
        owned(0o500, NOBODY),
        "fail",
        "cannot write to {path}: its mode is 500",
        "chmod 700 {path}",
    ),
    "another user's": (
        owned(0o700, STRANGER),
        "fail",
        "{path} belongs to another user, uid 54321",
        "run every command as that user, or with sudo",
    ),
    "another user's, open": (
        owned(0o777, STRANGER),
        "warn",
        "{path} belongs to another user, uid 54321",
        "run every command as that user, or with sudo",
    ),
    "a file": (
        lambda folder: folder.write_text(""),
        "fail",
        "{path} is not a folder",
        "set state_dir in [supervisor] to another folder",
    ),
}


@pytest.mark.root
@pytest.mark.parametrize(
    ("make", "status", "text", "hint"), STATE_FOLDERS.values(), ids=STATE_FOLDERS
)
def test_state_folders(make: Callable[[Path], Any], status: str, text: str, hint: str) -> None:
    """What keeps a user from working with the state folder, and what to do."""
    with open_project() as project:
        path = project.folder / ".flask-supervisor"
        project.app("coach")
        make(path)
        found = says(examined_as(NOBODY, project)["state folder"])
        places = {"path": path, "parent": path.parent}
        assert (found[0], found[1], str(found[2])) == (
            status,
            text.format(**places),
            hint.format(**places),
        )


@pytest.mark.root
@pytest.mark.debian("util-linux", program="unshare")
def test_a_file_system_that_is_full_or_can_only_be_read(project: Project) -> None:
    """What happens to a worn-out SD card."""
    project.app("coach")
    project.supervisor["state_dir"] = "card/state"
    (project.folder / "card").mkdir()
    project.write()
    card = shlex.quote(str(project.folder / "card"))
    for options, topic, status, words in (
        ("size=1m", "disk", "fail", "1 MiB of 1 MiB free"),
        ("size=1m,ro", "state folder", "fail", "is on a read-only file system"),
    ):
        mount = f'mount -t tmpfs -o {options} card {card} && exec "$0" "$@"'
        prefix = ("unshare", "--mount", "sh", "-c", mount, sys.executable, "-m", "supervisor")
        found = examined(project, prefix=prefix)[topic]
        assert (found["status"], words in found["text"]) == (status, True), found
        assert found["hint"]


# ---- limits


def test_too_few_open_files(project: Project) -> None:
    """A limit that is too low for the main process is a problem."""
    project.app("coach")
    project.write()
    limit = ("sh", "-c", 'ulimit -n 65; exec "$0" "$@"', sys.executable, "-m", "supervisor")
    found = examined(project, prefix=limit)["limits"]
    assert found["status"] == "fail"
    assert "65 open files (of this shell), about 71 are needed" in found["text"]
    assert "LimitNOFILE=" in found["hint"]


# ---- a supervisor that runs


def test_a_running_supervisor(project: Project) -> None:
    """Its ports pass; apps that are not ready are named."""
    project.app("coach")
    project.app("broken", "1 / 0\n")
    running = project.start()
    wait_until_ready(running, "coach")
    running.wait_for("broken", state="backoff")
    found = examined(project)
    pid = running.process.pid
    assert found["running"]["status"] == "warn"
    assert found["running"]["text"].startswith("supervisor ")
    assert found["running"]["text"].endswith(f"pid {pid}; not ready: broken")
    project.file("broken").write_text(GOOD_APP.format(text="repaired"))
    wait_until_ready(running, "broken")
    found = examined(project)
    assert {one["status"] for one in found.values()} == {"pass"}
    port = project.port("coach")
    assert found["port of coach"]["text"] == f"port {port} is held by the supervisor, pid {pid}"


def test_a_supervisor_that_does_not_answer(project: Project) -> None:
    """Its main process is stopped by SIGSTOP; its lock identifies its ports."""
    project.app("coach")
    running = project.start()
    wait_until_ready(running, "coach")
    running.process.send_signal(signal.SIGSTOP)
    try:
        found = examined(project)
    finally:
        running.process.send_signal(signal.SIGCONT)
    assert says(found["running"])[:2] == ("warn", "the supervisor did not answer within 5 s")
    assert found["port of coach"]["status"] == "pass"
    assert f"pid {running.process.pid}" in found["port of coach"]["text"]


@pytest.mark.root
def test_the_supervisor_of_another_user() -> None:
    """Its ports may be its own: a warning, which sudo resolves."""
    with open_project() as project:
        project.app("coach")
        wait_until_ready(project.start(), "coach")
        found = examined_as(NOBODY, project)
        assert found["running"]["status"] == "warn"
        assert "permission denied" in found["running"]["text"]
        port = found["port of coach"]
        assert port["status"] == "warn"
        assert "a process of user root" in port["text"]
        assert port["text"].endswith("; this may be that user's supervisor")
        assert "sudo" in port["hint"]


# ---- ports


def test_a_port_that_is_taken(project: Project) -> None:
    """The holder is named with the command that frees the port."""
    port = project.app("coach")
    project.write()
    with process_in_test(project, HOLDER, f"127.0.0.1:{port}") as holder:
        assert holder.stdout.readline() == "listening\n"
        found = examined(project)["port of coach"]
        assert found["status"] == "fail"
        assert found["text"].startswith(f"port {port} is in use by pid {holder.pid} (python")
        assert f"kill {holder.pid}" in found["hint"]
    found = examined(project)["port of coach"]
    assert says(found) == ("pass", f"127.0.0.1:{port} is free", None)


def test_a_port_that_is_taken_after_a_crash(project: Project) -> None:
    """The port holder is not the supervisor, though it is of the same user."""
    port = project.app("coach")
    running = project.start()
    wait_until_ready(running, "coach")
    running.kill()
    eventually(lambda: not project.processes())
    with process_in_test(project, HOLDER, f"127.0.0.1:{port}") as holder:
        assert holder.stdout.readline() == "listening\n"
        found = examined(project)
        assert says(found["running"]) == (
            "pass",
            "no supervisor is running on this state folder",
            None,
        )
        assert found["port of coach"]["status"] == "fail"
        assert f"kill {holder.pid}" in found["port of coach"]["hint"]


def test_connections_in_time_wait_are_told_apart(project: Project) -> None:
    """The text says that they don't block the port, be it free or held."""
    port = project.app("coach")
    project.write()
    server = socket.create_server(("127.0.0.1", port))
    with server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as client:
                server.accept()[0].close()  # the side that closes first keeps TIME_WAIT
                assert client.recv(1) == b""
        note = "; its connections in TIME_WAIT never block it"
        eventually(lambda: examined(project)["port of coach"]["text"].endswith(note))
        held = examined(project)["port of coach"]
        assert (held["status"], f"pid {os.getpid()} " in held["text"]) == ("fail", True)
    found = examined(project)["port of coach"]
    assert says(found) == ("pass", f"127.0.0.1:{port} is free{note}", None)


ADDRESSES: dict[str, tuple[dict[str, Any], str, str]] = {
    "of no interface": ({"host": NO_ADDRESS}, "no network interface has this address yet", "ip a"),
    "a folder that is missing": ({"host": "unix:no/where.sock"}, "its folder does not", "make the"),
    "a file that is no socket": ({"host": "unix:file"}, "there is a file that is no socket", "rem"),
}


@pytest.mark.parametrize(("keys", "text", "hint"), ADDRESSES.values(), ids=ADDRESSES)
def test_addresses_that_cannot_be_bound(
    project: Project, keys: dict[str, Any], text: str, hint: str
) -> None:
    """The reason, and what to do."""
    project.app("coach", **keys)
    (project.folder / "file").write_text("")
    project.write()
    found = examined(project)["port of coach"]
    assert found["status"] == "fail"
    assert text in found["text"]
    assert hint in found["hint"]


@pytest.mark.root
def test_a_port_for_root() -> None:
    """A port that an ordinary user may not bind is a problem, with the ways to allow it."""
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if limit < 2:
        pytest.skip("every user may bind every port here")
    with open_project() as project:
        project.app("coach", port=min(limit, 1024) - 1)
        found = examined_as(NOBODY, project)["port of coach"]
        assert found["status"] == "fail"
        assert "permission denied" in found["text"]
        assert "CAP_NET_BIND_SERVICE" in found["hint"]


def test_a_unix_socket(project: Project) -> None:
    """A running supervisor's socket passes; another process's is in use."""
    project.app("coach", host="unix:coach.sock")
    project.write()
    with closing(socket.socket(socket.AF_UNIX)) as holder:
        holder.bind(str(project.folder / "coach.sock"))
        holder.listen()
        assert "in use" in examined(project)["port of coach"]["text"]
    (project.folder / "coach.sock").unlink()
    wait_until_ready(project.start(), "coach")
    found = examined(project)["port of coach"]
    assert (found["status"], "held by the supervisor" in found["text"]) == ("pass", True)


# ---- a configuration that can't be used


def test_a_broken_configuration(project: Project) -> None:
    """Each problem is a diagnosis of its own, and what needs no configuration is diagnosed too."""
    project.app("coach", threads=0, port=free_ports(1)[0])
    project.apps["coach"]["prot"] = 1
    result = project.command("doctor", "--json")
    found = json.loads(result.stdout)
    topics = [one["topic"] for one in found]
    assert result.returncode == 1
    assert topics.count("configuration") == 2
    assert {"python", "packages", "state folder", "running", "disk", "clock"} <= set(topics)


@pytest.mark.root
def test_a_configuration_that_may_not_be_read() -> None:
    """Another user's file is a problem, with what to do."""
    with open_project() as project:
        project.app("coach")
        project.write().chmod(0o600)
        found = findings(run_as(NOBODY, project.folder, "doctor", "--json"))["configuration"]
        assert found["status"] == "fail"
        assert found["text"] == f"{project.config}: cannot read it: Permission denied"
        assert "sudo" in found["hint"]
