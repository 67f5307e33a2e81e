"""``/metrics``: the health document in the text formats of Prometheus.

prometheus-client renders; the families are made from the snapshot at each scrape, so nothing is
counted here and the main process has no part in it. Names follow
https://prometheus.io/docs/practices/naming/. The number of time series is bounded by what is
configured: apps, checks and the fixed words of states, kinds and classes are the only labels.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from supervisor.health import app_metrics, host_metrics
from supervisor.health.metric_family import counter, gauge, one_of

_STATUSES = ("pass", "warn", "fail")


def metrics_text(snapshot: dict[str, Any], accept: str = "") -> tuple[bytes, str]:
    """Return the metrics of a health document, and their content type.

    ``accept`` is the header of the request: OpenMetrics for whoever asks for that, else the text
    format 0.0.4. A part that the snapshot lacks is left out.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(snapshot))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Snapshot(Collector):
    """The families of one health document."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from _supervisor(self._snapshot)
        yield from app_metrics.families(self._snapshot.get("apps", {}))
        yield from _checks(self._snapshot.get("checks", {}))
        yield from _events(self._snapshot.get("event_counts", {}))
        yield from host_metrics.families(self._snapshot.get("host", {}))


def _supervisor(snapshot: dict[str, Any]) -> Iterator[Metric]:
    yield gauge(
        "build_info",
        "The version of flask-supervisor; always 1.",
        [({"version": snapshot["version"]}, 1)],
    )
    yield one_of("status", "The health as a whole: 1 for the status it has.", _STATUSES).of(
        [({}, snapshot["status"])]
    )
    main = snapshot.get("checks", {}).get("main_process")
    if main is not None:
        yield gauge(
            "main_process_alive",
            "Whether the main process works: it has sent a heartbeat in the last 3 seconds.",
            [({}, main["status"] == "pass")],
        )
    if snapshot.get("age_s") is not None:
        yield gauge("uptime_seconds", "How long the supervisor has run.", [({}, snapshot["age_s"])])
    if snapshot.get("main_loop_lag_s") is not None:
        yield gauge(
            "main_loop_lag_seconds",
            "How late the main process's loop was, at worst, since the snapshot before.",
            [({}, snapshot["main_loop_lag_s"])],
        )


def _checks(checks: dict[str, Any]) -> Iterator[Metric]:
    if not checks:
        return
    labels = {
        name: {
            "check": name,
            "app": check.get("app") or "",
            "critical": "true" if check["critical"] else "false",
        }
        for name, check in checks.items()
    }
    yield gauge(
        "check_passing",
        "Whether a check passes; a critical one that doesn't makes its app, or the whole, not "
        "ready.",
        [(labels[name], check["status"] == "pass") for name, check in checks.items()],
    )
    counted = [
        (labels[name], check["failures"]) for name, check in checks.items() if "failures" in check
    ]
    if counted:
        yield gauge("check_failures", "How often a check has failed in a row.", counted)


def _events(counts: dict[str, dict[str, int]]) -> Iterator[Metric]:
    """Make one family of ``counts``: by app ("" for the supervisor itself), by kind."""
    if counts:
        yield counter(
            "events",
            "Events by kind since the supervisor started; app is empty for its own.",
            [
                ({"app": app, "kind": kind}, count)
                for app, kinds in counts.items()
                for kind, count in kinds.items()
            ],
        )
