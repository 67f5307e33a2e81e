"""The ``release.*`` methods, loaded when they are asked for first.

What they need takes a third of the time of a start, and mostly nobody asks.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from supervisor.commands import Commands
from supervisor.control import Method

if TYPE_CHECKING:
    from supervisor.deploying import Host
    from supervisor.release_commands import ReleaseCommands

NAMES = ("list", "compare", "deploy", "rollback", "interrupt", "progress")
# Whoever asks for these waits for the end; when the client is gone they are interrupted.
ENDING_WITH_CLIENT = frozenset({"release.deploy", "release.rollback"})


class LaterReleases:
    """Gives the methods of a `release_commands.ReleaseCommands` that is made on first use."""

    def __init__(self, host: "Host", asked: Commands) -> None:
        self._host = host
        self._asked = asked
        self._commands: ReleaseCommands | None = None

    def methods(self) -> dict[str, Method]:
        """Give the methods by name."""
        return {f"release.{name}": partial(self._call, f"release.{name}") for name in NAMES}

    async def _call(self, name: str, params: dict[str, Any]) -> Any:
        if self._commands is None:
            from supervisor.release_commands import ReleaseCommands

            self._commands = ReleaseCommands(self._host, self._asked)
        return await self._commands.methods()[name](params)

    async def stop(self, limit_s: float) -> None:
        """Undo what is under way, within ``limit_s`` seconds."""
        if self._commands is not None:
            await self._commands.deploying.stop(limit_s)
