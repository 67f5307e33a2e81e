"""What a monitoring plugin prints: one line with performance data, and an exit code. Pure.

The format is that of Nagios, Icinga and others:
https://www.monitoring-plugins.org/doc/guidelines.html
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any

from supervisor.policy.health_document import not_ready

_NAMED_MAX = 3  # apps and checks with their reasons, on the one line
_WORDS_MAX = 120  # characters of a reason
_MB = 2**20


class PluginStatus(IntEnum):
    """The exit codes of a plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_OF_HEALTH = {
    "pass": PluginStatus.OK,
    "warn": PluginStatus.WARNING,
    "fail": PluginStatus.CRITICAL,
}


def plugin_line(status: PluginStatus, text: str, data: str = "") -> str:
    """Return the line of a plugin; a "|" in ``text`` would begin the performance data."""
    line = f"FLASK-SUPERVISOR {status.name} - {' '.join(text.split()).replace('|', '/')}"
    return f"{line} | {data}" if data else line


def plugin_output(
    document: Mapping[str, Any], *, seconds: float | None
) -> tuple[PluginStatus, str]:
    """Return exit code and line for the document of ``/health`` or ``/health/APP``.

    ``seconds`` is how long the answer took. Raises ValueError, KeyError or TypeError for another
    document.
    """
    status = _OF_HEALTH[document["status"]]
    apps = document.get("apps")
    text = _app_text(document) if apps is None else _text(document)
    return status, plugin_line(status, text, _data(document, seconds))


def _app_text(app: Mapping[str, Any]) -> str:
    text = f"{app['state']}, served by {app['serving']}"
    return f"{text}: {_cut(app['reason'])}" if app["reason"] else text


def _text(document: Mapping[str, Any]) -> str:
    apps = document["apps"]
    ready = sum(app["state"] == "ready" for app in apps.values())
    text = f"{ready} of {len(apps)} apps ready"
    troubles = list(_troubles(document))
    if not troubles:
        return text
    shown = "; ".join(troubles[:_NAMED_MAX])
    more = len(troubles) - _NAMED_MAX
    return f"{text}; {shown}; and {more} more" if more > 0 else f"{text}; {shown}"


def _troubles(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what isn't as it should be, what keeps the machine from being ready first."""
    first = not_ready(dict(document))
    for name, reason in first.items():
        yield f"{name}: {_cut(reason)}"
    for name, one in {**document["apps"], **document["checks"]}.items():
        if name not in first and one["status"] != "pass" and one["reason"]:
            yield f"{name}: {_cut(one['reason'])}"


def _cut(text: str) -> str:
    return text if len(text) <= _WORDS_MAX else text[: _WORDS_MAX - 1] + "…"


def _data(document: Mapping[str, Any], seconds: float | None) -> str:
    """Return performance data: ``label=value[UOM];[warn];[crit];[min];[max]``, by spaces."""
    found = [] if seconds is None else [f"time={seconds:.3f}s;;;0"]
    apps = document.get("apps")
    if apps is not None:
        ready = sum(app["state"] == "ready" for app in apps.values())
        found.append(f"ready={ready};;;0;{len(apps)}")
    every = [document] if apps is None else list(apps.values())
    found.append(f"requests={sum(app['requests']['total'] for app in every)}c")
    found.append(f"restarts={sum(app['restarts'] for app in every)}c")
    memory = [app["memory_mb"] for app in every if app["memory_mb"] is not None]
    if memory:
        found.append(f"memory={round(sum(memory) * _MB)}B;;;0")
    host = document.get("host", {})
    if "temperature_c" in host:
        found.append(f"temperature={host['temperature_c']:g}")
    for name, disk in host.get("disks", {}).items():
        if "free_percent" in disk:
            found.append(f"disk_{name}_free={disk['free_percent']:g}%;;;0;100")
    return " ".join(found)
