"""Which user a check is run as, and which folders it can't write to."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from supervisor.process import other_user
from supervisor.process.descent import children_of
from supervisor.process.prctl import become_subreaper
from supervisor.process.private_mounts import Overlays, enter_copy
from supervisor.process.throwaway import call_in_child


@dataclass(frozen=True, slots=True)
class Isolation:
    """Runs functions in throw-away children, as ``user``, who change nothing that is `protected`.

    ``user``: None for the user of this process; others need root. What the children print goes to
    ``on_output``, or to standard error.
    """

    user: str | None = None
    groups: tuple[str, ...] = ()  # of the user, besides those of /etc/group
    on_output: Callable[[bytes], None] | None = None
    overlays: Overlays | None = None

    @contextlib.contextmanager
    def protected(self, folders: Sequence[str]) -> Iterator[Self]:
        """Yield one whose children's writes below ``folders``, real paths, are thrown away.

        From then on this process has mounts of its own and, without root, a user namespace.
        """
        with tempfile.TemporaryDirectory(prefix="flask-supervisor-check-") as scratch:
            overlays = Overlays(folders, scratch)
            overlays.mount()
            try:
                yield replace(self, overlays=overlays)
            finally:
                overlays.close()

    def call(self, function: Callable[..., Any], *arguments: Any, timeout_s: float) -> Any:
        """Run ``function`` as `call_in_child`; nothing that it starts or writes is left."""
        own = set(children_of(os.getpid()))
        become_subreaper()
        try:
            return call_in_child(
                self._enter, function, arguments, timeout_s=timeout_s, on_output=self.on_output
            )
        finally:
            _end_children(own)
            if self.overlays is not None:
                self.overlays.renew()

    def _enter(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if self.overlays is not None:
            enter_copy()
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


def _end_children(own: set[int]) -> None:
    """Kill and reap all children of this process except ``own``: daemons that an app has started.

    One that sudo has given to another user can't be killed.
    """
    while left := [pid for pid in children_of(os.getpid()) if pid not in own]:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except PermissionError:
                own.add(pid)
            else:
                os.waitpid(pid, 0)
