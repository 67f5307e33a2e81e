"""Undoes deploys that the end of the last supervisor cut off, while every port answers already."""

import os
from pathlib import Path

from supervisor.config.settings import Config
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.supervision.process_set import ProcessSet
from supervisor.supervision.runtime import Runtime
from supervisor.values.constants import SWAP_FOLDER
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause

_RECOVER_S = 3600.0  # a slow card may need minutes; the apps of other folders serve meanwhile
_HELD = Cause(
    reason="recovering: a deploy was cut off, and the old version is being put back",
    hint="it starts by itself when that is done",
)


class InterruptedDeploys:
    """Puts the old versions back, and starts the apps of these folders only then."""

    def __init__(self, runtime: Runtime, processes: ProcessSet) -> None:
        self._runtime = runtime
        self._processes = processes
        self.under_way = False

    def begin(self) -> None:
        """Hold the apps whose folders a deploy has left unfinished, and begin to undo it."""
        config = self._runtime.config
        paths = {config.app_path(name) for name in config.apps} - self._runtime.silent
        left = sorted(path for path in paths if os.path.lexists(path / SWAP_FOLDER))
        if not left:
            return
        self.under_way = True
        held = [
            process
            for process in self._processes.by_name.values()
            if any(config.app_path(name) in left for name in process.names)
        ]
        for process in held:
            process.hold(_HELD)

        async def undo() -> None:
            try:
                await self._undo(config, left)
            finally:
                self.under_way = False
            for process in held:
                process.release()

        self._runtime.jobs.run(undo())

    async def _undo(self, config: Config, left: list[Path]) -> None:
        from supervisor.deploy.request import without_paths  # few starts need them
        from supervisor.releases import operations

        try:
            found = await run_in_child(operations.recover, left, timeout_s=_RECOVER_S)
        except (TaskFailed, OSError) as error:
            found = {"undone": [], "problems": [f"what a deploy has left is there: {error}"]}
        names = {str(path): [n for n in config.apps if config.app_path(n) == path] for path in left}
        journal = self._runtime.journal
        for path in found["undone"]:
            text = "the supervisor had ended in the middle of a deploy: the old version is back"
            for name in names[path]:
                journal.record(EventKind.DEPLOY, text, app=name)
        for problem in found["problems"]:
            text = without_paths(problem.replace("\n", ";"), config)
            journal.record(EventKind.DEPLOY, text, app=None, problem=True)
