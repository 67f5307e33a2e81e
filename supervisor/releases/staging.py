"""Puts a new version beside the app, and imports it there before it goes into place."""

import os
from collections.abc import Collection
from pathlib import Path

from supervisor.process.throwaway import TaskFailed, call_in_child
from supervisor.releases import swap, unpacking
from supervisor.releases.app_code import AppCode, Document
from supervisor.releases.release import Release, ReleaseError
from supervisor.releases.single_file import is_single_file, stage_file
from supervisor.releases.versions import live_digests
from supervisor.source import app_entries
from supervisor.values.constants import SWAP_FOLDER
from supervisor.values.redaction import Redaction

_IMPORT_MARGIN_S = 2.0


def stage_source(code: AppCode, source: Path, explicit: bool) -> Document:
    """Unpack what is to be deployed beside the app; return where it lies, as ``staged``.

    Return also ``only`` and ``include``: a single file replaces nothing else. ``explicit``: the
    configuration names what belongs to the app, and nothing else is taken.
    """
    folder = swap.prepare(code.path)
    if is_single_file(source):
        path = stage_file(code, source, folder)
        return {"staged": str(folder), "only": True, "include": [path]}
    only = None
    if source.is_dir():
        names = {entry.split("/")[0] for entry in code.include}
        only = names if explicit else names | _candidates(source)
    links = unpacking.unpack(source, folder, only=only, home=code.path)
    unpacking.refuse_links(source, links, ".", code.include)
    wanted = code.include or tuple(app_entries.candidates(folder))
    root = unpacking.find_root(folder, wanted)
    inside = os.path.relpath(root, folder)
    if not explicit:
        tops = [os.path.relpath(path, inside) for path in links.leading_out]
        tops = [name for name in tops if "/" not in name]
        wanted += tuple(name for name in tops if app_entries.is_named_like_code(name))
        wanted += tuple(app_entries.candidates(root))
    unpacking.refuse_links(source, links, inside, wanted)
    return {"staged": str(root), "only": False, "include": []}


def _candidates(source: Path) -> set[str]:
    """Return the names in a folder that may be code: of modules, and of other files at its top."""
    files = [name for name in os.listdir(source) if (source / name).is_file()]
    return {*app_entries.candidates(source), *app_entries.code_among(files)}


def stage_release(code: AppCode, wanted: str | None) -> Document:
    """Copy a release beside the app; without a name the last good one that isn't live.

    Return ``staged``, ``name`` and the release's ``include``.
    """
    release = code.store.find(code.owner, wanted) if wanted else _last_good_not_live(code)
    folder = swap.prepare(code.path)
    code.store.copy_out(release, folder)
    return {"staged": str(folder), "name": release.name, "include": list(release.include)}


def _last_good_not_live(code: AppCode) -> Release:
    store, live = code.store, live_digests(code)
    for release in [*store.good(code.owner), *store.all_of(code.owner)]:
        if release.digest != live(release.include):
            return release
    raise ReleaseError(
        f"there is no release of app '{code.app}' that differs from what is in place",
        hint=f"see: flask-supervisor releases {code.app}",
    )


def see_staged(code: AppCode, staged: Path, *, only: bool = False) -> None:
    """Let this process see the app's folder with the staged version in place.

    What the app writes there meanwhile goes into a folder that `swap` removes. ``only``: live files
    that the version lacks stay.
    """
    from supervisor.worker.code_view import CodeView, installed

    if installed() is not None:
        return
    scratch = code.path / SWAP_FOLDER / "scratch"
    scratch.mkdir(mode=0o700, exist_ok=True)
    include = () if only else code.include
    CodeView(code.path, staged, include=include, scratch=scratch).install()


def try_staged(
    code: AppCode,
    staged: Path,
    target: str,
    environment: dict[str, str],
    timeout_s: float,
    secrets: Collection[str] = (),
    *,
    only: bool = False,
) -> Document:
    """Import the staged version in a child; return ``imported``, the entries it is made of.

    ``lacking`` are files that it reads at its import, and that only the live version has.
    Raises `ReleaseError` with the reason, without ``secrets``, when it can't be imported.
    """
    try:
        found: Document = call_in_child(
            _import_staged,
            code,
            staged,
            target,
            environment,
            timeout_s,
            secrets,
            only,
            timeout_s=timeout_s + _IMPORT_MARGIN_S,
        )
    except TaskFailed as error:
        raise ReleaseError(f"the process ended while it imported the app: {error}") from error
    if found["reason"] is not None:
        raise ReleaseError(found["reason"], hint=found["hint"])
    read = [path for path in found["read"] if os.path.lexists(staged / path)]
    lacking = [] if only else sorted({*found["read"]} - {*read})
    return {"imported": [*entries_of(code, staged, found["files"]), *read], "lacking": lacking}


def _import_staged(
    code: AppCode,
    staged: Path,
    target: str,
    environment: dict[str, str],
    timeout_s: float,
    secrets: Collection[str],
    only: bool,
) -> Document:
    from supervisor.worker.file_record import FileRecord
    from supervisor.worker.importing import import_app

    see_staged(code, staged, only=only)
    os.environ.update(environment)
    record = FileRecord(code.path).install()
    _app, report = import_app(
        target,
        code.path,
        timeout_s=timeout_s,
        count_missing=False,
        hide=Redaction(secrets),
    )
    if report is not None:
        return {"reason": report.cause.reason, "hint": report.cause.hint}
    files = sorted(app_entries.loaded_files())
    imported = app_entries.imported(code.path, files)
    read = app_entries.files_used(code.path, imported, record.read, record.sources)
    return {"reason": None, "files": files, "read": read}


def entries_of(code: AppCode, staged: Path, files: Collection[str]) -> list[str]:
    """Return the entries of the staged version that ``files`` came from, under live names."""
    found = app_entries.imported(code.path, files)
    return [entry for entry in found if os.path.lexists(staged / entry)]
