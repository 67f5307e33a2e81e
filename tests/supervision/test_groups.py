"""Apps that share a process: what they share, and that one's trouble spares the others."""

import contextlib
import os
import signal

from grouping import ADMIN, COACH, REGISTRY, Field
from harness import Poller, Project, ask, eventually


def test_what_one_app_stores_the_others_show(project: Project) -> None:
    """Two Flask apps and a TCP server around one registry: all see the same values."""
    field = Field.make(project)
    running = project.start()
    pid = field.pid(running)
    assert field.get("admin", "/store/lane/7") == "stored"
    assert field.get("coach", "/show/lane") == "7"
    assert field.say("get lane") == "7"
    assert {field.get("admin"), field.get("coach"), field.say("pid")} == {str(pid)}


def test_a_touch_reaches_the_handler_of_another_app(project: Project) -> None:
    """What the second app registers in `after_import` is called by the TCP server."""
    field = Field.make(project)
    field.pid(project.start())
    assert field.say("touch red") == "touched"
    assert field.get("coach", "/touched") == "red"


def test_a_broken_app_spares_the_others_and_joins_them_later(project: Project) -> None:
    """Its port says why; repaired, it joins the same process, with the registry as it was."""
    field = Field.make(project)
    field.write("coach", "import registry\nregistry.none\n")
    running = project.start()
    pid = running.worker("admin")
    running.wait_for("devices", state="ready", pid=pid)
    assert field.get("admin", "/store/lane/7") == "stored"
    assert field.say("get lane") == "7"
    running.wait_for("coach", serving="stand-in", status="fail")
    answer = ask(project.port("coach"), accept="application/json")
    assert answer.status == 503
    assert "AttributeError" in answer.text and "coach.py, line 2" in answer.text

    field.write("coach", COACH)
    running.wait_for("coach", state="ready", serving="app", status="pass", pid=pid)
    eventually(lambda: field.get("coach", "/show/lane") == "7", what="the registry is as it was")
    assert field.say("touch blue") == "touched"
    assert field.get("coach", "/touched") == "blue"
    assert field.pid(running) == pid
    assert running.app("admin")["restarts"] == 0


def test_a_process_is_stale_only_for_what_it_has_loaded(project: Project) -> None:
    """An app that joins doesn't make the others stale; a change of what they loaded does."""
    field = Field.make(project, devices=False)
    field.write("coach", "import registry\nregistry.none\n")
    running = project.start()
    pid = running.worker("admin")
    running.wait_for("coach", serving="stand-in")
    field.write("coach", COACH)
    running.wait_for("coach", state="ready", pid=pid)
    with Poller(project.port("admin"), rate=5) as poller:  # it is looked at every 10 s
        eventually(lambda: len(poller.answers) >= 60, timeout_s=60, what="12 s have gone by")
    assert not running.app("admin")["stale"] and not running.app("coach")["stale"]
    field.write("registry", REGISTRY + "\n# changed\n")
    running.wait_for("admin", stale=True, timeout_s=30)


def test_a_repair_that_is_none_is_tried_once(project: Project) -> None:
    """A second broken version is reported, tried a few times only, and the third one joins."""
    field = Field.make(project, devices=False)
    field.write("coach", "raise RuntimeError('first')\n")
    running = project.start()
    pid = running.worker("admin")
    running.wait_for("coach", reason="RuntimeError: first (coach.py, line 1)", timeout_s=20)
    field.write("coach", "\nraise RuntimeError('second')\n")
    running.wait_for("coach", reason="RuntimeError: second (coach.py, line 2)", timeout_s=20)
    tried = running.log.count("trying them at once")
    with Poller(project.port("admin"), rate=20) as poller:
        eventually(lambda: len(poller.answers) >= 60, timeout_s=30, what="3 s have gone by")
    assert running.log.count("trying them at once") <= tried + 1
    field.write("coach", COACH)
    running.wait_for("coach", state="ready", pid=pid)
    assert field.pid(running) == pid


def test_modules_that_two_apps_share_survive_a_failed_import(project: Project) -> None:
    """A failed import is purged, but not the module that its mate has imported before."""
    field = Field.make(project, devices=False)
    field.write("extra", "count = 1\n")
    field.write("coach", "import registry, extra\nregistry.values['by'] = 'coach'\n1 / 0\n")
    running = project.start()
    running.worker("admin")
    running.wait_for("coach", serving="stand-in")
    field.write("extra", "count = 2\n")
    field.write("coach", COACH + "\nimport extra\nregistry.values['count'] = str(extra.count)\n")
    running.wait_for("coach", state="ready")
    assert field.get("coach", "/show/by") == "coach"
    assert field.get("coach", "/show/count") == "2"


def test_an_app_that_exits_in_its_import_spares_the_others(project: Project) -> None:
    """`sys.exit` in one import is a reported failure of this app alone."""
    field = Field.make(project)
    field.write("coach", "import sys\nsys.exit(3)\n")
    running = project.start()
    pid = running.worker("admin")
    running.wait_for("devices", state="ready", pid=pid)
    running.wait_for("coach", says="sys.exit(3)", serving="stand-in")
    assert field.get("admin") == field.say("pid") == str(pid)


def test_all_broken_is_a_failed_process(project: Project) -> None:
    """When no app can be imported, each port says its own reason; repaired, all serve."""
    field = Field.make(project, devices=False)
    field.write("admin", "raise RuntimeError('of admin')\n")
    field.write("coach", "raise RuntimeError('of coach')\n")
    running = project.start()
    for name in ("admin", "coach"):
        running.wait_for(name, says=f"of {name}", serving="stand-in")
    field.write("admin", ADMIN)
    field.write("coach", COACH)
    field.pid(running)


def test_a_killed_process_comes_back_with_all_apps(project: Project) -> None:
    """`kill -9` ends all of them; all come back in one new process, and nobody is refused."""
    field = Field.make(project)
    running = project.start()
    pid = field.pid(running)
    with Poller(project.port("admin")) as first, Poller(project.port("coach")) as second:
        os.kill(pid, signal.SIGKILL)
        new = field.wait_for_another(running, pid)
    assert (first.refused, second.refused) == (0, 0)
    assert field.say("pid") == str(new)


def test_a_restart_acts_on_all(project: Project) -> None:
    """A restart of one app, by its name, brings all of them up in a new process."""
    field = Field.make(project)
    running = project.start()
    pid = field.pid(running)
    ended = project.command("restart", "coach")
    assert ended.returncode == 0, ended.stderr
    assert field.wait_for_another(running, pid)


def test_a_reload_refuses_and_loses_nobody(project: Project) -> None:
    """Without a port of its own, a reload starts the new process beside the old one."""
    field = Field.make(project, devices=False)
    running = project.start()
    pid = field.pid(running)
    with Poller(project.port("admin")) as first, Poller(project.port("coach")) as second:
        for _ in range(3):
            ended = project.command("reload", "admin")
            assert ended.returncode == 0, ended.stderr
            pid = field.wait_for_another(running, pid)
    for poller in (first, second):
        assert poller.refused == 0
        assert not poller.failed
        assert {answer.status for answer in poller.answers} == {200}


def test_a_reload_that_would_lose_an_app_is_refused(project: Project) -> None:
    """The refusal names what is broken, and all go on in the old process."""
    field = Field.make(project, devices=False)
    running = project.start()
    pid = field.pid(running)
    field.write("coach", "\n\nraise RuntimeError('lost')\n")
    ended = project.command("reload", "admin")
    assert ended.returncode == 1
    assert "lost" in ended.stderr and "coach.py, line 3" in ended.stderr
    assert field.pid(running) == pid
    assert field.get("coach") == field.get("admin") == str(pid)
    refusal = running.app("admin")["refusal"]
    assert "coach.py, line 3" in refusal["reason"]
    field.write("coach", COACH)
    assert project.command("reload", "admin").returncode == 0
    field.wait_for_another(running, pid)


def test_an_app_that_failed_before_does_not_block_a_reload(project: Project) -> None:
    """The others get their new code; the broken one says why as before, and can be repaired."""
    field = Field.make(project, devices=False)
    field.write("coach", "raise RuntimeError('first')\n")
    running = project.start()
    pid = running.worker("admin")
    running.wait_for("coach", serving="stand-in")
    field.write("coach", "raise RuntimeError('second')\n")
    ended = project.command("reload", "admin")
    assert ended.returncode == 0, ended.stderr
    new = running.worker("admin")
    assert new != pid
    running.wait_for("coach", reason="RuntimeError: second (coach.py, line 1)", pid=new)
    field.write("coach", COACH)
    assert field.pid(running) == new


def test_a_reload_with_an_own_port_tries_beforehand(project: Project) -> None:
    """The process has to end first, so an import that would fail is found before that."""
    field = Field.make(project)
    running = project.start()
    pid = field.pid(running)
    field.write("coach", "raise RuntimeError('lost')\n")
    ended = project.command("reload", "devices")
    assert ended.returncode == 1
    assert "lost" in ended.stderr
    assert field.pid(running) == pid
    field.write("coach", COACH)
    with Poller(project.port("admin"), rate=50) as poller:
        ended = project.command("reload", "devices")
        assert ended.returncode == 0, ended.stderr
        new = field.wait_for_another(running, pid)
    assert poller.refused == 0
    assert field.say("pid") == str(new)


def test_busy_threads_of_one_app_leave_the_others_free(project: Project) -> None:
    """Each has threads and metrics of its own: one that hangs takes no other's."""
    field = Field.make(project, devices=False, threads=2, max_threads=2)
    running = project.start()
    field.pid(running)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Poller(project.port("admin"), rate=1, path="/slow/4.0"))
        eventually(lambda: running.app("admin")["requests"]["in_flight"] >= 2, timeout_s=20)
        answers = [ask(project.port("coach")) for _ in range(20)]
        assert {answer.status for answer in answers} == {200}
        assert max(answer.seconds for answer in answers) < 2
        eventually(lambda: running.app("coach")["requests"]["total"] == 20, timeout_s=20)
        assert running.app("coach")["requests"]["in_flight"] == 0
        assert running.app("admin")["requests"]["in_flight"] >= 2


def test_a_failure_inside_of_the_process_is_tried_with_growing_waits(project: Project) -> None:
    """What fails in the worker only, as `after_import` may, doesn't spin, and is repaired."""
    field = Field.make(project, devices=False)
    field.write("coach", "raise RuntimeError('first')\n")
    running = project.start()
    pid = running.worker("admin")
    running.wait_for("coach", serving="stand-in")
    field.write("coach", COACH.replace("    registry.handlers", "    1 / 0\n    registry.handlers"))
    running.wait_for("coach", reason="ZeroDivisionError: division by zero (coach.py, line 9)")
    tried = running.log.count("trying them at once")
    with Poller(project.port("admin"), rate=20) as poller:
        eventually(lambda: len(poller.answers) >= 60, timeout_s=30, what="3 s have gone by")
    assert running.log.count("trying them at once") <= tried + 1
    field.write("coach", COACH)
    running.wait_for("coach", state="ready", pid=pid, timeout_s=30)
    assert field.get("coach", "/touched") == ""
