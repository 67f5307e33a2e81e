"""Small charts as SVG, made here: no script, no style of its own, the colours from the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from apps.admin.samples import INTERVAL_S, KEPT_S, Sample, Samples, rates

_WIDTH, _HEIGHT = 120, 28
_POINTS = 60
_Value = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppCharts:
    """The charts of one app's last hour, and the newest values; None where nothing is known."""

    rate: Markup | None
    latency: Markup | None
    memory: Markup | None
    states: Markup | None
    rate_now: float | None


class Charts:
    """Draws the samples of apps; pages ask more often than there are new ones."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self._drawn: dict[str, tuple[tuple[float, int], AppCharts]] = {}

    def of(self, app: str, now: float) -> AppCharts:
        """Return the charts of an app; ``now`` is monotonic, as the samples are."""
        samples = self.samples.of(app, now)
        key = (samples[-1].at_s if samples else 0.0, int(now / INTERVAL_S))
        known = self._drawn.get(app)
        if known is None or known[0] != key:
            known = self._drawn[app] = (key, charts_of(samples, now))
        return known[1]


def charts_of(samples: Sequence[Sample], now: float) -> AppCharts:
    """Return the charts of one app's ``samples``."""
    times = [sample.at_s for sample in samples]
    rate = rates(list(samples))
    return AppCharts(
        rate=line(times[1:], rate, now, "requests a second"),
        latency=line(times, [s.latency_ms for s in samples], now, "median latency in ms"),
        memory=line(times, [s.memory_mb for s in samples], now, "memory in MiB"),
        states=strip(samples, now),
        rate_now=rate[-1] if rate else None,
    )


def line(times: Sequence[float], values: Sequence[_Value], now: float, what: str) -> Markup | None:
    """Return a line chart of the last hour, from 0 up; None if there are fewer than two values."""
    thinned = _thinned(times, values, now)
    known = [value for _, value in thinned if value is not None]
    if len(known) < 2:
        return None
    top = max(known) or 1.0
    parts, pen = [], "M"
    for place, value in thinned:
        if value is None:
            pen = "M"
            continue
        height = _HEIGHT - 2 - value / top * (_HEIGHT - 4)
        parts.append(f"{pen}{place * _WIDTH:.0f} {height:.0f}")
        pen = "L"
    label = f"{what}, last hour: at most {max(known):.3g}, now {known[-1]:.3g}"
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" '
        'aria-label="{}"><path d="{}"/></svg>'
    ).format(_WIDTH, _HEIGHT, label, "".join(parts))


def strip(samples: Sequence[Sample], now: float) -> Markup | None:
    """Return the states of the last hour as a strip of colours; None without samples."""
    if not samples:
        return None
    levels = {"pass": 0, "warn": 1, "fail": 2}
    worst: dict[int, str] = {}
    for sample in samples:
        place = _place(sample.at_s, now)
        was = worst.get(place, "pass")
        if sample.level is not None and levels[sample.level] >= levels[was]:
            worst[place] = sample.level
    cells = Markup("").join(
        Markup('<rect class="{}" x="{}" y="0" width="{}" height="8"/>').format(level, first, length)
        for level, first, length in _runs(worst)
    )
    bad = sum(level != "pass" for level in worst.values())
    label = f"state in the last hour: {bad} of {len(worst)} minutes not as they should be"
    return Markup(
        '<svg class="strip" viewBox="0 0 {} 8" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(_POINTS, label, cells)


def _place(at_s: float, now: float) -> int:
    """Return the minute of the last hour in which a time lies, 0 for the first."""
    return min(_POINTS - 1, max(0, int((1 - (now - at_s) / KEPT_S) * _POINTS)))


def _runs(levels: dict[int, str]) -> list[tuple[str, int, int]]:
    """Return the stretches of equal levels: level, first minute, length."""
    found: list[tuple[str, int, int]] = []
    for place in sorted(levels):
        if found and found[-1][0] == levels[place] and sum(found[-1][1:]) == place:
            level, first, length = found.pop()
            found.append((level, first, length + 1))
        else:
            found.append((levels[place], place, 1))
    return found


def _thinned(
    times: Sequence[float], values: Sequence[_Value], now: float
) -> list[tuple[float, _Value]]:
    """Return one value a minute, the largest one, with its place from 0 to 1."""
    found: dict[int, _Value] = {}
    for at_s, value in zip(times, values, strict=True):
        place = _place(at_s, now)
        before = found.get(place)
        if value is None or before is None:
            found[place] = value if before is None else before
        else:
            found[place] = max(before, value)
    return [(place / (_POINTS - 1), found[place]) for place in sorted(found)]
