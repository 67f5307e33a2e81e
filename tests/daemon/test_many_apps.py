"""Fifty apps on fifty ports, and more clients than open files."""

import socket
import time
from contextlib import ExitStack

from harness import Project, ask, eventually
from observing import cpu_s, fd_count, named, refused_with

BROKEN = {
    "syntax": ("def index(:\n", "SyntaxError: invalid syntax (app_07.py, line 1)"),
    "module": ("import nowhere\n", "ModuleNotFoundError: No module named 'nowhere'"),
    "exit": ("import os\nos._exit(3)\n", "exit code 3"),
    "target": ("", "TargetError: module app_37 has no attribute 'app'"),
    "error": ("{}['key']\n", "KeyError: 'key' (app_47.py, line 1)"),
}
COUNT = 50
STARTED_WITHIN_S = 30


def test_fifty_apps_and_five_of_them_broken(project: Project) -> None:
    """45 serve, one and the same stand-in answers for five, and nobody holds what isn't theirs."""
    reasons = {}
    broken = iter(BROKEN.values())
    for number in range(COUNT):
        name = f"app_{number:02}"
        source = None
        if number % 10 == 7:
            source, reasons[name] = next(broken)
        project.app(name, source)
    began = time.monotonic()
    running = project.start(wait=False)

    def all_settled() -> bool:
        apps = running.health()["apps"]
        serving = [name for name, app in apps.items() if app["serving"] == "app"]
        stood_in = [name for name, app in apps.items() if app["serving"] == "stand-in"]
        return len(serving) == COUNT - len(reasons) and stood_in == list(reasons)

    eventually(all_settled, timeout_s=STARTED_WITHIN_S, what="all are answered")
    assert time.monotonic() - began < STARTED_WITHIN_S
    for name in project.apps:
        if name in reasons:
            problem = refused_with(project.port(name), reasons[name])
            assert problem["app"] == name
        else:
            assert ask(project.port(name)).text == f"{name}\n"
    assert ask(project.status_port, "/readyz").status == 503
    assert set(ask(project.status_port, "/readyz").json["not_ready"]) == set(reasons)
    (stand_in,) = named(project, "fs-stand-in")
    assert fd_count(stand_in) < COUNT * 4 + 30  # waitress has three more for each listener
    for name in ("app_00", "app_49"):
        assert fd_count(running.worker(name)) < 20
    assert fd_count(running.process.pid) < COUNT * 3 + 30
    shown = project.command("status")
    assert shown.returncode == 1
    assert all(name in shown.stdout for name in project.apps)
    assert running.stop() == 0


def test_silent_clients_of_several_broken_apps(project: Project) -> None:
    """More silent connections than the stand-in may have open files: it answers all its ports."""
    ports = [project.app(name, "1 / 0\n") for name in ("left", "middle", "right")]
    running = project.start(prefix=["sh", "-c", 'ulimit -n 600; exec "$@"', "sh"])
    for port in ports:
        refused_with(port, "ZeroDivisionError")
    (stand_in,) = named(project, "fs-stand-in")
    with ExitStack() as silent:
        for port in ports * 200:
            silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        for port in ports:
            assert ask(port, timeout_s=5).status == 503
        used_s, since = cpu_s(stand_in), time.monotonic()
        eventually(lambda: time.monotonic() > since + 0.5)
        assert cpu_s(stand_in) - used_s < 0.25
    assert named(project, "fs-stand-in") == [stand_in]
    assert "Too many open files" not in running.log
