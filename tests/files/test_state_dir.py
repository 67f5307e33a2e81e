"""The state folder: one supervisor at a time, and an error where it can't be used."""

import os
import resource
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from harness import Project, eventually, process_in_test

from supervisor.files.state_dir import StateDir, lock_holder
from supervisor.process.throwaway import call_in_child
from supervisor.values.errors import AlreadyRunning, SupervisorError

NOBODY = 65534
STARTED = "2026-03-01T12:00:00Z"
TIMEOUT_S = 30.0

HOLD = """
import sys, time
from pathlib import Path
from supervisor.files.state_dir import StateDir, lock_holder
state = StateDir(Path(sys.argv[1]))
state.lock("2026-03-01T12:00:00Z")
print("locked", flush=True)
time.sleep(600)
"""


def lock_and_unlock(path: Path) -> bool:
    """Take the lock of a state folder and release it; return True."""
    state = StateDir(path)
    try:
        state.lock(STARTED)
    finally:
        state.unlock()
    return True


def test_only_its_owner_may_read_the_folder(tmp_path: Path) -> None:
    """A missing folder is created with its parents, with mode 0700."""
    path = tmp_path / "a" / "state"
    state = StateDir(path)
    assert not path.exists()
    state.lock(STARTED)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path / "lock").stat().st_mode) == 0o600
        assert (path / "lock").read_text() == f"pid {os.getpid()}, started {STARTED}\n"
    finally:
        state.unlock()


def test_a_second_supervisor_is_refused(project: Project) -> None:
    """The error names the pid and the start of the first one."""
    path = project.folder / "state"
    with process_in_test(project, HOLD, str(path)) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(AlreadyRunning) as raised:
            lock_and_unlock(path)
    words = f"already running as pid {holder.pid}, started {STARTED}, with the state folder {path}"
    assert raised.value.message == words
    assert raised.value.hint == "see: flask-supervisor status"


def test_the_lock_excludes_its_own_process(tmp_path: Path) -> None:
    """The lock belongs to the `StateDir` that took it, not to the process."""
    first = StateDir(tmp_path)
    first.lock(STARTED)
    try:
        with pytest.raises(AlreadyRunning):
            lock_and_unlock(tmp_path)
    finally:
        first.unlock()
    assert lock_and_unlock(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_ends_with_its_process(project: Project, number: int) -> None:
    """However the holder ends, the next one starts without a clean-up."""
    path = project.folder / "state"
    with process_in_test(project, HOLD, str(path)) as holder:
        assert holder.stdout.readline() == "locked\n"
        holder.send_signal(number)
        assert holder.wait(TIMEOUT_S) == -number
        assert lock_and_unlock(path)


HOLD_WITH_A_CHILD = """
import os, sys, time
from pathlib import Path
from supervisor.process.fork import fork_child
from supervisor.files.state_dir import StateDir, lock_holder
state = StateDir(Path(sys.argv[1]))
state.lock("now")
child = fork_child(lambda connection: time.sleep(600), name="fs-test")
state.unlock()
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_worker_does_not_hold_the_lock(project: Project) -> None:
    """The lock is free once its holder releases it, though a forked worker lives on."""
    path = project.folder / "state"
    with process_in_test(project, HOLD_WITH_A_CHILD, str(path)) as holder:
        assert int(holder.stdout.readline())
        eventually(lambda: lock_while_held(path), what="the lock is free")


def lock_while_held(path: Path) -> bool:
    """Return whether the lock is free."""
    try:
        return lock_and_unlock(path)
    except AlreadyRunning:  # the worker is still closing inherited descriptors
        return False


def test_an_old_lock_file_is_overwritten(tmp_path: Path) -> None:
    """Earlier content of the lock file, garbage included, is replaced."""
    (tmp_path / "lock").write_bytes(b"\xff" * 1000)
    state = StateDir(tmp_path)
    state.lock(STARTED)
    try:
        assert (tmp_path / "lock").read_text() == f"pid {os.getpid()}, started {STARTED}\n"
    finally:
        state.unlock()


def test_a_holder_that_has_not_written_yet(project: Project) -> None:
    """Where the lock file is empty, garbage or gone, the kernel knows the pid."""
    path = project.folder / "state"
    with process_in_test(project, HOLD, str(path)) as holder:
        assert holder.stdout.readline() == "locked\n"
        words = f"already running as pid {holder.pid}, with the state folder"
        for content in (b"", b"\xff\xfe"):
            (path / "lock").write_bytes(content)
            with pytest.raises(AlreadyRunning, match=words):
                lock_and_unlock(path)
        shutil.rmtree(path)
        assert lock_holder(path) == f"pid {holder.pid}"
        with pytest.raises(AlreadyRunning, match=words):
            lock_and_unlock(path)


# ---- folders that can't be used


def lock_as_nobody(folder: Path, name: str) -> str:
    """Return the error for a state folder inside a folder of another user."""
    os.chdir(folder)  # that user may not be allowed through the folders above
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        StateDir(Path(name)).lock(STARTED)
    except SupervisorError as error:
        return str(error)
    return "locked"


@pytest.mark.parametrize("mode", [0o555, 0o700])
@pytest.mark.parametrize("name", ["state", "a/b/state"])
def test_a_folder_of_another_user(tmp_path: Path, mode: int, name: str) -> None:
    """The error says what to do."""
    if os.geteuid() != 0 and mode == 0o700:
        pytest.skip("needs root: the folder has to be another user's")
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(mode)
    message = call_in_child(lock_as_nobody, folder, name, timeout_s=TIMEOUT_S)
    assert message.splitlines() == [
        f"cannot use the state folder {name}: Permission denied",
        "  set state_dir in [supervisor] to a folder that this user may write to",
    ]


@pytest.mark.parametrize("name", ["file", "file/state"])
def test_a_file_in_place_of_a_folder(tmp_path: Path, name: str) -> None:
    """A state folder that is a file, or is below one, is an error too."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SupervisorError, match=r"cannot use the state folder .*/file"):
        lock_and_unlock(tmp_path / name)


def lock_on_a_full_disk(path: Path) -> str:
    """Take the lock twice while no file may grow, as on a full disk; return the second error."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        state = StateDir(path)
        state.lock(STARTED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    try:
        lock_and_unlock(path)
    except AlreadyRunning as error:
        return error.message
    return "locked twice"


def test_a_full_disk_does_not_prevent_the_start(tmp_path: Path) -> None:
    """The lock holds without the text in it: apps are served though the disk is full."""
    path = tmp_path / "state"
    assert lock_and_unlock(path)  # an earlier start has created the file
    message = call_in_child(lock_on_a_full_disk, path, timeout_s=TIMEOUT_S)
    assert message.startswith("already running as ")


# ---- data folders


def test_each_app_has_a_folder_for_its_data(tmp_path: Path) -> None:
    """Data folders have mode 0700, are created once and keep their content."""
    state = StateDir(tmp_path / "state")
    for _ in range(2):
        state.make_data_dir("coach")
        folder = state.data_dir("coach")
        assert folder == tmp_path / "state" / "data" / "coach"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "teams.db").write_text("kept")
    assert state.control_socket == tmp_path / "state" / "control.sock"


def test_a_data_folder_that_cannot_be_created(tmp_path: Path) -> None:
    """A file in its place raises OSError, which the caller reports."""
    (tmp_path / "data").write_text("")
    with pytest.raises(OSError, match="data"):
        StateDir(tmp_path).make_data_dir("coach")


# ---- what is not the supervisor's own


@pytest.mark.parametrize("target", ["important", "missing"])
def test_a_lock_that_is_a_link(tmp_path: Path, target: str) -> None:
    """Its target is neither overwritten nor created; the message says what is wrong."""
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "important").write_text("precious")
    (state / "lock").symlink_to(tmp_path / target)
    with pytest.raises(SupervisorError, match="lock in it is a link"):
        lock_and_unlock(state)
    assert StateDir(state).locked_by() is None
    assert lock_holder(state) is None
    assert (tmp_path / "important").read_text() == "precious"
    assert not (tmp_path / "missing").exists()


@pytest.mark.timeout(20)
def test_a_lock_that_is_a_pipe(tmp_path: Path) -> None:
    """Nobody waits for a writer."""
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(SupervisorError, match="lock in it is not a regular file"):
        lock_and_unlock(tmp_path)
    assert StateDir(tmp_path).locked_by() is None
    assert lock_holder(tmp_path) is None


@pytest.mark.root
@pytest.mark.parametrize("name", ["state", "state/data"])
def test_root_is_not_led_out_of_the_state_folder(tmp_path: Path, name: str) -> None:
    """A folder that the service's user replaced by a link is not used."""
    owned, target = tmp_path / "owned", tmp_path / "target"
    (owned / name).parent.mkdir(parents=True)
    target.mkdir()
    (owned / name).symlink_to(target)
    for path in (owned / name, owned, owned / "state"):
        os.lchown(path, 1000, 1000)
    state = StateDir(owned / "state")
    if name == "state":
        with pytest.raises(SupervisorError, match="root follows no link"):
            lock_and_unlock(state.path)
    with pytest.raises(OSError, match="root follows no link"):
        state.make_data_dir("coach")
    assert list(target.iterdir()) == []


@pytest.mark.debian("git")
def test_git_leaves_the_state_folder_alone(tmp_path: Path) -> None:
    """``git stash -u`` and ``git clean`` in the app's checkout don't take it away."""
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    state = StateDir(tmp_path / ".flask-supervisor")
    state.lock(STARTED)
    try:
        (state.path / "releases").mkdir()
        (state.path / "releases/kept").touch()
        for words in (["stash", "-u"], ["clean", "-q", "-f", "-d"]):
            subprocess.run([*git, *words], cwd=tmp_path, check=True, capture_output=True)
        assert (state.path / "releases/kept").exists()
        assert (state.path / "lock").exists()
        assert state.path / ".gitignore" in state.entries()
    finally:
        state.unlock()


def test_a_state_folder_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    """Only a new one gets a ``.gitignore``: an operator may want it in git."""
    assert lock_and_unlock(tmp_path)
    assert not (tmp_path / ".gitignore").exists()
