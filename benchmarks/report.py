"""Turns results into tables, in Markdown, and into a JSON document."""

import math
from collections import Counter
from typing import Any

from benchmarks.session import Results, Taken, shown
from benchmarks.stats import Summary, paired_ratio, summary
from benchmarks.suite import MEASURES, Budget, Measure


def tables(results: Results) -> str:
    """Return one table for each measure, then our budgets."""
    parts = [_table(m, results[m.name]) for m in MEASURES if m.name in results]
    return "\n".join([*parts, _budgets(results)])


def _table(measure: Measure, taken: dict[str, Taken]) -> str:
    metrics = _metrics(taken)
    head = ["", *(metric.replace("_", " ") for metric in metrics)]
    if measure.main in metrics:
        head.insert(metrics.index(measure.main) + 2, f"× {measure.reference}")
    lines = [f"### {measure.name}: {measure.title}", "", _line(head), _line(["---"] * len(head))]
    notes = []
    for name, row in taken.items():
        if row.unavailable is not None or not any(row.samples):
            notes.append(f"* {name}: not available: {row.unavailable or row.problems[-1]}")
            continue
        notes += [f"* {name}: a sample failed: {problem}" for problem in row.problems]
        cells = [name]
        for metric in metrics:
            cells.append(_cell(row, metric))
            if metric == measure.main:
                cells.append(_ratio(row, taken.get(measure.reference), metric))
        lines.append(_line(cells))
    return "\n".join([*lines, "", *notes, *([""] if notes else [])])


def _metrics(taken: dict[str, Taken]) -> list[str]:
    for row in taken.values():
        for sample in row.samples:
            if sample is not None:
                return list(sample)
    return []


def _cell(row: Taken, metric: str) -> str:
    values = row.values(metric)
    texts = [value for value in values if isinstance(value, str)]
    if texts:
        return Counter(texts).most_common(1)[0][0]
    found = summary([value for value in values if not isinstance(value, str)])
    return "" if found is None else spread(found)


def spread(found: Summary) -> str:
    """Return median and range, as ``1.2 (1.1-1.4)``."""
    middle = _number(found.median)
    if found.low == found.high:
        return middle
    return f"{middle} ({_number(found.low)}-{_number(found.high)})"


def _number(value: float) -> str:
    return "never" if math.isinf(value) else shown(value)


def _ratio(row: Taken, reference: Taken | None, metric: str) -> str:
    if reference is None or row is reference:
        return "1" if row is reference else ""
    found = paired_ratio(row.numbers(metric), reference.numbers(metric))
    return "" if found is None else f"{found.median:.2f}"


def _budgets(results: Results) -> str:
    lines = ["### Our budgets", "", _line(["", "measured", "budget", ""]), _line(["---"] * 4)]
    for measure in MEASURES:
        for budget in measure.budgets:
            taken = results.get(measure.name, {})
            if budget.row in taken:
                measured, verdict = judged(budget, taken)
                what = f"{measure.name}: {budget.metric.replace('_', ' ')}"
                what += "" if budget.row == "ours" else f", {budget.row}"
                limit = f"{budget.kind} {budget.limit:g}"
                limit += f" × {budget.relative_to}" if budget.relative_to else ""
                lines.append(_line([what, measured, limit, verdict]))
    return "\n".join([*lines, ""])


def judged(budget: Budget, taken: dict[str, Taken]) -> tuple[str, str]:
    """Return the result for a budget, and the verdict in a word or two."""
    row = taken[budget.row]
    if not any(row.samples):
        return "", "not available"
    found = summary([None if isinstance(v, str) else v for v in row.values(budget.metric)])
    if budget.relative_to is not None:
        reference = taken.get(budget.relative_to, Taken())
        found = paired_ratio(row.numbers(budget.metric), reference.numbers(budget.metric))
    if found is None:
        return "", "not available"
    least = budget.kind == "at least"
    held = found.median >= budget.limit if least else found.median <= budget.limit
    return spread(found), "held" if held else "not held"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def document(results: Results, about: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON document: the facts ``about`` the run, and every sample."""
    return {
        **about,
        "measures": {
            name: {
                row: {
                    "samples": taken.samples,
                    "unavailable": taken.unavailable,
                    "problems": taken.problems,
                }
                for row, taken in rows.items()
            }
            for name, rows in results.items()
        },
    }
