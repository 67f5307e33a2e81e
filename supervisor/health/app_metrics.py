"""Metric families of the apps, from their health documents."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import Metric

from supervisor.health.metric_family import MB, counter, gauge, histogram, one_of
from supervisor.values.metrics import LATENCY_BOUNDS_MS
from supervisor.values.states import AppState, Serving, Status

Document = dict[str, Any]
_OWN_CODE = (Serving.APP, Serving.LAST_KNOWN_GOOD)
_STATES = (
    one_of("app_status", "The health of an app: 1 for the status it has.", map(str, Status)),
    one_of("app_state", "What an app is doing: 1 for the state it is in.", map(str, AppState)),
    one_of("app_serving", "What answers an app's port: 1 for what does.", map(str, Serving)),
)
# name, help, value of an app's document; None leaves the app out of the family
_GAUGES: tuple[tuple[str, str, Callable[[Document], float | None]], ...] = (
    (
        "app_up",
        "Whether an app's own code answers its port: live or last known good.",
        lambda app: app["serving"] in _OWN_CODE,
    ),
    (
        "app_fallback",
        "Whether the last known good release serves in the place of the live code.",
        lambda app: app["serving"] == Serving.LAST_KNOWN_GOOD,
    ),
    (
        "app_port_bound",
        "Whether an app's port is bound.",
        lambda app: app["state"] != AppState.BLOCKED,
    ),
    (
        "app_stale",
        "Whether the code that serves is not the code on disk any more.",
        lambda app: app["stale"],
    ),
    (
        "app_reload_refused",
        "Whether the last reload of an app was refused.",
        lambda app: app["refusal"] is not None,
    ),
    (
        "app_generation",
        "The generation of the workers that serve; each start and reload has the next number.",
        lambda app: app["generation"],
    ),
    (
        "app_memory_bytes",
        "Resident memory of an app's workers, what they share with others included.",
        lambda app: None if app["memory_mb"] is None else app["memory_mb"] * MB,
    ),
)
_OF_REQUESTS: tuple[tuple[str, str, Callable[[Document], float | None]], ...] = (
    ("app_requests_in_flight", "Requests being answered or waiting.", lambda r: r["in_flight"]),
    ("app_requests_queued", "Requests that wait for a thread.", lambda r: r["queue"]),
    (
        "app_request_oldest_seconds",
        "Age of the oldest request in flight; absent without any.",
        lambda r: r["oldest_s"],
    ),
    ("app_threads", "Threads of an app's servers.", lambda r: r["threads"]),
    ("app_threads_busy", "Threads that answer a request.", lambda r: r["busy"]),
    ("app_threads_max", "How many threads there may be.", lambda r: r["max_threads"]),
    ("app_connections", "Open connections.", lambda r: r["connections"]),
)


def families(apps: dict[str, Document]) -> Iterator[Metric]:
    """Yield the families of all apps: by name, each a health document."""
    if not apps:
        return
    for states in _STATES:
        word = states.name.removeprefix("app_")
        yield states.of([({"app": name}, app[word]) for name, app in apps.items()])
    for name, text, value in _GAUGES:
        yield _gauge(name, text, apps, value)
    yield counter(
        "app_restarts",
        "How often an app was started again since the supervisor started.",
        [({"app": name}, app["restarts"]) for name, app in apps.items()],
    )
    yield _workers(apps)
    yield _releases(apps)
    yield from _requests({name: app["requests"] for name, app in apps.items()})


def _gauge(
    name: str, text: str, documents: dict[str, Document], value: Callable[[Document], float | None]
) -> Metric:
    rows = [
        ({"app": app}, found)
        for app, document in documents.items()
        if (found := value(document)) is not None
    ]
    return gauge(name, text, rows)


def _workers(apps: dict[str, Document]) -> Metric:
    counts: dict[tuple[str, str], int] = {}
    for name, app in apps.items():
        for worker in app["workers"]:
            counts[name, worker["state"]] = counts.get((name, worker["state"]), 0) + 1
    rows = [({"app": name, "state": state}, count) for (name, state), count in counts.items()]
    return gauge("app_workers", "Workers of an app, by their state.", rows)


def _releases(apps: dict[str, Document]) -> Metric:
    rows = []
    for name, app in apps.items():
        release = app["release"]
        if release is not None:
            dirty = release.get("dirty")
            labels = {
                "app": name,
                "digest": str(release.get("digest") or ""),
                "commit": str(release.get("commit") or ""),
                "dirty": "" if dirty is None else str(dirty).lower(),
            }
            rows.append((labels, 1))
    return gauge("app_release_info", "Which code of an app serves; always 1.", rows)


def _requests(requests: dict[str, Document]) -> Iterator[Metric]:
    yield counter(
        "app_requests",
        "Answers by class of their status, since the supervisor started.",
        [
            ({"app": name, "class": word}, count)
            for name, one in requests.items()
            for word, count in one["by_class"].items()
        ],
    )
    yield counter(
        "app_requests_rejected",
        "Answers of an overloaded server: 503, because no thread was free.",
        [({"app": name}, one["rejected"]) for name, one in requests.items()],
    )
    timed = {name: one for name, one in requests.items() if "latency_counts" in one}
    if timed:
        yield histogram(
            "app_request_duration_seconds",
            "How long answers took, waiting included; those of an overloaded server left out.",
            [bound / 1000 for bound in LATENCY_BOUNDS_MS],
            [
                ({"app": name}, one["latency_counts"], one["latency_sum_s"])
                for name, one in timed.items()
            ],
        )
    for name, text, value in _OF_REQUESTS:
        yield _gauge(name, text, requests, value)
