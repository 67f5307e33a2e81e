"""Imports apps that a test has written as a worker would: in a forked child."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.process.throwaway import call_in_child
from supervisor.worker.importing import import_app

LIMIT_S = 20.0  # for imports that end without help


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write source files, by their path relative to ``folder``."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def write_named(root: Path, *paths: str) -> None:
    """Create files that hold their own name; a path that ends with / is a folder."""
    for path in paths:
        file = root / path
        if path.endswith("/"):
            file.mkdir(parents=True, exist_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(path)


def run_import(
    folder: Path,
    source: str | bytes,
    files: Mapping[str, str | bytes] | None = None,
    *,
    target: str = "coaching:app",
    timeout_s: float = LIMIT_S,
) -> dict[str, Any]:
    """Import ``target`` from ``folder``, whose ``coaching.py`` is ``source``.

    Return the fields of the report and of its cause, or ``ok``; raise `TaskFailed` if the
    process ended.
    """
    write(folder, {"coaching.py": source, **(files or {})})
    return import_target(folder, target, timeout_s=timeout_s)


def import_target(folder: Path, target: str, *, timeout_s: float = LIMIT_S) -> dict[str, Any]:
    """Import ``target`` from ``folder``; as `run_import`."""
    answer: dict[str, Any] = call_in_child(
        _import, target, folder, timeout_s, timeout_s=timeout_s + LIMIT_S
    )
    return answer


def _import(target: str, folder: Path, timeout_s: float) -> dict[str, Any]:
    warnings.simplefilter("ignore")  # the tests turn warnings into errors, workers don't
    _app, report = import_app(target, folder, timeout_s=timeout_s, count_missing=False)
    if report is None:
        return {"ok": True}
    return {"ok": False, **report.to_json(), "reason": report.cause.reason}
