"""The thread that watches files: what it reports, and that it waits for the end of a copy."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dead_disk import dead_disk
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
    """A watcher that has begun; no thread of it is left."""
    made = FileWatcher(lambda _key, differ: reports.append((time.monotonic(), differ)))
    made.start()
    yield made
    end(made)


def end(watcher: FileWatcher) -> None:
    """End a watcher, and its threads: later tests fork."""
    watcher.end()
    watcher.join(10)
    eventually(lambda: "file-read" not in [one.name for one in threading.enumerate()])


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


def test_a_large_tree_costs_little(
    tmp_path: Path, watcher: FileWatcher, reports: list[tuple[float, bool]]
) -> None:
    """20,000 files, half of them photos, take at most 5 % of a core; a repair is noticed, also in
    a folder behind the photos."""
    for folder, name in (("a_photos", "photo{}.jpg"), ("sources", "module{}.py")):
        (tmp_path / folder).mkdir()
        for number in range(10_000):
            (tmp_path / folder / name.format(number)).touch()
    repaired = tmp_path / "z" / "broken.py"
    repaired.parent.mkdir()
    repaired.write_text("1 / 0\n")
    watcher.set(request(tmp_path))
    began_s, cpu_s = time.monotonic(), time.process_time()
    threading.Event().wait(8.0)
    share = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
    assert share <= 0.05, share
    assert not reports
    repaired.write_text("x = 1\n")
    eventually(lambda: bool(reports), timeout_s=30)


@pytest.mark.root
def test_a_disk_that_hangs_delays_no_other_watch(tmp_path: Path) -> None:
    """What lies elsewhere is compared; what lies there is, when the disk answers again."""
    found: list[tuple[str, bool]] = []
    watcher = FileWatcher(lambda key, differ: found.append((key.process, differ)))
    requests = []
    for name in ("dead", "alive", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text("1 / 0\n")
        key = WatchKey(process=name, subject=WatchSubject.NEWEST, number=1)
        watch = [taken(Watch(trees=(str(tmp_path / name),)))]
        requests.append(WatchRequest(key=key, watch=watch, every_s=0.05).to_json())
    with dead_disk(tmp_path / "dead"):
        watcher.set(requests)
        watcher.start()
        threading.Event().wait(0.5)
        (tmp_path / "alive" / "app.py").write_text("x = 1\n")
        eventually(lambda: ("alive", True) in found, timeout_s=10)
        threads = sum(thread.name == "file-read" for thread in threading.enumerate())
        (tmp_path / "other" / "app.py").write_text("x = 1\n")
        eventually(lambda: ("other", True) in found, timeout_s=10)
        assert sum(one.name == "file-read" for one in threading.enumerate()) == threads
    (tmp_path / "dead" / "app.py").write_text("x = 1\n")
    eventually(lambda: ("dead", True) in found, timeout_s=10)
    end(watcher)
