"""Puts a new version beside the app, and imports it there before it goes into place."""

import os
import sys
from collections.abc import Collection
from pathlib import Path

from supervisor.process.throwaway import TaskFailed, call_in_child
from supervisor.releases import swap, unpacking
from supervisor.releases.app_code import AppCode, Document
from supervisor.releases.release import Release, ReleaseError
from supervisor.releases.versions import live_digests
from supervisor.source import app_entries
from supervisor.values.redaction import Redaction

_IMPORT_MARGIN_S = 2.0


def stage_source(code: AppCode, source: Path, explicit: bool) -> Document:
    """Unpack what is to be deployed beside the app; return where it lies, as ``staged``.

    ``explicit``: the configuration names what belongs to the app, and nothing else is taken.
    """
    folder = swap.prepare(code.path)
    only = None
    if source.is_dir():
        names = {entry.split("/")[0] for entry in code.include}
        only = names if explicit else names | set(app_entries.candidates(source))
    unpacking.unpack(source, folder, only=only)
    wanted = code.include or tuple(app_entries.candidates(folder))
    return {"staged": str(unpacking.find_root(folder, wanted))}


def stage_release(code: AppCode, wanted: str | None) -> Document:
    """Copy a release beside the app; without a name the last good one that isn't live.

    Return ``staged``, ``name`` and the release's ``include``.
    """
    release = code.store.find(code.app, wanted) if wanted else _last_good_not_live(code)
    folder = swap.prepare(code.path)
    code.store.copy_out(release, folder)
    return {"staged": str(folder), "name": release.name, "include": list(release.include)}


def _last_good_not_live(code: AppCode) -> Release:
    store, live = code.store, live_digests(code)
    for release in [*store.good(code.app), *store.all_of(code.app)]:
        if release.digest != live(release.include):
            return release
    raise ReleaseError(
        f"there is no release of app '{code.app}' that differs from what is in place",
        hint=f"see: flask-supervisor releases {code.app}",
    )


def overlay(code: AppCode, staged: Path, include: Collection[str]) -> None:
    """Link all that lies beside the app's files into the staged version too.

    So it can be imported before it is in place. `swap.begin` removes the links.
    """

    def link(prefix: str) -> None:
        for name in os.listdir(code.path / prefix):
            path = f"{prefix}{name}"
            if path in include or name == swap.WORK or os.path.lexists(staged / path):
                inner = any(entry.startswith(f"{path}/") for entry in include)
                if inner and (staged / path).is_dir():
                    link(f"{path}/")
                continue
            os.symlink(code.path / path, staged / path)

    link("")


def try_staged(
    code: AppCode,
    staged: Path,
    target: str,
    environment: dict[str, str],
    timeout_s: float,
    secrets: Collection[str] = (),
) -> Document:
    """Import the staged version in a child; return ``imported``, the entries it is made of.

    Raises `ReleaseError` with the reason, without ``secrets``, when it can't be imported.
    """
    overlay(code, staged, code.include)
    try:
        found: Document = call_in_child(
            _import_staged,
            staged,
            target,
            environment,
            timeout_s,
            secrets,
            timeout_s=timeout_s + _IMPORT_MARGIN_S,
        )
    except TaskFailed as error:
        raise ReleaseError(f"the process ended while it imported the app: {error}") from error
    if found["reason"] is not None:
        raise ReleaseError(found["reason"], hint=found["hint"])
    return {"imported": found["imported"]}


def _import_staged(
    staged: Path,
    target: str,
    environment: dict[str, str],
    timeout_s: float,
    secrets: Collection[str],
) -> Document:
    from supervisor.worker.importing import import_app

    sys.dont_write_bytecode = True  # the staged files go into place as they are
    os.environ.update(environment)
    _app, report = import_app(target, staged, timeout_s=timeout_s, hide=Redaction(secrets))
    if report is not None:
        return {"reason": report.cause.reason, "hint": report.cause.hint, "imported": []}
    found = entries_of(staged, app_entries.loaded_files())
    return {"reason": None, "hint": None, "imported": found}


def entries_of(staged: Path, module_files: Collection[str]) -> list[str]:
    """Return the entries of the staged version that modules came from, without links."""
    found = app_entries.imported(staged, module_files)
    return [entry for entry in found if not (staged / entry).is_symlink()]
