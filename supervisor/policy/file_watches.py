"""Which files of a process are worth watching: a pure function of its state and its apps'."""

from collections.abc import Mapping

from supervisor.policy.app_state import AppRecord
from supervisor.policy.process_state import ProcessState
from supervisor.values.states import AppState, CodeSource
from supervisor.values.watch_requests import WatchKey, WatchRequest, WatchSubject

STALE_EVERY_S = 10.0  # whether the code that runs is still the code on disk
REPAIR_EVERY_S = 0.5  # whether what waits for a repair has been repaired

_AWAITS_REPAIR = (AppState.STARTING, AppState.BACKOFF, AppState.FAILED)


def watches(
    name: str,
    process: ProcessState,
    apps: Mapping[str, AppRecord],
    *,
    reload_on_change: bool,
) -> list[WatchRequest]:
    """Return what to watch for the process ``name``.

    The files of the newest import, while a repair of them would be tried; those of the generation
    that serves, to see that it is stale; those of each app that its serving process lacks.
    """
    found = []
    if process.watch is not None and (awaits_repair(process) or reload_on_change):
        key = WatchKey(process=name, subject=WatchSubject.NEWEST, number=process.generation)
        found.append(WatchRequest(key=key, watch=process.watch, every_s=REPAIR_EVERY_S))
    serving = process.serving
    if serving is None:
        return found
    if serving.watch is not None:
        key = WatchKey(process=name, subject=WatchSubject.SERVING, number=serving.generation)
        found.append(WatchRequest(key=key, watch=serving.watch, every_s=STALE_EVERY_S))
    for app_name, app in apps.items():
        if app.watch is not None and not app.stopped:
            key = WatchKey(process=name, subject=WatchSubject.APP, number=app.attempt, app=app_name)
            found.append(WatchRequest(key=key, watch=app.watch, every_s=REPAIR_EVERY_S))
    return found


def awaits_repair(process: ProcessState) -> bool:
    """Return whether the live code is not what serves, so that a change of it is tried at once."""
    return process.source is CodeSource.KNOWN_GOOD or process.state in _AWAITS_REPAIR
