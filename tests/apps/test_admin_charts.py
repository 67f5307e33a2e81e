"""What the admin app shows of the last hour, and what a page of it costs."""

import gzip
import json
import re
import statistics
import time
from pathlib import Path
from typing import Any

import health_documents
import pytest
from admin_case import Speak, logged_in, says
from hypothesis import given
from hypothesis import strategies as st

from apps.admin import charts, create_app, samples
from apps.admin.pages.machine import facts_of
from apps.admin.samples import Sample, Samples, rates
from supervisor.client import SOCKET_VARIABLE, Client

APPS = 20
PAGE_MAX = 300 * 1024
MEDIAN_MAX_S = 0.05


def app_at(second: int, number: int = 0) -> dict[str, Any]:
    """Return the state of an app in a second of its life."""
    return {
        "status": "fail" if second % 700 < 60 else "pass",
        "state": "ready",
        "serving": "app",
        "port": 5000 + number,
        "pid": 100 + number,
        "restarts": 3,
        "age_s": second,
        "reason": None,
        "release": {"digest": "ab" * 32, "commit": None, "dirty": None},
        "memory_mb": 40.0 + second % 9,
        "requests": {"total": second * 7, "latency_ms": {"p50": second % 13, "p99": 99.0}},
    }


def snapshot_at(second: int) -> dict[str, Any]:
    """Return a snapshot with many apps."""
    apps = {f"app{number}": app_at(second, number) for number in range(APPS)}
    return {"status": "pass", "version": "1", "apps": apps, "checks": {}, "events": []}


def an_hour() -> Samples:
    """Return an hour of samples, up to the second 3600."""
    found = Samples()
    for second in range(0, 3601, int(samples.INTERVAL_S)):
        found.add(snapshot_at(second), float(second))
    return found


def test_every_page_is_small_and_fast(speak: Speak) -> None:
    """With 20 apps and a full hour a page is below 300 KiB with all its files, and 50 ms."""
    client = logged_in(speak(says(snapshot_at(3600))))
    hour = an_hour()
    taken = client.application.extensions["charts"].samples
    taken.load(json.loads(json.dumps(hour.to_json())))
    moved = time.monotonic() - 3600
    for kept in taken._by_app.values():  # the page asks for the last hour of this machine
        for number, one in enumerate(kept):
            kept[number] = Sample(
                one.at_s + moved, one.level, one.requests, one.latency_ms, one.memory_mb
            )
    times = []
    for _ in range(15):
        began = time.process_time()
        page = client.get("/")
        times.append(time.process_time() - began)
    assert page.status_code == 200
    assert page.text.count("<svg") == 3 * APPS
    size = len(page.data)
    for name in set(re.findall(r'<(?:link|script)[^>]* (?:href|src)="([^"]+)"', page.text)):
        with client.get(name, headers={"Accept-Encoding": "gzip"}) as answer:
            size += len(answer.data)
            if answer.headers.get("Content-Encoding") == "gzip":
                assert gzip.decompress(answer.data)
    assert size < PAGE_MAX
    assert statistics.median(times) < MEDIAN_MAX_S
    live = client.get("/", headers={"X-Live": "1"})
    assert len(live.data) < len(page.data)
    assert "<html" not in live.text
    again = client.get("/", headers={"X-Live": "1", "If-None-Match": live.headers["ETag"]})
    assert again.status_code in (200, 304)


def test_rates_are_of_one_life_of_the_supervisor() -> None:
    """A counter that begins anew gives no negative rate, an unknown one no rate."""
    counts = [0, 30, None, 90, 60]
    taken = [Sample(15.0 * n, "pass", count, None, None) for n, count in enumerate(counts)]
    assert rates(taken) == [2.0, None, None, 0.0]
    assert rates([]) == []


@given(
    st.lists(
        st.tuples(
            st.floats(-5000, 5000),
            st.sampled_from(["pass", "warn", "fail", None]),
            st.none() | st.integers(0, 10**9),
            st.none() | st.floats(0, 1e9),
        )
    )
)
def test_any_samples_make_charts(taken: list[tuple[float, Any, Any, Any]]) -> None:
    """Whatever was seen, and whenever, the charts are well-formed, and within their box."""
    found = charts.charts_of([Sample(*one, None) for one in taken], 0.0)
    for chart in (found.rate, found.latency):
        if chart is not None:
            path = re.search(r' d="([^"]*)"', chart)[1]
            points = re.findall(r"[ML](-?\d+) (-?\d+)", path)
            assert "".join(f"{c}" for c in re.sub(r"[ML]-?\d+ -?\d+", "", path)) == ""
            assert all(0 <= int(x) <= 120 and 0 <= int(y) <= 28 for x, y in points)
    if found.states is not None:
        cells = [
            (int(x), int(w)) for x, w in re.findall(r'x="(\d+)" y="0" width="(\d+)"', found.states)
        ]
        assert all(x + w <= 60 for x, w in cells)
        assert sum(w for _, w in cells) <= 60


def test_a_strip_shows_the_worst_of_each_minute() -> None:
    """A failure of a few seconds is seen, and equal minutes are one stretch."""
    taken = [Sample(float(second), "pass", 0, None, None) for second in range(0, 600, 15)]
    taken[20] = Sample(300.0, "fail", 0, None, None)
    found = charts.strip(taken, 600.0)
    assert re.findall(r'class="(\w+)" x', found or "") == ["pass", "fail", "pass"]


def test_samples_survive_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speak: Speak
) -> None:
    """The next process goes on with the charts; a file of another boot, or garbage, is ignored."""
    speak(says(snapshot_at(0)))
    file = tmp_path / "samples"
    first = samples.Sampler(Samples(), Client(tmp_path / "control.sock"), file)
    first._samples.add(snapshot_at(15), time.monotonic())
    first.end()
    second = Samples()
    other = samples.Sampler(second, Client(tmp_path / "nobody"), file)
    other._ended.set()
    other.begin()
    other.join(10)
    assert len(second.of("app0", time.monotonic())) == 1
    monkeypatch.setattr(samples, "_boot_id", lambda: "another")
    for text in (file.read_text(), "{", '{"boot": "another", "apps": {"a": 7}}', "[]"):
        file.write_text(text)
        third = samples.Sampler(Samples(), Client(tmp_path / "nobody"), file)
        third._ended.set()
        third.begin()
        third.join(10)
        assert not third._samples.of("app0", time.monotonic())


def test_the_machine_in_words() -> None:
    """Each fact has its words; what is unknown, or strange, is left out."""
    power = {"under_voltage": False, "throttled": True}
    host = {
        "temperature_c": 61.7,
        "power": {**power, "since_boot": {"under_voltage": True, "throttled": True}},
        "sd_card": {"device": "mmcblk0", "name": "SC16G", "read_only": True, "errors": 2},
        "memory": {"available_mb": 310.0, "free_percent": 33.0},
        "disks": {"state_dir": {"free_mb": 2048.0, "free_percent": 14.0, "read_only": False}},
        "clock_synchronised": False,
        "uptime_s": 7300,
        "cpu": "fast",
        "load": {"1m": None},
    }
    assert dict(facts_of(host)) == {
        "Temperature": "62 °C",
        "Power": "throttled (since the boot: under voltage)",
        "SD card": "SC16G, read-only, 2 errors",
        "Memory": "310 MiB free (33 %)",
        "Disk": "2.0 GiB free (14 %)",
        "Clock": "not synchronised",
        "Running for": "2 h",
    }
    assert facts_of({}) == []
    assert dict(facts_of(health_documents.HOST))["Temperature"]


def test_no_samples_are_taken_outside_of_a_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand the app starts no thread."""
    import threading

    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    before = threading.active_count()
    create_app()
    assert threading.active_count() == before
