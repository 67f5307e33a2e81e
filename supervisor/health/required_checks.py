"""The checks that a configuration asks for: what apps require, and their ``health_path``."""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from supervisor.config.settings import Requirement
from supervisor.health.check_runner import Check
from supervisor.health.check_settings import title_of
from supervisor.health.checks import Surroundings, run_check
from supervisor.health.probe import ANSWER_S, probe
from supervisor.policy.check_state import CheckRule
from supervisor.values.reports import Cause
from supervisor.worker.importing import app_search_path


def required_checks(settings: Mapping[str, Any], apps: Collection[str]) -> list[Check]:
    """Return a check for each requirement of all and of ``apps``; names are unique.

    ``settings`` is what `check_settings` returned.
    """
    seen: Counter[str] = Counter()
    return [
        _required(one, Path(settings["folder"]), seen)
        for one in settings["required"]
        if one["app"] is None or one["app"] in apps
    ]


def probe_checks(settings: Mapping[str, Any], apps: Collection[str]) -> list[Check]:
    """Return a check for the ``health_path`` of each of ``apps``: its own code answers its port.

    The port of any other app is answered by the stand-in, which is no news of the app.
    """
    return [_probe(name, one) for name, one in settings["probes"].items() if name in apps]


def _required(given: Mapping[str, Any], folder: Path, seen: Counter[str]) -> Check:
    requirement = Requirement(**given["requirement"])
    app, is_hidden = given["app"], given["is_hidden"]
    title = title_of(requirement, is_hidden=is_hidden)
    name = title if app is None else f"{app}: {title}"
    seen[name] += 1
    around = Surroundings(
        environment={**os.environ, **given["environment"]},
        folder=folder,
        search_path=app_search_path(Path(given["code"])),
        python=Path(given["python"]) if given["python"] else None,
    )
    return Check(
        name=name if seen[name] == 1 else f"{name} #{seen[name]}",
        app=app,
        critical=requirement.critical,
        rule=CheckRule(
            interval_s=requirement.interval_s,
            timeout_s=requirement.timeout_s,
            threshold=requirement.threshold,
        ),
        definition=given,
        run=partial(_run_required, requirement, around, title, is_hidden=is_hidden),
    )


def _run_required(
    requirement: Requirement, around: Surroundings, title: str, *, is_hidden: bool
) -> Cause | None:
    cause = run_check(requirement, around)
    if cause is not None and is_hidden:  # reason and hint name what it is about
        return Cause(reason=f"{title} is not as required")
    return cause


def _probe(app: str, given: Mapping[str, Any]) -> Check:
    rule = CheckRule(
        interval_s=given["interval_s"], timeout_s=ANSWER_S, threshold=given["threshold"]
    )
    return Check(
        name=f"{app}: health_path {given['path']}",
        app=app,
        critical=True,
        rule=rule,
        definition=given,
        run=partial(_run_probe, app, given),
    )


def _run_probe(app: str, given: Mapping[str, Any]) -> Cause | None:
    reason = probe(given["host"], given["port"], [given["path"]])["reason"]
    if reason is None:
        return None
    return Cause(reason=reason, hint=f"see why: flask-supervisor logs {app}")
