"""The ``release.*`` methods, loaded when they are asked for first.

What they need takes a third of the time of a start, and mostly nobody asks.
"""

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from supervisor.control.methods import Commands
from supervisor.control.server import Method
from supervisor.values.constants import SWAP_FOLDER

if TYPE_CHECKING:
    from supervisor.deploy.deploy import Host
    from supervisor.deploy.methods import ReleaseCommands

NAMES = ("list", "compare", "deploy", "rollback", "interrupt", "progress")
# Whoever asks for these waits for the end; when the client is gone they are interrupted.
ENDING_WITH_CLIENT = frozenset({"release.deploy", "release.rollback"})


class LazyReleaseMethods:
    """Gives the methods of a `methods.ReleaseCommands` that is made on first use."""

    def __init__(self, host: "Host", asked: Commands) -> None:
        self._host = host
        self._asked = asked
        self._commands: ReleaseCommands | None = None

    def methods(self) -> dict[str, Method]:
        """Give the methods by name."""
        return {f"release.{name}": partial(self._call, f"release.{name}") for name in NAMES}

    async def _call(self, name: str, params: dict[str, Any]) -> Any:
        return await self._loaded().methods()[name](params)

    def _loaded(self) -> "ReleaseCommands":
        if self._commands is None:
            from supervisor.deploy.methods import ReleaseCommands

            self._commands = ReleaseCommands(self._host, self._asked)
        return self._commands

    async def recover(self) -> None:
        """Bring the apps' files in order, if a deploy was cut off: before any app is started."""
        config = self._host.config
        if any(os.path.lexists(config.app_path(name) / SWAP_FOLDER) for name in config.apps):
            await self._loaded().deploying.recover()

    async def stop(self, limit_s: float) -> None:
        """Undo what is under way, within ``limit_s`` seconds."""
        if self._commands is not None:
            await self._commands.deploying.stop(limit_s)
