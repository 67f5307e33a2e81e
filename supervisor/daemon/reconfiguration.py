"""Reads the configuration again while everything runs; an invalid one changes nothing."""

import asyncio
import contextlib
from collections.abc import Callable

from supervisor.config.history import ConfigHistory
from supervisor.config.reading_child import read
from supervisor.config.settings import Config
from supervisor.files.state_dir import StateDir
from supervisor.policy.config_changes import Changes, compare
from supervisor.policy.health_document import CheckFacts
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.supervision.runtime import Runtime
from supervisor.values.errors import ConfigError
from supervisor.values.events import EventKind

_KEEP_S = 2.0  # a slow SD card delays the apps no longer


class Reconfigurer:
    """Reads the configuration again, one reading at a time; ``apply`` puts it into effect."""

    def __init__(self, runtime: Runtime, apply: Callable[[Config, Changes], None]) -> None:
        self._runtime = runtime
        self._apply = apply
        self._lock = asyncio.Lock()
        self._refused: str | None = None

    def check(self) -> CheckFacts | None:
        """Return the check that warns while what runs is not what the file says; None otherwise."""
        fallback = self._runtime.config.fallback
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

    async def read_again(self, *, by: str) -> Changes:
        """Read it, and apply what it changes; what is the same goes on.

        Raises `ConfigError` when it is invalid: then nothing changes.
        """
        async with self._lock:
            before = self._runtime.config
            self._record(f"reading the configuration anew, for {by}")
            try:
                config = await read(before.file, before.origins.environment)
            except ConfigError as error:
                self._refuse(error)
                raise
            changes = compare(before, config)
            self._refused = None
            self._record(f"the configuration: {changes}")
            self._apply(config, changes)
            return changes

    def _refuse(self, error: ConfigError) -> None:
        first, *others = error.problems
        more = f" (and {len(others)} more)" if others else ""
        self._refused = f"the new configuration is invalid: {first}{more}"
        text = "; ".join(error.problems)
        text = f"the new configuration is refused, nothing has changed: {text}"
        self._record(text, problem=True)
        self._runtime.signal.notify()

    def _record(self, text: str, *, problem: bool = False) -> None:
        self._runtime.journal.record(EventKind.CONFIGURATION, text, app=None, problem=problem)


async def keep_config(config: Config, state: StateDir) -> None:
    """Keep a new configuration before anything can end this process; the tidying tries it again."""
    history = ConfigHistory(state.config_history)
    if config.fallback is not None or not (config.text and state.answers):
        return
    if not history.is_newest(config.text):
        with contextlib.suppress(TaskFailed, OSError):
            await run_in_child(history.keep, config.text, timeout_s=_KEEP_S, quiet=True)
