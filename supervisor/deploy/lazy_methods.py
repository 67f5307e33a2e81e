"""The ``release.*`` methods, loaded at the first request for one.

What they need takes a third of the time of a start, and mostly nobody asks.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from supervisor.control.methods import Commands
from supervisor.control.server import Method, RequestError
from supervisor.deploy.interrupted_deploys import InterruptedDeploys
from supervisor.supervision.process_set import ProcessSet
from supervisor.supervision.runtime import Runtime
from supervisor.values.reports import Cause

if TYPE_CHECKING:
    from supervisor.deploy.methods import ReleaseCommands

NAMES = ("list", "compare", "files", "deploy", "rollback", "interrupt", "progress")
# A client that sends one of these waits for the end; when it disconnects, they are interrupted.
ENDING_WITH_CLIENT = frozenset({"release.deploy", "release.rollback"})


class LazyReleaseMethods:
    """Has the methods of a `methods.ReleaseCommands`, which is made on first use.

    ``obstacle`` returns why no release can be written now, or None.
    """

    def __init__(
        self,
        runtime: Runtime,
        processes: ProcessSet,
        commands: Commands,
        *,
        obstacle: Callable[[], Cause | None],
    ) -> None:
        self._obstacle = obstacle
        self._runtime = runtime
        self._processes = processes
        self._commands = commands
        self._interrupted = InterruptedDeploys(runtime, processes)
        self._releases: ReleaseCommands | None = None

    def methods(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {f"release.{name}": partial(self._call, f"release.{name}") for name in NAMES}

    async def _call(self, name: str, params: dict[str, Any]) -> Any:
        obstacle = self._obstacle()
        if name in ENDING_WITH_CLIENT and obstacle is not None:
            raise RequestError("state_folder", obstacle.reason, obstacle.hint)
        return await self._loaded().methods()[name](params)

    def _loaded(self) -> "ReleaseCommands":
        if self._releases is None:
            from supervisor.deploy.methods import ReleaseCommands

            self._releases = ReleaseCommands(
                self._runtime, self._processes, self._commands, self._interrupted
            )
        return self._releases

    def begin_recovery(self) -> None:
        """Begin to undo deploys that were cut off; to be called before any app is started."""
        self._interrupted.begin()

    async def stop(self, limit_s: float) -> None:
        """Undo the deploy that is under way, within ``limit_s`` seconds."""
        if self._releases is not None:
            await self._releases.deploying.stop(limit_s)
