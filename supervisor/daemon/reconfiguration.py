"""Reads the configuration anew while everything runs; an invalid one changes nothing."""

import asyncio
from typing import Protocol

from supervisor.config.reading_child import read
from supervisor.config.settings import Config
from supervisor.policy.config_changes import Changes, compare
from supervisor.policy.health_document import CheckFacts
from supervisor.values.errors import ConfigError
from supervisor.values.events import EventKind


class Configured(Protocol):
    """What has a configuration, and can take another one."""

    config: Config

    def tell(self, kind: EventKind, text: str, *, app: str | None, problem: bool = False) -> None:
        """Log and remember an event."""

    def configure(self, config: Config, changes: Changes) -> None:
        """Take ``config``, which changes what ``changes`` says."""

    def changed(self) -> None:
        """Take note that something monitors can see has changed."""


class Reconfigurer:
    """Reads the configuration of ``owner`` anew, one reading at a time."""

    def __init__(self, owner: Configured) -> None:
        self._owner = owner
        self._lock = asyncio.Lock()
        self._refused: str | None = None

    def check(self) -> CheckFacts | None:
        """Give the check that warns while what runs is not what stands in the file."""
        fallback = self._owner.config.fallback
        if self._refused is None and fallback is not None:
            return CheckFacts(
                name="configuration",
                reason=fallback.reason,
                hint=fallback.hint,
                critical=False,
            )
        if self._refused is None:
            return None
        return CheckFacts(
            name="configuration",
            reason=self._refused,
            hint="what runs goes on; see: flask-supervisor config check",
            critical=False,
        )

    async def read_anew(self, *, by: str) -> Changes:
        """Read it, and change what it changes; what is the same goes on.

        Raises `ConfigError` when it is invalid: then nothing changes.
        """
        async with self._lock:
            owner = self._owner
            text = f"reading the configuration anew, for {by}"
            owner.tell(EventKind.CONFIGURATION, text, app=None)
            try:
                config = await read(owner.config.file, owner.config.sources.environment)
            except ConfigError as error:
                self._refuse(error)
                raise
            changes = compare(owner.config, config)
            self._refused = None
            owner.tell(EventKind.CONFIGURATION, f"the configuration: {changes}", app=None)
            owner.configure(config, changes)
            return changes

    def _refuse(self, error: ConfigError) -> None:
        first, *others = error.problems
        more = f" (and {len(others)} more)" if others else ""
        self._refused = f"the new configuration is invalid: {first}{more}"
        text = "; ".join(error.problems)
        text = f"the new configuration is refused, nothing has changed: {text}"
        self._owner.tell(EventKind.CONFIGURATION, text, app=None, problem=True)
        self._owner.changed()
