"""Which files are an app's code, and what a deploy does with them: for throw-away children.

All but `code_of` blocks on the disk. Errors come as JSON, see `operations.answer`.
"""

import os
import pwd
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from supervisor.config.app_variables import app_variables
from supervisor.config.settings import Config
from supervisor.health.app_check import check_app, check_requires
from supervisor.releases import operations, staging, swap
from supervisor.releases.app_code import AppCode, Document
from supervisor.releases.release import ReleaseError
from supervisor.releases.replacement import Mode, plan_replacement
from supervisor.source import app_entries
from supervisor.source.import_survey import own_files
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.worker_factory import DATA_VARIABLE
from supervisor.worker.importing import app_search_path


def code_of(config: Config, processes: Mapping[str, AppProcess], app: str) -> AppCode:
    """Return the code of an app; what belongs to it may be left to `known`."""
    path = config.app_path(app)
    others = [other for other in config.apps if other != app and config.app_path(other) == path]
    return AppCode(
        app=app,
        owner=config.apps[app].process or app,
        path=path,
        include=include_of(config, processes, app),
        state_dir=config.state_dir,
        others=tuple(entry for other in others for entry in include_of(config, processes, other)),
        exclude=tuple(config.apps[app].exclude),
    )


def include_of(config: Config, processes: Mapping[str, AppProcess], app: str) -> tuple[str, ...]:
    """Return what belongs to an app: what is configured, else what it has imported so far.

    Empty where neither is known; `known` finds it out.
    """
    process = processes.get(app)
    is_alone = process is not None and len(process.names) == 1  # else it is what all have imported
    imported = process.imported() if process is not None and is_alone else []
    return tuple(config.apps[app].include or imported)


def with_known(
    config: Config, code: AppCode, function: Callable[..., Document], *arguments: Any
) -> Document:
    """Return what ``function`` answers for the code of `known`, as JSON; for a child."""
    return operations.answer(lambda: function(known(config, code), *arguments))


def known(config: Config, code: AppCode) -> AppCode:
    """Return the code with ``include``, where the caller didn't know it.

    That is what the app's own files import, and what the last good release was made of.
    """
    if config.apps[code.app].include is not None:
        return code
    include = {*code.include, *traced(code.path, config.apps[code.app].entry)}
    if not code.include:
        for release in (code.store.good(code.owner) or code.store.all_of(code.owner))[:1]:
            include |= {*release.include}
    others = set(code.others)
    for other, settings in config.apps.items():
        if other != code.app and config.app_path(other) == code.path and not settings.include:
            others |= {*traced(code.path, settings.entry)}
    return replace(code, include=tuple(sorted(include)), others=tuple(sorted(others)))


def traced(path: Path, target: str) -> list[str]:
    """Return the entries below ``path`` that the files of ``target`` import, now or later.

    Without a target, those that may be code.
    """
    if not target:
        return app_entries.candidates(path)
    return app_entries.imported(path, own_files(target, path, app_search_path(path)))


# ---- the steps of a deploy


def stage(config: Config, code: AppCode, source: Path, mode: Mode) -> Document:
    """Unpack ``source`` beside the app; returns ``staged``, ``include`` and ``others``.

    What an earlier deploy left, since it could not be undone, is undone first. Raises
    `WouldRemove`.
    """
    code = _made_ready(config, code)
    _insist_readable(source)
    explicit = config.apps[code.app].include is not None
    found = staging.stage_source(code, source, explicit)
    # before anything is imported: which files SOURCE lacks says more than what fails without them
    mode = replace(mode, only=mode.only or found["only"])
    plan_replacement(code, Path(found["staged"]), (), mode)
    named = _named(code)
    return {**found, **named, "include": sorted({*named["include"], *found["include"]})}


def stage_release(config: Config, code: AppCode, wanted: str | None) -> Document:
    """Copy a release beside the app; returns also its ``name``. See `stage`."""
    code = _made_ready(config, code)
    found = staging.stage_release(code, wanted)
    named = _named(code)
    include = sorted({*named["include"], *found["include"]})
    return {**found, **named, "include": include, "only": False}


def _made_ready(config: Config, code: AppCode) -> AppCode:
    swap.recover(code.path)
    return known(config, code)


def _named(code: AppCode) -> Document:
    return {"include": list(code.include), "others": list(code.others)}


def _insist_readable(source: Path) -> None:
    """Raise `ReleaseError`, with the likely reason, for what the supervisor can't read."""
    who = f"the supervisor ({_user()})"
    hint = "put it where the supervisor can read it: below the app's folder, or its state folder"
    try:
        source.stat()
    except FileNotFoundError:
        raise ReleaseError(f"there is no {source} that {who} can see", hint=hint) from None
    except OSError as error:
        raise ReleaseError(f"{who} cannot look at {source}: {error.strerror}", hint=hint) from error
    if not os.access(source, os.R_OK | (os.X_OK if source.is_dir() else 0)):
        raise ReleaseError(f"{who} may not read {source}", hint=hint)


def _user() -> str:
    try:
        return f"user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"uid {os.geteuid()}"


def check(config: Config, code: AppCode, staged: Path, only: bool) -> Document:
    """Import the staged version, and check what it requires.

    Returns ``imported`` and ``lacking``, as `staging.try_staged`. ``only``: it removes no file.
    Of an app that can't be imported twice at a time the files are only read.
    """
    app = config.apps[code.app]
    work = code.path / swap.WORK
    tempfile.tempdir = str(work)  # so that nothing is left if this is interrupted
    staging.see_staged(code, staged, only=only)
    if app.runs_once or app.python is not None or app.command is not None:
        found = check_app(config, code.app, only_read=app.runs_once)
        if not found["ok"]:
            raise ReleaseError(found["reason"], hint=found["hint"])
        tried: Document = {"imported": [], "lacking": []}
    else:
        tried = _import(config, code, staged, work / "data", only=only)
    _insist_on_requirements(check_requires(config, code.app))
    files = own_files(app.entry, code.path, app_search_path(code.path)) if app.entry else []
    imported = sorted({*tried["imported"], *staging.entries_of(code, staged, files)})
    return {"imported": imported, "lacking": tried["lacking"]}


def _import(config: Config, code: AppCode, staged: Path, data_dir: Path, *, only: bool) -> Document:
    app = config.apps[code.app]
    data_dir.mkdir(mode=0o700, exist_ok=True)
    environment = {**app_variables(config, code.app), DATA_VARIABLE: str(data_dir)}
    secrets = config.app_secrets(code.app)
    return staging.try_staged(
        code, staged, app.entry, environment, app.import_timeout_s, secrets, only=only
    )


def _insist_on_requirements(findings: Collection[Document]) -> None:
    unmet = [found for found in findings if not found["ok"] and found["critical"]]
    if not unmet:
        return
    first, *others = unmet
    more = f" (and {len(others)} more: see flask-supervisor check)" if others else ""
    raise ReleaseError(
        f"what it requires is not there: {first['reason']}{more}", hint=first["hint"]
    )
