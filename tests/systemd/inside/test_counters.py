"""Counters of /metrics over a hand-over: they begin anew once, and then they count on."""

import itertools
import threading
from collections.abc import Callable

import pytest
from harness import ask, eventually
from machine import UNIT, Machine, kill_main, systemctl
from prometheus_client.parser import text_string_to_metric_families as read_text

UPTIME = ("flask_supervisor_uptime_seconds",)
ANSWERS = ("flask_supervisor_app_requests_total", "coach", "2xx")
TIMED = ("flask_supervisor_app_request_duration_seconds_count", "coach")

Counters = dict[tuple[str, ...], float]


def scrape() -> Counters:
    """Return what may not go down while a supervisor lives, and its uptime."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in read_text(ask(6000, "/metrics", timeout_s=10).text)
        for sample in family.samples
        if family.type in ("counter", "histogram") or sample.name == UPTIME[0]
    }


def send(count: int) -> None:
    """Send requests, and wait until they are counted."""
    before = scrape()[ANSWERS]
    for _ in range(count):
        assert ask(5001).status == 200
    eventually(lambda: scrape()[ANSWERS] >= before + count, what="they are counted")


def restart() -> None:
    """Restart the service."""
    systemctl("restart", UNIT)


@pytest.mark.parametrize("end", [restart, kill_main])
def test_counters_over_a_hand_over(machine: Machine, end: Callable[[], object]) -> None:
    """A scraper sees the old main process's counters, then the new one's, and never goes back."""
    send(20)
    seen: list[Counters] = [scrape()]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.01):
            seen.append(scrape())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    end()
    machine.wait()
    is_over.set()
    watcher.join(15)
    pairs = enumerate(itertools.pairwise(seen), 1)
    resets = [n for n, (a, b) in pairs if b[UPTIME] < a[UPTIME]]
    assert len(resets) == 1, [one[UPTIME] for one in seen]
    for run in (seen[: resets[0]], seen[resets[0] :]):
        for before, now in itertools.pairwise(run):
            assert {key: was for key, was in before.items() if now.get(key, -1) < was} == {}
    assert seen[0][ANSWERS] >= 20 > seen[resets[0]][ANSWERS]
    before = scrape()
    assert before[ANSWERS] == before[TIMED]
    send(7)
    now = scrape()
    assert now[ANSWERS] == now[TIMED] == before[ANSWERS] + 7
