"""What the main process has done in throw-away children, since it must not wait itself."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from supervisor.config.settings import Config
from supervisor.ports.conflict import conflict
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.releases import file_jobs
from supervisor.supervision.worker_handle import Trial
from supervisor.values.reports import Cause

_HOLDERS_TIMEOUT_S = 10.0
_TRY_MARGIN_S = 5.0
_FILES_TIMEOUT_S = 300.0  # an SD card may be slow


class BackgroundJobs:
    """Does it for a main process, which extends this; outcomes come by a call in the loop."""

    config: Config

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Let ``work`` go on beside everything else, until `end_tasks`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end_tasks(self) -> None:
        """Let nothing go on."""
        for task in self._tasks:
            task.cancel()

    def find_holders(self, port: int, tell: Callable[[Cause], None]) -> None:
        """Find out, in a child, who holds ``port``, and call ``tell`` with it."""
        self.run_task(self._find_holders(port, tell))

    async def _find_holders(self, port: int, tell: Callable[[Cause], None]) -> None:
        try:
            cause = await run_in_child(
                conflict, port, os.getpid(), timeout_s=_HOLDERS_TIMEOUT_S, quiet=True
            )
        except (TaskFailed, OSError) as error:
            cause = {"reason": f"port {port} is in use; by whom is unknown: {error}", "hint": None}
        tell(Cause(**cause))

    def work(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        """Do work with files in a child, without waiting, and call ``tell`` with its answer."""
        self.run_task(self._work(function, arguments, tell))

    async def _work(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        try:
            answer = await run_in_child(
                file_jobs.answer, function, *arguments, timeout_s=_FILES_TIMEOUT_S
            )
        except (TaskFailed, OSError) as error:
            reason = f"the work with its files failed: {error}"
            answer = {"ok": False, "reason": reason, "hint": None}
        tell(answer)

    def try_import(self, app: str, watch: list[Any] | None, tell: Callable[[Trial], None]) -> None:
        """Import an app in a throw-away child, and call ``tell`` with the outcome.

        Of one that can't run twice only the files are read.
        """
        self.run_task(self._try_import(app, watch, tell))

    async def _try_import(
        self, app: str, watch: list[Any] | None, tell: Callable[[Trial], None]
    ) -> None:
        settings = self.config.apps[app]
        once = settings.reload == "replace" or settings.bind == "app"
        look = partial(file_jobs.try_import, once=once)
        timeout_s = settings.import_timeout_s + _TRY_MARGIN_S
        try:
            found = await run_in_child(
                look, self.config, app, watch or [], timeout_s=timeout_s, quiet=True
            )
        except (TaskFailed, OSError) as error:
            failed = Cause(reason=f"its import could not be tried: {error}")
            tell(Trial(cause=failed, watch=watch))
            return
        cause = None if found["ok"] else Cause(reason=found["reason"], hint=found["hint"])
        tell(Trial(cause=cause, watch=found["watch"]))
