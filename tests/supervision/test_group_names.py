"""Apps of one process whose names are words of the supervisor's own."""

import pytest
from harness import GOOD_APP, Project, ask, eventually, free_ports
from observing import events

BROKEN = "raise RuntimeError('first')\n"


def group(project: Project, *names: str) -> None:
    """Configure apps that share the process ``field``; each answers its name."""
    for name, port in zip(names, free_ports(len(names)), strict=True):
        write(project, name, GOOD_APP.format(text=name))
        project.apps[name] = {
            "target": f"of_{name}:app",
            "port": port,
            "path": "field",
            "process": "field",
        }


def write(project: Project, name: str, source: str) -> None:
    """Write the module of an app."""
    folder = project.folder / "field"
    folder.mkdir(exist_ok=True)
    (folder / f"of_{name}.py").write_text(source, encoding="utf-8")


@pytest.mark.parametrize("name", ["serving", "newest", "app"])
def test_a_repair_is_noticed_whatever_the_app_is_called(project: Project, name: str) -> None:
    """The repaired app joins the process that serves, which goes on as it was."""
    group(project, "admin", name)
    write(project, name, BROKEN)
    running = project.start()
    pid = running.worker("admin")
    running.wait_for(name, reason=f"RuntimeError: first (of_{name}.py, line 1)")
    eventually(lambda: (running.app(name)["retry_in_s"] or 0) > 3)
    write(project, name, GOOD_APP.format(text=name))
    running.wait_for(name, state="ready", serving="app", pid=pid)
    eventually(lambda: ask(project.port(name)).text == f"{name}\n")
    assert running.app("admin")["restarts"] == 0
    # the time of a retry brings it up too, but that was far: here its files did
    assert events(running, name, "files_changed")


def test_an_app_that_joins_leaves_its_process_up_to_date(project: Project) -> None:
    """What changed while it was broken is what runs now, for all apps of the process."""
    group(project, "admin", "coach")
    write(project, "coach", BROKEN)
    running = project.start()
    pid = running.worker("admin")
    running.wait_for("coach", reason="RuntimeError: first (of_coach.py, line 1)")
    write(project, "coach", "\n" + BROKEN.replace("first", "second"))
    running.wait_for("coach", reason="RuntimeError: second (of_coach.py, line 2)")
    write(project, "coach", GOOD_APP.format(text="coach"))
    running.wait_for("coach", state="ready", pid=pid)
    assert not running.app("admin")["stale"] and not running.app("coach")["stale"]


def test_such_names_make_no_other_app_stale(project: Project) -> None:
    """A change of what runs is noticed too, for all apps of the process."""
    group(project, "serving", "newest")
    running = project.start()
    running.worker("serving")
    write(project, "newest", GOOD_APP.format(text="changed"))
    for name in ("serving", "newest"):
        running.wait_for(name, stale=True, timeout_s=30)
    assert project.command("reload", "newest").returncode == 0
    for name in ("serving", "newest"):
        running.wait_for(name, stale=False, state="ready")
    assert ask(project.port("newest")).text == "changed\n"
