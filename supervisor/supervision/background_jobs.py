"""What the main process does beside its loop: tasks, and work in throw-away children.

The main process must not wait itself, so whatever may block runs in a child; its outcome comes
back by a call in the loop.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from supervisor.config.settings import Config
from supervisor.policy.capacity import CHILD_FILES
from supervisor.ports.conflict import conflict
from supervisor.process.limits import free_files
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.releases import file_jobs
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause

_HOLDERS_TIMEOUT_S = 10.0
_TRIAL_MARGIN_S = 5.0  # beyond import_timeout_s: starting the child, reading the files
_ROOM_S = 1.0
_FILES_TIMEOUT_S = 300.0  # an SD card may be slow

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An import in a throw-away child: why it failed (None: it didn't), and the files before it."""

    cause: Cause | None
    watch: list[Any] | None


class BackgroundJobs:
    """Runs tasks and children on the running loop until `end`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` as a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        """Cancel everything that runs."""
        for task in self._tasks:
            task.cancel()

    def find_holder(self, port: int, found: Callable[[Cause], None]) -> None:
        """Find out in a child who listens on ``port``, and call ``found`` with it."""
        self.run(self._find_holder(port, found))

    async def _find_holder(self, port: int, found: Callable[[Cause], None]) -> None:
        try:
            cause = await run_in_child(
                conflict, port, os.getpid(), timeout_s=_HOLDERS_TIMEOUT_S, quiet=True
            )
        except (TaskFailed, OSError) as error:
            cause = {"reason": f"port {port} is in use; by whom is unknown: {error}", "hint": None}
        found(Cause(**cause))

    def work_with_files(
        self, function: Callable[..., Any], *arguments: Any, done: Callable[[Answer], None]
    ) -> None:
        """Call ``function`` by way of `file_jobs.answer` in a child, and ``done`` with its answer.

        The answer has ``ok``; if that is false, also ``reason`` and ``hint``.
        """
        self.run(self._work_with_files(function, arguments, done))

    async def _until_there_is_room(self) -> None:
        """Wait until a child leaves enough open files for the stand-in."""
        while free_files() < CHILD_FILES:
            await asyncio.sleep(_ROOM_S)

    async def _work_with_files(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        done: Callable[[Answer], None],
    ) -> None:
        await self._until_there_is_room()
        try:
            answer = await run_in_child(
                file_jobs.answer, function, *arguments, timeout_s=_FILES_TIMEOUT_S
            )
        except (TaskFailed, OSError) as error:
            reason = f"the work with its files failed: {error}"
            answer = {"ok": False, "reason": reason, "hint": None}
        done(answer)

    def try_import(
        self, config: Config, app: str, watch: list[Any] | None, done: Callable[[Trial], None]
    ) -> None:
        """Import an app in a child, and call ``done`` with the outcome.

        The files of ``watch`` get new fingerprints before. Of an app that can't run twice the
        files are only read.
        """
        self.run(self._try_import(config, app, watch, done))

    async def _try_import(
        self, config: Config, app: str, watch: list[Any] | None, done: Callable[[Trial], None]
    ) -> None:
        settings = config.apps[app]
        once = settings.runs_once
        trial = partial(file_jobs.try_import, once=once)
        timeout_s = settings.import_timeout_s + _TRIAL_MARGIN_S
        try:
            found = await run_in_child(
                trial, config, app, watch or [], timeout_s=timeout_s, quiet=True
            )
        except (TaskFailed, OSError) as error:
            failed = Cause(reason=f"its import could not be tried: {error}")
            done(Trial(cause=failed, watch=watch))
            return
        cause = None if found["ok"] else Cause(reason=found["reason"], hint=found["hint"])
        done(Trial(cause=cause, watch=found["watch"]))
