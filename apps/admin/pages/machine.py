"""The machine: its temperature, power, memory and disks."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, render_template

from apps.admin import link
from apps.admin.access.guard import Right, needs
from apps.admin.fields import count, duration, inner, seconds, text
from apps.admin.overview import checks_of

machine = Blueprint("machine", __name__)

Fact = tuple[str, str]


@machine.get("/machine")
@needs(Right.GLANCE)
def index() -> str:
    """Show all facts about the machine, and its warnings."""
    snapshot = link.snapshot()
    every = checks_of(snapshot.get("checks"))
    bad = [one for one in every if one.app is None and one.level != "pass"]
    return render_template("machine.html", facts=facts_of(inner(snapshot, "host")), checks=bad)


def facts_of(host: Mapping[str, Any]) -> list[Fact]:
    """Return the facts in words, the ones that matter most first; what is unknown is left out."""
    found: list[Fact | None] = [
        _number("Temperature", host.get("temperature_c"), "{:.0f} °C"),
        _power(inner(host, "power")),
        _disk("Disk", inner(inner(host, "disks"), "state_dir")),
        _memory(inner(host, "memory")),
        _number("Processor", inner(host, "cpu").get("percent"), "{:.0f} % busy"),
        _number("Cores", inner(host, "cpu").get("count"), "{:.0f}"),
        _load(inner(host, "load")),
        _disk("System disk", inner(inner(host, "disks"), "root")),
        _number("Swap", inner(host, "swap").get("used_mb"), "{:.0f} MiB used"),
        _card(inner(host, "sd_card")),
        _clock(host.get("clock_synchronised")),
        _uptime(host.get("uptime_s")),
        _words("Model", host.get("model")),
    ]
    return [fact for fact in found if fact is not None]


def _number(name: str, raw: object, form: str) -> Fact | None:
    value = seconds(raw)
    return None if value is None else (name, form.format(value))


def _words(name: str, raw: object) -> Fact | None:
    value = text(raw)
    return None if value is None else (name, value)


def _power(raw: Mapping[str, Any]) -> Fact | None:
    if not raw:
        return None
    now = _set(raw)
    before = [name for name in _set(inner(raw, "since_boot")) if name not in now]
    since = f" (since the boot: {', '.join(before)})" if before else ""
    return ("Power", (", ".join(now) or "good") + since)


def _set(raw: Mapping[str, Any]) -> list[str]:
    return [name.replace("_", " ") for name, value in raw.items() if value is True]


def _disk(name: str, raw: Mapping[str, Any]) -> Fact | None:
    free, percent = seconds(raw.get("free_mb")), seconds(raw.get("free_percent"))
    if free is None or percent is None:
        return None
    read_only = ", read-only" if raw.get("read_only") is True else ""
    return (name, f"{_amount(free)} free ({percent:.0f} %){read_only}")


def _memory(raw: Mapping[str, Any]) -> Fact | None:
    available, percent = seconds(raw.get("available_mb")), seconds(raw.get("free_percent"))
    if available is None or percent is None:
        return None
    return ("Memory", f"{_amount(available)} free ({percent:.0f} %)")


def _amount(size_mb: float) -> str:
    return f"{size_mb:.0f} MiB" if size_mb < 1024 else f"{size_mb / 1024:.1f} GiB"


def _load(raw: Mapping[str, Any]) -> Fact | None:
    values = [seconds(raw.get(name)) for name in ("1m", "5m", "15m")]
    known = [f"{value:.2f}" for value in values if value is not None]
    return ("Load", " / ".join(known)) if known else None


def _card(raw: Mapping[str, Any]) -> Fact | None:
    if not raw:
        return None
    errors = count(raw.get("errors"))
    parts = [
        text(raw.get("name")) or text(raw.get("device")) or "there is one",
        "read-only" if raw.get("read_only") is True else "writable",
        f"{errors} errors" if errors else None,
    ]
    return ("SD card", ", ".join(part for part in parts if part))


def _clock(raw: object) -> Fact | None:
    if not isinstance(raw, bool):
        return None
    return ("Clock", "synchronised" if raw else "not synchronised")


def _uptime(raw: object) -> Fact | None:
    value = seconds(raw)
    return None if value is None else ("Running for", duration(value))
