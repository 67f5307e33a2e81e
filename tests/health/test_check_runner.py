"""Checks run while the apps run: on time beside others that hang, and never twice at a time."""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from children import beside, lives, run_python
from harness import REPOSITORY, eventually, free_ports

from supervisor.config.reader import parse
from supervisor.config.settings import Config
from supervisor.health.check_runner import THREADS_MAX, Check, CheckOutcome, CheckRunner
from supervisor.health.check_settings import check_settings
from supervisor.health.required_checks import probe_checks, required_checks
from supervisor.policy.check_state import CheckPhase, CheckRule
from supervisor.values.reports import Cause

BROKEN = Cause(reason="broken")
PENDING, PASSING, SUSPECT, FAILING = CheckPhase


@pytest.fixture
def runner() -> Iterator[CheckRunner]:
    """Run a runner for the test; whatever it has started must have ended at the test's end."""
    before = threading.active_count()
    made = CheckRunner()
    made.start()
    yield made
    made.stop()
    eventually(lambda: threading.active_count() <= before, what="all threads ended")


def a_check(name: str, run: Callable[[], Cause | None], **keys: Any) -> Check:
    """Return a check that runs often."""
    rule = CheckRule(
        interval_s=keys.pop("interval_s", 0.05),
        timeout_s=keys.pop("timeout_s", 0.05),
        threshold=keys.pop("threshold", 3),
    )
    values = {"app": None, "critical": True, "definition": name, **keys}
    return Check(name=name, rule=rule, run=run, **values)


def result_of(runner: CheckRunner, name: str) -> CheckOutcome:
    """Return what is known of one check."""
    return next(one for one in runner.outcomes() if one.name == name)


def wait_for(runner: CheckRunner, name: str, phase: CheckPhase) -> CheckOutcome:
    """Wait until a check is in a phase."""

    def found() -> CheckOutcome | None:
        result = result_of(runner, name)
        return result if result.phase is phase else None

    result = eventually(found, what=f"{name} is {phase}")
    assert result is not None
    return result


def test_results_follow_what_is_checked(runner: CheckRunner, tmp_path: Path) -> None:
    """A file that comes and goes: passing, failing after its threshold, passing again."""
    file = tmp_path / "x"
    file.touch()
    runner.set([a_check("file", lambda: None if file.exists() else BROKEN)])
    assert wait_for(runner, "file", PASSING).cause is None
    file.unlink()
    failing = wait_for(runner, "file", FAILING)
    assert failing.cause == BROKEN
    assert failing.failures >= 3
    file.touch()
    assert wait_for(runner, "file", PASSING).failures == 0


def test_thirty_checks_of_which_ten_hang(runner: CheckRunner) -> None:
    """The others stay on time; each that hangs has one thread, started once."""
    release, runs, starts = threading.Event(), [0] * 20, [0] * 10
    late_s: list[float] = []
    last = [time.monotonic()] * 20

    def quick(number: int) -> None:
        now = time.monotonic()
        if runs[number]:
            late_s.append(now - last[number] - 0.1)
        last[number] = now
        runs[number] += 1

    def hang(number: int) -> None:
        starts[number] += 1
        release.wait()

    checks = [a_check(f"quick {n}", lambda n=n: quick(n), interval_s=0.1) for n in range(20)]
    checks += [a_check(f"hangs {n}", lambda n=n: hang(n), timeout_s=0.1) for n in range(10)]
    runner.set(checks)
    eventually(lambda: min(runs) >= 20, what="the others ran")
    assert starts == [1] * 10
    names = [thread.name for thread in threading.enumerate()]
    assert sum(name.startswith("check hangs") for name in names) == 10
    late_s.sort()
    assert late_s[len(late_s) // 2] < 0.05  # the median: this machine may be busy
    stuck = wait_for(runner, "hangs 3", FAILING)
    assert stuck.cause is not None
    assert stuck.cause.reason.startswith("still waiting after ")
    release.set()
    wait_for(runner, "hangs 3", PASSING)


def test_idle_checks_cost_nothing(runner: CheckRunner) -> None:
    """Between two runs, and while checks hang, nothing wakes up."""
    release = threading.Event()
    hangs = [
        a_check(f"hangs {n}", lambda: release.wait() and None, timeout_s=60) for n in range(10)
    ]
    runner.set([*hangs, a_check("idle", lambda: None, interval_s=60)])
    wait_for(runner, "idle", PASSING)
    started = time.process_time()
    threading.Event().wait(0.5)
    assert time.process_time() - started < 0.05
    release.set()


def test_a_change_of_configuration(runner: CheckRunner) -> None:
    """What is the same keeps what is known of it; what is new begins anew; what is gone is gone."""
    stays, changes = a_check("stays", lambda: None), a_check("changes", lambda: BROKEN)
    runner.set([stays, changes, a_check("goes", lambda: None)])
    since = wait_for(runner, "stays", PASSING).since
    wait_for(runner, "changes", FAILING)
    again = a_check("stays", lambda: None)  # another function for the same definition
    runner.set([again, a_check("changes", lambda: None, definition="other"), stays])
    assert result_of(runner, "stays").since == since
    assert [one.name for one in runner.outcomes()] == ["stays", "changes"]
    wait_for(runner, "changes", PASSING)


def test_a_run_from_before_a_change_is_not_started_beside(runner: CheckRunner) -> None:
    """A check that hangs is the same run after reloads; with another definition it has to wait."""
    release, starts = threading.Event(), [0]

    def hang() -> None:
        starts[0] += 1
        release.wait()

    check = a_check("hangs", hang)
    runner.set([check])
    eventually(lambda: starts[0], what="it runs")
    runner.set([])
    runner.set([check])
    stuck = wait_for(runner, "hangs", FAILING)
    assert starts == [1]
    assert stuck.cause is not None
    assert "still waiting" in stuck.cause.reason
    runner.set([a_check("hangs", lambda: None, definition="other")])
    other = wait_for(runner, "hangs", FAILING)
    assert other.cause is not None
    assert "from before the configuration changed" in other.cause.reason
    release.set()
    wait_for(runner, "hangs", PASSING)
    assert starts == [1]


def test_threads_are_bounded(runner: CheckRunner) -> None:
    """Whatever hangs, there are only so many threads; who gets none says so."""
    release = threading.Event()
    count = THREADS_MAX + 2
    times = {"interval_s": 1.0, "timeout_s": 0.5, "threshold": 1}  # so many starts take their time
    runner.set([a_check(f"{n}", lambda: release.wait() and None, **times) for n in range(count)])
    results = eventually(
        lambda: all(one.phase is FAILING for one in runner.outcomes()) and runner.outcomes(),
        what="all are failing",
    )
    reasons = [one.cause.reason for one in results if one.cause]
    stuck = f"not checked: {THREADS_MAX} checks are stuck"
    assert sum(reason == stuck for reason in reasons) == 2
    assert sum(thread.name.startswith("check ") for thread in threading.enumerate()) == THREADS_MAX
    release.set()
    passed: set[str] = set()

    def all_have_passed() -> bool:
        passed.update(one.name for one in runner.outcomes() if one.phase is PASSING)
        return len(passed) == count

    eventually(all_have_passed, what="each passes")


def test_a_check_that_breaks(runner: CheckRunner) -> None:
    """A fault of its own is a failure like any other, and the others go on."""
    runner.set([a_check("bad", lambda: [][0]), a_check("good", lambda: None)])
    cause = wait_for(runner, "bad", FAILING).cause
    assert cause is not None
    assert cause.reason == "the check itself failed: IndexError"
    wait_for(runner, "good", PASSING)


def test_changes_are_reported() -> None:
    """Once for each change of phase or cause, and not for each run."""
    changes: list[list[CheckPhase]] = []
    answers = iter([None, None, BROKEN, BROKEN, BROKEN, BROKEN, None])
    runs: list[int] = []
    told_once = threading.Event()

    def run() -> Cause | None:
        assert told_once.wait(10)  # what is told is read then: the first run may be quicker
        runs.append(1)
        return next(answers, None)

    def tell() -> None:
        changes.append([one.phase for one in runner.outcomes()])
        told_once.set()

    runner = CheckRunner(tell)
    runner.start()
    runner.set([a_check("x", run, interval_s=0.4, timeout_s=15)])
    eventually(lambda: len(runs) >= 10, what="it ran")
    runner.stop()
    runner.join()
    assert changes == [[PENDING], [PASSING], [SUSPECT], [FAILING], [PASSING]]


# ---- what hangs for real


def config_with(folder: Path, *requires: dict[str, Any], **keys: Any) -> Any:
    """Return the configuration of an app with requirements."""
    app = {"target": "a:b", "port": 5099, "requires": list(requires), **keys}
    return parse({"apps": {"coach": app}}, folder / "supervisor.toml")


def required(config: Config) -> list[Check]:
    """Return the checks of what all apps require, after the settings have been JSON."""
    settings = json.loads(json.dumps(check_settings(config)))
    return required_checks(settings, list(config.apps))


def probes(config: Config, *apps: str) -> list[Check]:
    """Return the checks of the ``health_path`` of some apps."""
    return probe_checks(json.loads(json.dumps(check_settings(config))), apps)


def mount_silent_disk(folder: Path) -> int:
    """Mount a file system that answers nothing, like a network disk whose server is gone."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"silent", os.fsencode(folder), b"fuse", 0, options) != 0:
        number = ctypes.get_errno()
        os.close(fd)
        raise OSError(number, os.strerror(number))
    return fd


@pytest.mark.root
def test_a_disk_that_never_answers(runner: CheckRunner) -> None:
    """A file on a dead network disk: one thread waits in the kernel, the other check is on time."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("needs FUSE in the kernel")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fd = mount_silent_disk(folder)
        requires = [{"kind": "file", "path": f"{folder}/x", "interval_s": 0.1, "timeout_s": 0.1}]
        requires += [{"kind": "directory", "path": "/", "interval_s": 0.1}]
        try:
            runner.set(required(config_with(folder, *requires)))
            wait_for(runner, "coach: directory /", PASSING)
            stuck = wait_for(runner, f"coach: file {folder}/x", FAILING)
            assert stuck.cause is not None
            assert stuck.cause.reason.startswith("still waiting after ")
            assert stuck.cause.hint is not None
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)
            os.close(fd)  # the kernel answers ENOTCONN from now on
        wait_for(runner, f"coach: file {folder}/x", FAILING)


SILENT_DNS = """
import json, socket, sys, time
from pathlib import Path
from supervisor.config.reader import parse
from supervisor.health.check_runner import CheckRunner
from supervisor.health.check_settings import check_settings
from supervisor.health.required_checks import required_checks
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
requires = [
    {"kind": "tcp", "host": "registry.example", "port": 80, "timeout_s": 0.2, "interval_s": 0.2},
    {"kind": "file", "path": "/etc/passwd", "interval_s": 0.2},
]
app = {"target": "a:b", "port": 5099, "requires": requires}
runner = CheckRunner()
runner.set(required_checks(
    check_settings(parse({"apps": {"coach": app}}, Path("/s.toml"))), ["coach"]))
runner.start()
deadline = time.monotonic() + 20
while time.monotonic() < deadline and "failing" not in [one.phase for one in runner.outcomes()]:
    time.sleep(0.05)
print(json.dumps({one.name: [one.phase, one.cause and one.cause.reason]
                  for one in runner.outcomes()}))
"""


@pytest.mark.root
@pytest.mark.debian("iproute2", program="ip")
def test_a_name_server_that_never_answers(tmp_path: Path) -> None:
    """A name is looked up for longer than any timeout: the check is overdue, the other is not."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "program.py").write_text(SILENT_DNS)
    commands = f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && ip link set lo up"
    done = subprocess.run(
        [
            *("unshare", "--mount", "--net", "sh", "-c"),
            f"{commands} && exec {sys.executable} {tmp_path}/program.py",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    phase, reason = found["coach: tcp registry.example:80"]
    assert phase == "failing"
    assert "still waiting after" in reason
    assert found["coach: file /etc/passwd"] == ["passing", None]


def test_a_command_that_hangs_leaves_nothing(runner: CheckRunner, tmp_path: Path) -> None:
    """It is killed at its timeout, with what it has started, again and again."""
    command = ["sh", "-c", f"sleep 3600 & echo $! >> {tmp_path}/pids; sleep 3600"]
    requires = {"kind": "command", "command": command, "interval_s": 0.2, "timeout_s": 0.1}
    config = config_with(tmp_path, requires, env=dict(os.environ))
    runner.set(required(config))
    cause = wait_for(runner, "coach: command sh", FAILING).cause
    assert cause is not None
    assert cause.reason == "sh takes longer than 0.1 s"
    pids = tmp_path / "pids"
    eventually(lambda: len(pids.read_text().split()) >= 3, what="it ran three times")
    runner.set([])
    eventually(
        lambda: not [pid for pid in pids.read_text().split() if lives(int(pid))],
        what="nothing is left of it",
    )


# ---- which checks a configuration asks for


def test_the_checks_of_a_configuration(tmp_path: Path) -> None:
    """Named after app and requirement, each name once; a disabled app requires nothing."""
    raw = {
        "requires": [{"kind": "disk"}],
        "apps": {
            "coach": {
                "target": "a:b",
                "port": 5099,
                "requires": [
                    {"kind": "tcp", "port": 7, "interval_s": 5, "timeout_s": 2, "threshold": 4},
                    {"kind": "tcp", "port": 7, "critical": False},
                ],
            },
            "off": {
                "target": "a:b",
                "port": 5098,
                "enabled": False,
                "requires": [{"kind": "disk"}],
            },
        },
    }
    checks = required(parse(raw, tmp_path / "s.toml"))
    assert required_checks(check_settings(parse(raw, tmp_path / "s.toml")), [])[0].app is None
    assert [(one.name, one.app, one.critical) for one in checks] == [
        ("disk of the configuration", None, True),
        ("coach: tcp localhost:7", "coach", True),
        ("coach: tcp localhost:7 #2", "coach", False),
    ]
    assert checks[1].rule == CheckRule(interval_s=5.0, timeout_s=2.0, threshold=4)
    again = required(parse(raw, tmp_path / "s.toml"))
    assert again == checks


def test_each_kind_fails_and_passes(runner: CheckRunner, tmp_path: Path) -> None:
    """At the start, when what is required comes, when it goes for the threshold, and comes again.

    A change of the configuration mends a variable, and keeps what is known of the others.
    """
    [port] = free_ports(1)
    often = {"interval_s": 0.2, "timeout_s": 5, "threshold": 3}
    requires = [
        {"kind": "directory", "path": "folder"},
        {"kind": "file", "path": "folder/file"},
        {"kind": "tcp", "host": "127.0.0.1", "port": port},
        {"kind": "http", "url": f"http://127.0.0.1:{port}/"},
        {"kind": "env", "name": "API_TOKEN"},
        {"kind": "module", "name": "comes_and_goes"},
        {"kind": "command", "command": ["sh", "-c", "test -e folder"]},
        {"kind": "disk", "path": "folder", "free_percent": 0},
    ]

    def config(value: str) -> Config:
        env = {"API_TOKEN": value, "PATH": os.environ["PATH"]}
        return config_with(tmp_path, *({**one, **often} for one in requires), env=env)

    def all_are(phase: CheckPhase, but: str = "none") -> None:
        eventually(
            lambda: {one.phase for one in runner.outcomes() if but not in one.name} == {phase},
            what=f"all are {phase}: {runner.outcomes()}",
        )

    @contextlib.contextmanager
    def all_there() -> Iterator[None]:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder/file").touch()
        (tmp_path / "comes_and_goes.py").touch()
        server = HTTPServer(("127.0.0.1", port), SimpleHTTPRequestHandler)
        with server, beside(lambda: server.serve_forever(poll_interval=0.05)):
            yield
            server.shutdown()
        shutil.rmtree(tmp_path / "folder")
        (tmp_path / "comes_and_goes.py").unlink()

    runner.set(required(config("")))
    all_are(FAILING)
    assert {one.cause.hint is not None for one in runner.outcomes() if one.cause} == {True}
    with all_there():
        all_are(PASSING, but="env")
        before = {one.name: one.since for one in runner.outcomes()}
        runner.set(required(config("k3")))
        all_are(PASSING)
        now = {one.name: one.since for one in runner.outcomes()}
        changed = {name for name in now if now[name] != before[name]}
        assert changed == {"coach: env API_TOKEN", "coach: command sh"}
    all_are(FAILING, but="env")
    assert {one.failures >= 3 for one in runner.outcomes() if "env" not in one.name} == {True}
    with all_there():
        all_are(PASSING)


def test_what_is_hidden_stays_hidden(runner: CheckRunner, tmp_path: Path) -> None:
    """A value from elsewhere is not named; a token from elsewhere hides only itself."""
    (tmp_path / "secret").write_text("k3-secret-place")
    config = config_with(
        tmp_path,
        {"kind": "file", "path": {"file": "secret"}},
        {"kind": "http", "url": "http://127.0.0.1:1/x", "token": {"file": "secret"}},
    )
    runner.set(required(config))
    hidden = wait_for(runner, "coach: file (hidden)", FAILING)
    assert hidden.cause == Cause(reason="file (hidden) is not as required")
    shown = wait_for(runner, "coach: http http://127.0.0.1:1/x", FAILING)
    assert shown.cause is not None
    assert "Connection refused" in shown.cause.reason
    assert "k3-secret-place" not in f"{runner.outcomes()}"


def test_the_health_path_of_apps_that_serve(tmp_path: Path) -> None:
    """Asked for while the app's own code answers; others have no such check."""
    keys = {"health_path": "/status", "health_interval_s": 7, "health_threshold": 2}
    config = config_with(tmp_path, **keys)
    assert probes(config) == []
    assert probes(config, "nobody") == []
    [check] = probes(config, "coach")
    assert (check.name, check.app) == ("coach: health_path /status", "coach")
    assert check.rule.interval_s == 7
    assert check.rule.threshold == 2
    cause = check.run()
    assert cause is not None
    assert "/status doesn't answer" in cause.reason
    assert cause.hint == "see why: flask-supervisor logs coach"
    assert probes(config_with(tmp_path), "coach") == []


def test_the_end_waits_for_no_check() -> None:
    """A process whose check hangs ends when it wants to."""
    code = """
import threading, time
from supervisor.health.check_runner import Check, CheckRunner
from supervisor.policy.check_state import CheckRule
rule = CheckRule(interval_s=1, timeout_s=1, threshold=1)
runs = threading.Event()
def hang():
    runs.set()
    threading.Event().wait()
runner = CheckRunner()
runner.set([Check(name="x", app=None, critical=True, rule=rule, definition=1, run=hang)])
runner.start()
assert runs.wait(10)
"""
    started = time.monotonic()
    assert run_python(code).returncode == 0
    assert time.monotonic() - started < 10
