"""Which user a check is run as, and which folders it can't write to."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from supervisor.process import other_user
from supervisor.process.private_mounts import keep_unwritten
from supervisor.process.throwaway import call_in_child


@dataclass(frozen=True, slots=True)
class Isolation:
    """Runs functions in throw-away children, as ``user``, who can't write to ``folders``.

    ``user``: None for the user of this process; others need root. What is written below
    ``folders``, real paths, is thrown away. Without both, a child is like this process. What the
    children print goes to ``on_output``, or to standard error.
    """

    user: str | None = None
    folders: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # of the user, besides those of /etc/group
    on_output: Callable[[bytes], None] | None = None

    def call(
        self, place: str, function: Callable[..., Any], *arguments: Any, timeout_s: float
    ) -> Any:
        """Run ``function`` as `call_in_child`; what is written goes to the folder ``place``."""
        scratch = tempfile.mkdtemp(dir=place) if self.folders else None
        return call_in_child(
            self._enter,
            scratch,
            function,
            arguments,
            timeout_s=timeout_s,
            on_output=self.on_output,
        )

    def _enter(
        self, scratch: str | None, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> Any:
        if scratch is not None:
            keep_unwritten(self.folders, scratch)
        if self.user is not None:
            other_user.become(self.user, self.groups)
        return function(*arguments)

    def give(self, *paths: str) -> None:
        """Let the user write to these folders, which this process has created."""
        if self.user is not None:
            for path in paths:
                shutil.chown(path, self.user)

    def environment(self) -> dict[str, str]:
        """Return the variables of this process as the children have them."""
        return {**os.environ, **(other_user.environment(self.user) if self.user else {})}
