"""Configurations that worked are kept, can be put back, and stand in for one that is broken."""

import json
import os
import resource
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Project, Running, ask, eventually

from supervisor.config import last_good
from supervisor.config.history import KEPT, ConfigHistory, HistoryError
from supervisor.process.throwaway import call_in_child
from supervisor.values.errors import ConfigError


@pytest.fixture
def history(tmp_path: Path) -> ConfigHistory:
    """Give a history whose folder doesn't exist yet."""
    return ConfigHistory(tmp_path / "state" / "config")


def texts(history: ConfigHistory) -> list[bytes]:
    """Give all kept texts, newest first."""
    return [history.read(entry) for entry in history.entries()]


def test_what_came_up_is_kept_as_it_was(tmp_path: Path, history: ConfigHistory) -> None:
    """The whole text, readable by its owner alone, numbered."""
    assert history.entries() == []
    assert history.keep(b"a = 1\n")
    assert history.keep(b"a = 2\n")
    newest, oldest = history.entries()
    assert (newest.number, oldest.number) == (2, 1)
    assert texts(history) == [b"a = 2\n", b"a = 1\n"]
    assert newest.path.stat().st_mode & 0o777 == 0o600
    assert newest.path.parent.stat().st_mode & 0o777 == 0o700


def test_the_same_is_not_written_again(tmp_path: Path, history: ConfigHistory) -> None:
    """A start with the same configuration writes nothing; SD cards wear out."""
    history.keep(b"a = 1\n")
    folder = tmp_path / "state" / "config"
    before = [(p.name, p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()]
    changed = folder.stat().st_mtime_ns
    assert not history.keep(b"a = 1\n")
    assert [(p.name, p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()] == before
    assert folder.stat().st_mtime_ns == changed


def test_going_back_makes_it_the_newest(history: ConfigHistory) -> None:
    """The newest entry is the one that came up last."""
    for text in (b"1", b"2", b"1"):
        history.keep(text)
    assert texts(history) == [b"1", b"2"]
    assert history.entries()[0].number == 3


def test_the_newest_twenty_stay(history: ConfigHistory) -> None:
    """Older ones go; the numbers go on."""
    for number in range(KEPT + 5):
        history.keep(str(number).encode())
    assert [entry.number for entry in history.entries()] == list(range(KEPT + 5, 5, -1))
    assert KEPT == 20


def test_garbage_in_the_folder(tmp_path: Path, history: ConfigHistory) -> None:
    """What is damaged, half written, or not ours doesn't count, and hurts nobody."""
    history.keep(b"good")
    history.keep(b"to be damaged")
    history.keep(b"to be cut")
    folder = tmp_path / "state" / "config"
    cut, damaged, _good = history.entries()
    damaged.path.write_bytes(b"\xff\0garbage")
    os.truncate(cut.path, 3)
    (folder / ".new-1-000009-12345678.toml").write_text("half")
    (folder / "README").write_text("")
    (folder / "000009-12345678.toml").mkdir()
    assert texts(history) == [b"good"]
    assert history.keep(b"next")
    assert texts(history) == [b"next", b"good"]
    assert not list(folder.glob(".new-*"))


def test_finding_one(history: ConfigHistory) -> None:
    """By number, name or begin of its digest; else the known ones are said."""
    for text in (b"1", b"2"):
        history.keep(text)
    two, one = history.entries()
    for wanted in ("1", one.name, one.digest[:5]):
        assert history.find(wanted) == one
    for wanted in ("", "3", "zzzzz", one.digest[:3]):
        with pytest.raises(HistoryError, match="there is no configuration") as raised:
            history.find(wanted)
        assert raised.value.hint == f"known: {two.name}, {one.name}"


def keep_where_files_may_not_grow(folder: Path) -> list[object]:
    """Keep a text as on a full disk."""
    history = ConfigHistory(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        history.keep(b"new")
    except HistoryError as error:
        return [error.message, sorted(os.listdir(folder))]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    return ["kept"]


def test_a_full_disk(tmp_path: Path, history: ConfigHistory) -> None:
    """An error in words, and nothing half is left."""
    history.keep(b"old")
    [entry] = history.entries()
    said = call_in_child(keep_where_files_may_not_grow, entry.path.parent, timeout_s=30)
    assert said == ["cannot keep the configuration: File too large", [entry.path.name]]
    assert texts(history) == [b"old"]


# ---- putting one back


def test_restoring_keeps_what_was_there(tmp_path: Path, history: ConfigHistory) -> None:
    """The file has the old text, its mode and owner, and the broken text isn't lost."""
    history.keep(b"good = 1\n")
    file = tmp_path / "supervisor.toml"
    file.write_bytes(b"broken [")
    file.chmod(0o640)
    inode = file.stat().st_ino
    [entry] = history.entries()
    history.restore(entry, file)
    assert file.read_bytes() == b"good = 1\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.stat().st_ino != inode  # written beside it, then renamed
    replaced, kept = history.entries()
    assert (replaced.worked, kept.worked) == (False, True)
    assert history.read(replaced) == b"broken ["
    history.restore(replaced, file)  # and back: both are known by now
    assert file.read_bytes() == b"broken ["
    assert len(history.entries()) == 2


def test_restoring_a_file_that_is_gone(tmp_path: Path, history: ConfigHistory) -> None:
    """A lost configuration file comes back."""
    history.keep(b"good")
    history.restore(history.entries()[0], tmp_path / "supervisor.toml")
    assert (tmp_path / "supervisor.toml").read_bytes() == b"good"


def test_restoring_through_a_link(tmp_path: Path, history: ConfigHistory) -> None:
    """A configuration file that is a link stays one."""
    history.keep(b"good")
    (tmp_path / "real.toml").write_bytes(b"bad")
    link = tmp_path / "supervisor.toml"
    link.symlink_to("real.toml")
    history.restore(history.entries()[0], link)
    assert link.is_symlink()
    assert (tmp_path / "real.toml").read_bytes() == b"good"


@pytest.mark.root
def test_restoring_as_root(tmp_path: Path, history: ConfigHistory) -> None:
    """What sudo writes still belongs to the user of the supervisor."""
    file = tmp_path / "supervisor.toml"
    file.write_bytes(b"bad")
    history.keep(b"good")
    for path in (file, tmp_path / "state", tmp_path / "state/config"):
        os.chown(path, 1000, 1001)
    history.restore(history.entries()[0], file)
    replaced = history.entries()[0]
    assert [(p.stat().st_uid, p.stat().st_gid) for p in (file, replaced.path)] == [(1000, 1001)] * 2


# ---- a broken configuration

BROKEN: dict[str, Callable[[Path], object]] = {
    "syntax": lambda file: file.write_text(file.read_text() + "[apps.coach\n"),
    "value": lambda file: file.write_text(file.read_text().replace("port = ", 'port = "x"#')),
    "empty": lambda file: file.write_bytes(b""),
    "zeros": lambda file: file.write_bytes(bytes(500)),
    "no UTF-8": lambda file: file.write_bytes(b"\xff" * 500),
    "nested": lambda file: file.write_text("a = " + "[" * 100_000),
    "gone": lambda file: file.unlink(),
}


def make_history(project: Project) -> bytes:
    """Keep the project's configuration as one that came up, and give its text."""
    text = project.write().read_bytes()
    state = project.supervisor.get("state_dir", ".flask-supervisor")
    ConfigHistory(project.folder / state / "config").keep(text)
    return text


@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
def test_the_last_that_worked_is_found(project: Project, spoil: Callable[[Path], object]) -> None:
    """Whatever became of the file, and though it no longer says where the history is."""
    project.app("coach")
    make_history(project)
    whole = last_good.load(project.config, {})
    assert whole.fallback is None
    spoil(project.config)
    found = last_good.load(project.config, {})
    assert found.fallback is not None
    assert found.fallback.reason.startswith("supervisor.toml can't be used (")
    assert str(project.folder) not in found.fallback.reason
    assert found.problems
    assert (found.apps, found.file, found.folder) == (whole.apps, whole.file, whole.folder)


@pytest.mark.parametrize("state_dir", ["state", "../elsewhere"])
def test_a_state_folder_of_its_own(project: Project, state_dir: str) -> None:
    """It is found by what still can be read of the file, by a variable, or by systemd."""
    project.app("coach")
    project.supervisor["state_dir"] = state_dir
    make_history(project)
    folder = str(project.folder / state_dir)
    project.config.write_text(project.config.read_text() + "[apps.coach\n")
    assert last_good.load(project.config, {}).fallback
    project.config.write_text("")
    with pytest.raises(ConfigError):
        last_good.load(project.config, {})
    for name in ("FLASK_SUPERVISOR__SUPERVISOR__STATE_DIR", "STATE_DIRECTORY"):
        assert last_good.load(project.config, {name: folder}).fallback


def test_anothers_history_is_not_used(project: Project, tmp_path: Path) -> None:
    """A text that names another state folder than the one it was found in is not this one's."""
    project.app("coach")
    text = project.write().read_text().replace("[supervisor]", '[supervisor]\nstate_dir = "other"')
    ConfigHistory(project.folder / ".flask-supervisor/config").keep(text.encode())
    project.config.write_text("")
    with pytest.raises(ConfigError):
        last_good.load(project.config, {})


def test_an_older_one_when_the_newest_cannot_be_used(project: Project) -> None:
    """Its variable or file may be gone: the one before is taken."""
    project.app("coach")
    first = make_history(project)
    newer = first.decode() + '\n[apps.coach.env]\nTOKEN = { file = "gone" }\n'
    ConfigHistory(project.folder / ".flask-supervisor/config").keep(newer.encode())
    project.config.write_text("broken")
    found = last_good.load(project.config, {})
    assert found.apps["coach"].env == {}
    assert found.text == first


def start_with_flag(project: Project) -> Running:
    """Start a supervisor on the configuration file as it is."""
    log = project.folder / f"log-{len(project.started)}"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "supervisor", "run", "--last-good-config"]
        process = subprocess.Popen(
            [*command, "--config", str(project.config)],
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env=project.environment(),
            cwd=project.folder,
        )
    running = Running(project, process, log)
    project.started.append(running)
    return running


def command(project: Project, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with the configuration file as it is."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments, "--config", str(project.config)],
        capture_output=True,
        text=True,
        timeout=60,
        env=project.environment(),
        cwd=project.folder,
        check=False,
    )


def test_the_apps_are_served_though_the_configuration_is_broken(project: Project) -> None:
    """With the flag the last that worked runs; the log says every problem; commands work."""
    port = project.app("coach")
    make_history(project)
    project.config.write_text("[apps.coach]\nport = 70000\n")
    running = start_with_flag(project)
    running.wait_until_up()
    running.wait_for("coach", state="ready")
    assert ask(port).text == "coach\n"
    assert "apps.coach.port = 70000: must be a port number" in running.log
    assert "supervisor.toml can't be used (2 problems): the last configuration" in running.log
    status = command(project, "status")
    assert status.returncode == 0, status.stderr
    assert "check configuration: supervisor.toml can't be used (2 problems)" in status.stdout
    check = running.health()["checks"]["configuration"]
    assert (check["status"], check["critical"]) == ("warn", False)
    assert command(project, "restart", "coach").returncode == 0
    assert running.stop() == 0


def test_without_the_flag_a_broken_configuration_is_refused(project: Project) -> None:
    """The flag is for boot; a person who starts it hears what is wrong."""
    project.app("coach")
    make_history(project)
    project.config.write_text("broken")
    found = command(project, "run")
    assert found.returncode == 1
    assert "is not valid TOML" in found.stderr


def test_with_the_flag_and_no_history(project: Project) -> None:
    """What is wrong is said as without it."""
    project.app("coach")
    project.config.write_text("broken")
    found = command(project, "run", "--last-good-config")
    assert found.returncode == 1
    assert "is not valid TOML" in found.stderr


# ---- commands


def test_the_history_is_listed(project: Project) -> None:
    """Newest first, with what is in the file now; as JSON too; each text can be shown."""
    project.app("coach")
    project.write()
    found = command(project, "config", "history")
    assert found.returncode == 0
    assert "the history is empty" in found.stdout
    first = make_history(project)
    project.app("admin")
    make_history(project)
    lines = command(project, "config", "history").stdout.splitlines()
    assert [line.split("-")[0] for line in lines] == ["2", "1"]
    assert lines[0].endswith("in supervisor.toml now")
    listed = json.loads(command(project, "config", "history", "--json").stdout)["configurations"]
    assert [(c["number"], c["came_up"], c["in_file"]) for c in listed] == [
        (2, True, True),
        (1, True, False),
    ]
    shown = command(project, "config", "history", "--show", "1")
    assert shown.stdout.encode() == first
    assert command(project, "config", "history", "--show", "9").returncode == 1
    assert command(project, "config", "history", "--show", "1", "--json").returncode == 2


def test_a_broken_file_is_repaired_by_one_command(project: Project) -> None:
    """Without a number the last that came up is put back; nothing needs to run."""
    port = project.app("coach")
    good = make_history(project)
    project.config.write_text("broken [")
    found = command(project, "config", "restore")
    assert found.returncode == 0, found.stderr
    assert project.config.read_bytes() == good
    assert tomllib.loads(good.decode())["apps"]["coach"]["port"] == port
    lines = command(project, "config", "history").stdout.splitlines()
    assert "replaced, never came up" in lines[0]
    assert "in supervisor.toml now" in lines[1]
    again = command(project, "config", "restore", "2")  # the broken one, by its number
    assert again.returncode == 1
    assert "the restored configuration is not valid" in again.stderr
    assert project.config.read_text() == "broken ["


def test_there_is_nothing_to_restore(project: Project) -> None:
    """The only one that came up is in the file already."""
    project.app("coach")
    make_history(project)
    found = command(project, "config", "restore")
    assert found.returncode == 1
    assert "the history has no other configuration that came up" in found.stderr
    eventually(lambda: not project.processes())
