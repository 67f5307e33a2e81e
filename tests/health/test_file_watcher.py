"""The thread that watches files: what it reports, and that it waits for the end of a copy."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import eventually

from supervisor.health.file_watcher import QUIET_S, FileWatcher
from supervisor.source.fingerprints import Watch, taken
from supervisor.values.watch_requests import WatchKey, WatchRequest, WatchSubject

KEY = WatchKey(process="coach", subject=WatchSubject.NEWEST, number=1)


@pytest.fixture
def reports() -> list[tuple[float, bool]]:
    """What has been reported, and when."""
    return []


@pytest.fixture
def watcher(reports: list[tuple[float, bool]]) -> Iterator[FileWatcher]:
    """A watcher that has begun; it watches nothing at the end."""
    made = FileWatcher(lambda _key, differ: reports.append((time.monotonic(), differ)))
    made.start()
    yield made
    made.set([])


def request(tree: Path) -> list[dict[str, Any]]:
    """Return what the main process sends to have a folder watched, as it is now."""
    watch = [taken(Watch(trees=(str(tree),)))]
    return [WatchRequest(key=KEY, watch=watch, every_s=0.05).to_json()]


def test_a_copy_that_grows_is_reported_at_its_end(
    tmp_path: Path, watcher: FileWatcher, reports: list[tuple[float, bool]]
) -> None:
    """As long as a file changes, it is no version that anybody meant."""
    file = tmp_path / "app.py"
    file.write_text("")
    watcher.set(request(tmp_path))
    ended_at: list[float] = []

    def copy() -> None:
        end = time.monotonic() + 4 * QUIET_S
        while time.monotonic() < end:
            with file.open("a") as stream:
                stream.write("x = 1\n")
            threading.Event().wait(QUIET_S / 10)
        ended_at.append(time.monotonic())

    thread = threading.Thread(target=copy)
    thread.start()
    thread.join()
    eventually(lambda: bool(reports), timeout_s=10)
    assert [differ for _, differ in reports] == [True]
    assert reports[0][0] >= ended_at[0]


def test_a_change_that_is_taken_back_is_reported(
    tmp_path: Path, watcher: FileWatcher, reports: list[tuple[float, bool]]
) -> None:
    """That files differ, and that they agree again."""
    kept, file = tmp_path / "kept", tmp_path / "app.py"
    file.write_text("")
    watcher.set(request(tmp_path))
    file.rename(kept)
    eventually(lambda: [differ for _, differ in reports] == [True], timeout_s=10)
    kept.rename(file)
    eventually(lambda: [differ for _, differ in reports] == [True, False], timeout_s=10)
