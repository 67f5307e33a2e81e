"""The checks that a configuration asks for: what apps require, and their ``health_path``."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial

from supervisor.config.settings import Config, Requirement
from supervisor.health.check_runner import Check
from supervisor.health.checks import Surroundings, hides, run_check, title_of
from supervisor.health.probe import ANSWER_S, probe
from supervisor.policy.check_state import CheckRule
from supervisor.values.reports import Cause
from supervisor.worker.importing import app_search_path


def required_checks(config: Config) -> list[Check]:
    """Return a check for each requirement, those of all apps first; names are unique."""
    seen: Counter[str] = Counter()
    return [_unique(check, seen) for check in _required(config)]


def probe_checks(config: Config, serving: Collection[str]) -> list[Check]:
    """Return a check for the ``health_path`` of each app in ``serving``: its code answers its port.

    The port of any other app is answered by the stand-in, which is no news of the app.
    """
    found = []
    for name in serving:
        app = config.apps.get(name)
        if app is not None and app.health_path is not None:
            host, port = config.address(name)
            rule = CheckRule(
                interval_s=app.health_interval_s,
                timeout_s=ANSWER_S,
                threshold=app.health_threshold,
            )
            found.append(
                Check(
                    name=f"{name}: health_path {app.health_path}",
                    app=name,
                    critical=True,
                    rule=rule,
                    definition=(host, port, app.health_path),
                    run=partial(_probe, host, port, app.health_path, name),
                )
            )
    return found


def _required(config: Config) -> Iterator[Check]:
    yield from _of(config, None)
    for name, app in config.apps.items():
        if app.enabled:
            yield from _of(config, name)


def _of(config: Config, app: str | None) -> Iterator[Check]:
    wanted, place = config.requires, "requires"
    environment, code = dict(os.environ), config.folder
    if app is not None:
        wanted, place = config.apps[app].requires, f"apps.{app}.requires"
        environment |= config.app_environment(app)
        code = config.app_path(app)
    around = Surroundings(
        environment=environment, folder=config.folder, search_path=app_search_path(code)
    )
    for number, requirement in enumerate(wanted):
        is_hidden = hides(config, f"{place}[{number}]")
        title = title_of(requirement, is_hidden=is_hidden)
        yield Check(
            name=title if app is None else f"{app}: {title}",
            app=app,
            critical=requirement.critical,
            rule=CheckRule(
                interval_s=requirement.interval_s,
                timeout_s=requirement.timeout_s,
                threshold=requirement.threshold,
            ),
            definition=(requirement, around),
            run=partial(_run, requirement, around, title, is_hidden=is_hidden),
        )


def _run(
    requirement: Requirement, around: Surroundings, title: str, *, is_hidden: bool
) -> Cause | None:
    cause = run_check(requirement, around)
    if cause is not None and is_hidden:  # reason and hint name what it is about
        return Cause(reason=f"{title} is not as required")
    return cause


def _probe(host: str, port: int | None, path: str, app: str) -> Cause | None:
    reason = probe(host, port, [path])["reason"]
    if reason is None:
        return None
    return Cause(reason=reason, hint=f"see why: flask-supervisor logs {app}")


def _unique(check: Check, seen: Counter[str]) -> Check:
    seen[check.name] += 1
    if seen[check.name] == 1:
        return check
    return Check(
        name=f"{check.name} #{seen[check.name]}",
        app=check.app,
        critical=check.critical,
        rule=check.rule,
        definition=check.definition,
        run=check.run,
    )
