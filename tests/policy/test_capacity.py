"""What all apps need, and when no worker may be started."""

import pytest

from supervisor.config.settings import AppSettings
from supervisor.policy import capacity
from supervisor.process.limits import Limits


def app(**keys: int) -> AppSettings:
    """Return an app's settings."""
    return AppSettings(target="coach:app", port=5001, **keys)


def test_more_apps_workers_and_threads_need_more() -> None:
    """Each worker takes descriptors of the main process, and tasks with its threads."""
    one, two = [app()], [app(), app()]
    assert capacity.files_needed(one) < capacity.files_needed(two)
    assert capacity.files_needed(one) < capacity.files_needed([app(workers=2)])
    assert capacity.tasks_needed([app(threads=8)]) == capacity.tasks_needed([app(threads=4)]) + 4
    doubled = capacity.tasks_needed([app(workers=2)]) - capacity.TASKS_RESERVED
    assert doubled == 2 * (capacity.tasks_needed(one) - capacity.TASKS_RESERVED)


@pytest.mark.parametrize(("free", "refused"), [(1000, False), (27, False), (26, True), (0, True)])
def test_open_files(free: int, refused: bool) -> None:
    """A worker leaves what the stand-in and children need."""
    cause = capacity.files_shortage(free)
    assert (cause is not None) is refused
    if cause is not None:
        assert "limit of open files" in cause.reason


@pytest.mark.parametrize(
    ("tasks", "in_use", "refused"),
    [(None, 10_000, False), (100, 70, False), (100, 71, True), (10, 0, True)],
)
def test_tasks(tasks: int | None, in_use: int, refused: bool) -> None:
    """Of what was free at the start, the reserve stays free; without a limit all is allowed."""
    cause = capacity.tasks_shortage(tasks, in_use, 6)
    assert (cause is not None) is refused


def test_the_warning_names_the_limit_and_the_need() -> None:
    """Open files first; none where all is enough, or no limit is known."""
    apps = [app()] * 10
    files, tasks = capacity.files_needed(apps), capacity.tasks_needed(apps)
    assert capacity.warning(Limits(files, 3, tasks, 100), apps) is None
    assert capacity.warning(Limits(None, 3, None, None), apps) is None
    few_files = capacity.warning(Limits(files - 1, 3, 1, 100), apps)
    assert few_files is not None
    assert few_files.reason == f"{files - 1} open files are allowed, about {files} are needed"
    few_tasks = capacity.warning(Limits(files, 3, tasks - 1, 100), apps)
    assert few_tasks is not None
    assert f"about {tasks} are needed" in few_tasks.reason
