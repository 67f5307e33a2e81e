"""What throw-away children do with the files of apps.

Its functions import what they need when they run, in the child: the main process starts sooner
without these modules, and stays smaller.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.config.settings import Config

Answer = dict[str, Any]
AppCodeFields = dict[str, Any]
"""The fields of an `app_code.AppCode`."""


def answer(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Return what ``function`` returns with ``ok``, or ``reason`` and ``hint``."""
    from supervisor.releases import operations

    return operations.answer(function, *arguments)


def try_import(config: Config, app: str, watch: list[Any], *, once: bool) -> Answer:
    """Import an app, or only read its files if it can't run twice; see `app_check.try_app`."""
    from supervisor.health.app_check import try_app

    return try_app(config, app, watch, only_read=once)


def code_differs(
    config: Config,
    apps: list[str],
    watch: list[dict[str, Any]],
    contents: dict[str, str],
    loaded: list[str],
) -> Answer:
    """Return whether what ``apps`` of one process run ``differs`` from their files."""
    from supervisor.source.code_difference import differs
    from supervisor.worker.importing import app_search_path

    path = config.app_path(apps[0])
    targets = [entry for app in apps if (entry := config.apps[app].entry)]
    targets += [function for app in apps for function in config.apps[app].after_import]
    return {"differs": differs(path, targets, app_search_path(path), watch, contents, loaded)}


def describe(code: AppCodeFields, before: dict[str, str] | None) -> Answer:
    """Return which version of an app the live files are; see `versions.describe`."""
    from supervisor.releases import versions
    from supervisor.releases.app_code import AppCode

    return versions.describe(AppCode(**code), before)


def keep_good(
    code: AppCodeFields, before: dict[str, str] | None, created: str, in_use: list[Path]
) -> Answer:
    """Keep the files of an app that has proven good; see `operations.keep_good`."""
    from supervisor.releases import operations
    from supervisor.releases.app_code import AppCode

    return operations.keep_good(AppCode(**code), before, created, in_use)


def note_written(code: AppCodeFields, paths: list[str]) -> Answer:
    """Note files that an app has written itself; see `operations.note_written`."""
    from supervisor.releases import operations
    from supervisor.releases.app_code import AppCode

    return operations.note_written(AppCode(**code), paths)


def find_good(code: AppCodeFields) -> Answer:
    """Return the newest good release whose files are as they were kept.

    ``name`` is null where there is none; ``faults`` names those that are damaged.
    """
    from supervisor.releases.app_code import AppCode

    store, faults = AppCode(**code).store, []
    for release in store.good(code["owner"]):
        wrong = store.faults(release)
        if wrong:
            faults.append(f"{release.name} ({wrong[0]})")
            continue
        git = release.git or {}
        return {
            "name": release.name,
            "path": str(release.files),
            "digest": release.digest,
            "commit": git.get("commit"),
            "dirty": git.get("dirty"),
            "faults": faults,
        }
    return {"name": None, "faults": faults}


def tidy(state_dir: Path, config_text: bytes, wall: str) -> Answer:
    """Remove leftovers from the releases, and keep the configuration, which has come up.

    Return what was set aside, as ``aside``.
    """
    from supervisor.config.history import ConfigHistory
    from supervisor.files.state_dir import StateDir
    from supervisor.releases.store import Releases

    aside = Releases(StateDir(state_dir).releases).tidy()
    if config_text:
        ConfigHistory(StateDir(state_dir).config_history).keep(config_text)
    return {"aside": aside}
