"""Whether the files of apps are still what was imported: the status worker watches them.

When it can't, since its port is taken or it starts, a throw-away child compares them each second.
"""

import asyncio

from supervisor.daemon.state_folder import StateFolder
from supervisor.process.channel import Message
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.source.fingerprints import changed
from supervisor.supervision.process_set import ProcessSet
from supervisor.supervision.runtime import Runtime
from supervisor.values.states import AppState
from supervisor.values.watch_requests import WatchKey, WatchRequest, WatchSubject

_TIMEOUT_S = 10.0
_URGENT_S = 5.0  # what is watched less often than this can wait for the status worker


class FileWatching:
    """Reports to ``processes`` and ``folder`` which of their files have changed."""

    def __init__(self, runtime: Runtime, processes: ProcessSet, folder: StateFolder) -> None:
        self._runtime = runtime
        self._folder = folder
        self._processes = processes
        self._compares = False

    def watches(self) -> list[WatchRequest]:
        """Return which files to watch."""
        return [*self._processes.watches(), *self._folder.watches()]

    def on_message(self, message: Message) -> None:
        """Handle what the status worker found."""
        if message["type"] == "files":
            self._found(WatchKey.from_json(message["key"]), changed=message["changed"])

    def on_tick(self) -> None:
        """Compare files in a child while the status worker can't."""
        if self._processes.status.state.state is not AppState.READY and not self._compares:
            urgent = [one for one in self.watches() if one.every_s < _URGENT_S]
            if urgent:
                self._compares = True
                self._runtime.jobs.run(self._compare(urgent))

    async def stale_processes(self) -> set[str]:
        """Return the names of processes whose code is not that on the disk, or waits for a repair.

        Raises `TaskFailed` or OSError when that can't be found out.
        """
        changed = await _changed_by_disk(
            [one for one in self._processes.watches() if one.key.subject != WatchSubject.LISTENER]
        )
        names = list({key.process for key in changed})
        apps = {key.process for key in changed if key.subject is WatchSubject.APP}
        differ = await asyncio.gather(*(self._differs(name) for name in names if name not in apps))
        return apps | {name for name in differ if name is not None}

    async def _differs(self, name: str) -> str | None:
        """Return ``name`` unless the code of its process has the same content as its files."""
        process = self._processes.by_name.get(name)
        if process is None or process.state.state is not AppState.READY:
            return name
        verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        process.compare_code(lambda it: None if verdict.done() else verdict.set_result(it))
        try:
            return name if await asyncio.wait_for(verdict, _TIMEOUT_S) else None
        except TimeoutError:
            return name

    async def _compare(self, watches: list[WatchRequest]) -> None:
        try:
            found = await _changed_by_disk(watches)
        except (TaskFailed, OSError):
            return  # the next tick tries again, and so does each retry of an app
        finally:
            self._compares = False
        for key in found:
            self._found(key, changed=True)

    def _found(self, key: WatchKey, *, changed: bool) -> None:
        if not key.process and changed:
            self._folder.on_gone(key.number)
        for process in self._processes.all():
            if process.name == key.process:
                process.on_files(key, changed=changed)


async def _changed_by_disk(watches: list[WatchRequest]) -> list[WatchKey]:
    """Return the keys of the watches whose files have changed; a disk that hangs counts as same."""
    try:
        return await _changed(watches)
    except TaskFailed:
        each = [_changed([watch]) for watch in watches]
        answers = await asyncio.gather(*each, return_exceptions=True)
        return [key for keys in answers if not isinstance(keys, BaseException) for key in keys]


async def _changed(watches: list[WatchRequest]) -> list[WatchKey]:
    """Return the keys of the watches whose files have changed."""
    by_number = {str(number): watch.to_json() for number, watch in enumerate(watches)}
    found = await run_in_child(changed, by_number, timeout_s=_TIMEOUT_S, quiet=True)
    return [watches[int(number)].key for number in found]
