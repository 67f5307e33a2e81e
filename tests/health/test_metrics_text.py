"""``/metrics``: names, values and formats, as Prometheus reads them."""

import re
import subprocess
from typing import Any

import pytest
from harness import REPOSITORY
from health_documents import APP, BROKEN, CHECK, HOST, REQUESTS, health_document
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from supervisor.health.metrics_text import metrics_text

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
BLOCKED = {**BROKEN, "state": "blocked", "serving": "nothing"}
FALLBACK = {**APP, "serving": "last-known-good", "stale": True, "refusal": {"reason": "x"}}


def scrape(document: dict[str, Any], accept: str = "") -> dict[tuple[str, ...], float]:
    """Return each sample by its name and its labels' values."""
    text, _ = metrics_text(document, accept)
    return {
        (sample.name.removeprefix("flask_supervisor_"), *sample.labels.values()): sample.value
        for family in read_text(text.decode())
        for sample in family.samples
    }


def test_the_values() -> None:
    """Each part of the document, in base units."""
    found = scrape(health_document())
    expected = {
        ("build_info", "0.1.0"): 1,
        ("status", "pass"): 1,
        ("status", "fail"): 0,
        ("main_process_alive",): 1,
        ("uptime_seconds",): 3600,
        ("main_loop_lag_seconds",): 0.002,
        ("app_up", "coach"): 1,
        ("app_state", "coach", "ready"): 1,
        ("app_state", "coach", "failed"): 0,
        ("app_serving", "coach", "app"): 1,
        ("app_generation", "coach"): 3,
        ("app_restarts_total", "coach"): 1,
        ("app_release_info", "coach", "abcdef0", "0123456789ab", "false"): 1,
        ("app_workers", "coach", "ready"): 1,
        ("app_memory_bytes", "coach"): 40.5 * 2**20,
        ("app_requests_total", "coach", "2xx"): 100,
        ("app_requests_rejected_total", "coach"): 2,
        ("app_requests_in_flight", "coach"): 3,
        ("app_requests_queued", "coach"): 1,
        ("app_request_oldest_seconds", "coach"): 0.5,
        ("app_threads", "coach"): 4,
        ("app_threads_busy", "coach"): 2,
        ("app_threads_max", "coach"): 32,
        ("app_connections", "coach"): 6,
        ("check_passing", "coach", "coach: tcp localhost:6379", "true"): 1,
        ("check_failures", "coach", "coach: tcp localhost:6379", "true"): 0,
        ("events_total", "", "started"): 1,
        ("events_total", "coach", "ready"): 2,
        ("host_info", "Raspberry Pi 4 Model B Rev 1.4"): 1,
        ("host_cpu_busy_ratio",): 0.125,
        ("host_memory_size_bytes",): 4096 * 2**20,
        ("host_disk_free_bytes", "root"): 500 * 2**20,
        ("host_temperature_celsius",): 48.2,
        ("host_power_fault", "throttled"): 0,
        ("host_power_fault_since_boot", "under_voltage"): 1,
        ("host_sd_card_errors",): 0,
        ("host_clock_synchronised",): 1,
    }
    assert {key: found.get(key) for key in expected} == pytest.approx(expected)


def test_the_histogram_is_cumulative() -> None:
    """In seconds, up to +Inf, and its count is that of all answers that were timed."""
    found = scrape(health_document())
    name = "app_request_duration_seconds"
    buckets = [
        (float(key[2]), value)
        for key, value in found.items()
        if key[0] == f"{name}_bucket" and key[1] == "coach"
    ]
    assert buckets[:4] == [(0.001, 60), (0.002, 100), (0.005, 100), (0.01, 110)]
    assert buckets[-2:] == [(60.0, 113), (float("inf"), 113)]
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    assert found[f"{name}_count", "coach"] == 113
    assert found[f"{name}_sum", "coach"] == 2.25


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (BROKEN, {"app_up": 0, "app_port_bound": 1, "app_fallback": 0, "app_restarts_total": 4}),
        (BLOCKED, {"app_up": 0, "app_port_bound": 0}),
        (FALLBACK, {"app_up": 1, "app_fallback": 1, "app_stale": 1, "app_reload_refused": 1}),
        (APP, {"app_up": 1, "app_fallback": 0, "app_stale": 0, "app_reload_refused": 0}),
    ],
)
def test_an_app_in_trouble(app: dict[str, Any], expected: dict[str, float]) -> None:
    """What alerts are made of; what isn't known has no sample."""
    found = scrape(health_document(apps={"coach": app, "admin": APP}))
    assert {name: found[name, "coach"] for name in expected} == expected
    is_known = app["memory_mb"] is not None
    assert (("app_memory_bytes", "coach") in found) is is_known
    assert ("app_memory_bytes", "admin") in found


def test_failing_checks() -> None:
    """With what they belong to, and whether they matter for readiness."""
    failing = {**CHECK, "status": "warn", "reason": "x", "critical": False, "failures": 4}
    found = scrape(health_document(checks={"disk": failing, "main_process": CHECK}))
    assert found["check_passing", "", "disk", "false"] == 0
    assert found["check_failures", "", "disk", "false"] == 4
    gone = {**CHECK, "status": "fail"}
    assert scrape(health_document(checks={"main_process": gone}))[("main_process_alive",)] == 0


def test_what_is_absent_is_left_out() -> None:
    """A status worker that has heard nothing yet; facts without a source; an older document."""
    document = {"status": "fail", "version": "0.1.0", "apps": {}}
    assert scrape(document).keys() == {
        ("build_info", "0.1.0"),
        ("status", "pass"),
        ("status", "warn"),
        ("status", "fail"),
    }
    requests = {key: value for key, value in REQUESTS.items() if not key.startswith("latency_")}
    document = health_document(host={}, apps={"coach": {**APP, "requests": requests}})
    names = {key[0] for key in scrape(document)}
    assert not [name for name in names if name.startswith("host_")]
    assert "app_request_duration_seconds_count" not in names


def test_odd_words_are_escaped() -> None:
    """A check may be named after a path with quotes and line ends in it."""
    name = 'file /srv/"a"\\b\n.txt'
    found = scrape(health_document(checks={name: CHECK}))
    assert found["check_passing", "", name, "true"] == 1


def test_openmetrics_for_whoever_asks() -> None:
    """Another content type, and the end of file that it demands."""
    text, content_type = metrics_text(health_document(), OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in read_openmetrics(text.decode())}
    assert families["flask_supervisor_app_restarts"].type == "counter"
    assert families["flask_supervisor_app_request_duration_seconds"].type == "histogram"
    plain, content_type = metrics_text(health_document(), "*/*")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# EOF" not in plain


def test_series_are_bounded_by_the_configuration() -> None:
    """Each app and each check has a fixed number of them, whatever has happened."""

    def count(apps: int, checks: int, **changes: Any) -> int:
        return len(
            scrape(
                health_document(
                    apps={f"app{n}": {**APP, **changes} for n in range(apps)},
                    checks={f"check{n}": {**CHECK, "failures": n} for n in range(checks)},
                )
            )
        )

    base = count(1, 1)
    per_app = count(2, 1) - base
    assert count(10, 1) - base == 9 * per_app
    assert count(1, 10) - base == 9 * 2
    busy = {**REQUESTS, "by_class": dict.fromkeys(REQUESTS["by_class"], 10**9)}
    assert count(1, 1, requests=busy) == base
    assert per_app < 70


@pytest.mark.debian("prometheus", program="promtool")
@pytest.mark.parametrize("document", [health_document(), health_document(apps={}, host={})])
def test_promtool_finds_nothing(document: dict[str, Any]) -> None:
    """Prometheus's own linter has no complaint about names, units, types and help."""
    text, _ = metrics_text(document)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30, check=False
    )
    assert (done.stdout + done.stderr).decode() == ""
    assert done.returncode == 0


def test_every_metric_is_documented() -> None:
    """The reference names each metric, with its type, and no other."""
    text, _ = metrics_text(health_document())
    served = {
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type)
        for family in read_text(text.decode())
    }
    page = (REPOSITORY / "docs" / "health.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(flask_supervisor_\w+)` \| (\w+) \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(served)


def test_every_fact_of_the_machine_has_a_metric() -> None:
    """A fact that is added to the document is added here as well, or left out on purpose."""
    whole = len([key for key in scrape(health_document()) if key[0].startswith("host_")])
    without = {
        name: whole
        - len(
            [
                key
                for key in scrape(
                    health_document(host={k: v for k, v in HOST.items() if k != name})
                )
                if key[0].startswith("host_")
            ]
        )
        for name in HOST
    }
    assert [name for name, lost in without.items() if not lost] == [
        "boot_id"
    ]  # new series at each boot
