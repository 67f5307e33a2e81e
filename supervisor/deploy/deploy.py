"""Runs one deploy or rollback on the main loop, as the table of `rollout` says.

Everything that touches files happens in throw-away children (`codes`). The app is told to reload
like by an operator, and then looked at until the time of watching is over.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from supervisor.config.settings import Config
from supervisor.deploy import steps
from supervisor.deploy.watch import GONE, AppWatch, Watcher
from supervisor.health.probe import ANSWER_S, probe
from supervisor.policy import rollout
from supervisor.policy.rollout import Action, RolloutEvent, RolloutPhase
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.releases import operations
from supervisor.supervision.app_process import AppProcess
from supervisor.values.events import EventKind
from supervisor.values.redaction import Redaction
from supervisor.values.reports import Cause
from supervisor.values.states import AppState, CodeSource

_POLL_S = 0.03
_FILES_S = 600.0  # 100 MB on a slow SD card, and more
_CHECK_MARGIN_S = 90.0  # reading the files, and starting another interpreter
_AFTERMATH_S = 0.5  # a worker that ended is reaped soon after its client noticed
# What was begun here is brought to its end before anything else is done.
_WHOLE = (
    RolloutPhase.SWAPPING,
    RolloutPhase.FINISHING,
    RolloutPhase.UNDOING,
    RolloutPhase.RELOADING_OLD,
)

Outcome = dict[str, Any]


class Host(Watcher, Protocol):
    """What a rollout needs of the supervisor."""

    config: Config
    hide: Redaction

    def now(self) -> float:
        """Give the monotonic time in seconds."""

    def wall(self) -> str:
        """Give the wall time, for people."""

    def tell(self, kind: EventKind, text: str, *, app: str | None, problem: bool = False) -> None:
        """Log and remember an event."""


Reload = Callable[[AppProcess, str | None], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployRequest:
    """What an operator wants: ``source`` deployed, or a release back (None: the last good one)."""

    app: str
    source: Path | None = None
    release: str | None = None
    key: str | None = None  # by which whoever wishes knows it again

    @property
    def what(self) -> str:
        """What it is called in messages."""
        if self.source is not None:
            return f"the deploy of {self.source.name} to app '{self.app}'"
        return f"the rollback of app '{self.app}'" + (f" to {self.release}" if self.release else "")

    @property
    def note(self) -> str:
        """What is written down with the release of the files that it replaces."""
        if self.source is not None:
            return f"before the deploy of {self.source.name}"
        return "before a rollback"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of progress; ``after_s`` is the time since the beginning."""

    phase: RolloutPhase
    text: str
    after_s: float


def without_paths(text: str, config: Config) -> str:
    """Give ``text`` with the folders of apps as they are configured: events are public."""
    for name, app in config.apps.items():
        text = text.replace(str(config.app_path(name)), app.path)
    return text.replace(str(config.state_dir), "the state folder")


class _NotDone(Exception):
    """An action failed; for `Deploy._do`."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.reason)
        self.cause = cause


class Deploy:
    """One rollout, from its beginning to its end."""

    def __init__(
        self, host: Host, reload: Reload, service: AppProcess, wish: DeployRequest
    ) -> None:
        self._host = host
        self._reload = reload
        self._service = service
        self._app = AppWatch(host, service, wish.app)
        self._config = host.config
        self._settings = host.config.apps[wish.app]
        self.wish = wish
        self.lines: list[Line] = []
        self._code = steps.code_of(self._config, host.services(), wish.app)
        # an app that is stopped gets its files, and is looked at when somebody starts it
        self._is_stopped = self._app.view().state is AppState.STOPPED
        self._paths = self._paths_to_ask()
        self._staged = Path()
        self._imported: Sequence[str] = ()
        self._expected: dict[str, str] = {}
        self._kept: str | None = None
        self._released: str | None = None
        self._interrupt: str | None = None
        self._supervisor_ends = False
        self._action: asyncio.Task[RolloutEvent] | None = None
        self._began = host.now()
        self._rollout, self._first = rollout.begin(
            wish.what,
            self._began,
            watch_s=0.0 if self._is_stopped else self._settings.deploy_watch_s,
            probes=bool(self._paths),
        )

    @property
    def seconds(self) -> float:
        """The time since its beginning."""
        return self._host.now() - self._began

    @property
    def phase(self) -> RolloutPhase:
        """Where it is."""
        return self._rollout.phase

    def interrupt(self, by: str, *, supervisor_ends: bool = False) -> None:
        """Have it undone, or refused, as soon as that can be.

        ``supervisor_ends``: the app is not started with the old files; it ends too.
        """
        self._interrupt = self._interrupt or by
        self._supervisor_ends |= supervisor_ends

    async def to_end(self) -> Outcome:
        """Do it; gives how it ended."""
        self._host.tell(EventKind.DEPLOY, f"{self.wish.what} begins", app=self.wish.app)
        self._service.keeper.held = True
        try:
            self._take(self._rollout, self._first)
            while self._rollout.phase not in rollout.ENDED:
                event = await self._next_event()
                self._take(*rollout.step(self._rollout, event, self._host.now()))
        finally:
            self._service.keeper.held = False
            await self._drop_action()
        if self._rollout.phase is RolloutPhase.REFUSED:
            await self._discard()
        return self._outcome()

    # ---- the loop

    def _take(self, after: rollout.Rollout, actions: Sequence[Action]) -> None:
        is_new = not self.lines or after.phase is not self._rollout.phase
        self._rollout = after
        if is_new and not (after.phase is RolloutPhase.WATCHING and after.watch_s == 0):
            text = self._host.hide(rollout.progress(after))
            if self._is_stopped and after.phase in (
                RolloutPhase.RELOADING,
                RolloutPhase.RELOADING_OLD,
            ):
                text = "it is stopped: it starts with them when somebody starts it"
            self.lines.append(Line(after.phase, text, self.seconds))
        for action in actions:
            if action is not Action.DISCARD:  # nobody answers it: see `to_end`
                assert self._action is None, action
                self._action = asyncio.get_running_loop().create_task(self._do(action))

    async def _next_event(self) -> RolloutEvent:
        while True:
            phase = self._rollout.phase
            if self._interrupt is not None and phase not in _WHOLE:
                await self._drop_action()
                event = rollout.Interrupted(self._interrupt)
                self._interrupt = None
                return event
            if phase is RolloutPhase.WATCHING and not self._is_stopped:
                died = self._app.died()
                if died is not None:
                    await self._drop_action()
                    return rollout.Died(died)
            if self._action is not None and self._action.done():
                outcome, self._action = self._action.result(), None
                return outcome
            wakeup = rollout.next_wakeup(self._rollout)
            if wakeup is not None and self._host.now() >= wakeup:
                return rollout.Elapsed()
            await self._pause()

    async def _pause(self) -> None:
        if self._action is None:
            await asyncio.sleep(_POLL_S)
        else:
            await asyncio.wait([self._action], timeout=_POLL_S)

    async def _drop_action(self) -> None:
        """End what is under way, with its child."""
        action, self._action = self._action, None
        if action is not None:
            action.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await action

    # ---- what is done

    async def _do(self, action: Action) -> RolloutEvent:
        doing = {
            Action.STAGE: self._stage,
            Action.CHECK: self._check,
            Action.KEEP: self._keep,
            Action.SWAP: self._swap,
            Action.RELOAD: self._start,
            Action.PROBE: self._probe,
            Action.COMMIT: self._commit,
            Action.UNDO: self._undo,
        }
        try:
            return await doing[action]() or rollout.Succeeded()
        except _NotDone as error:
            cause = error.cause
        except (TaskFailed, OSError) as error:
            cause = Cause(reason=f"{rollout.progress(self._rollout)}: {error}")
        cause = self._hidden(cause)
        return rollout.Probed(cause) if action is Action.PROBE else rollout.Failed(cause)

    async def _in_child(
        self, function: Callable[..., Any], *arguments: Any, timeout_s: float = _FILES_S
    ) -> Outcome:
        """Call it by way of `operations.answer` in a child; raises `_NotDone` with its reason."""
        imports = function is steps.check  # what the new version prints is not told: it isn't live
        found: Outcome = await run_in_child(
            operations.answer, function, *arguments, timeout_s=timeout_s, quiet=imports
        )
        if not found["ok"]:
            raise _NotDone(Cause(reason=found["reason"], hint=found["hint"]))
        return found

    async def _stage(self) -> None:
        if self.wish.source is not None:
            found = await self._in_child(steps.stage, self._config, self._code, self.wish.source)
        else:
            found = await self._in_child(
                steps.stage_release, self._config, self._code, self.wish.release
            )
            self._released = found["name"]
        self._staged = Path(found["staged"])
        self._code = replace(
            self._code, include=tuple(found["include"]), others=tuple(found["others"])
        )

    async def _check(self) -> None:
        wanted_s = sum(required.timeout_s for required in self._settings.requires)
        limit_s = self._settings.import_timeout_s + wanted_s + _CHECK_MARGIN_S
        found = await self._in_child(
            steps.check, self._config, self._code, self._staged, timeout_s=limit_s
        )
        self._imported = found["imported"]

    async def _keep(self) -> None:
        # also what only the new version names: whatever is replaced has to be kept
        include = tuple(sorted({*self._code.include, *self._imported}))
        self._code = replace(self._code, include=include)
        found = await self._in_child(
            operations.keep_live,
            self._code,
            self.wish.note,
            self._host.wall(),
            self._service.keeper.in_use(),
        )
        self._kept, self._expected = found["name"], found["fingerprints"]

    async def _swap(self) -> None:
        await self._in_child(
            operations.put_in_place, self._code, self._staged, self._imported, self._expected
        )

    async def _commit(self) -> None:
        await self._in_child(operations.make_final, self._code)

    async def _undo(self) -> None:
        await self._in_child(operations.take_back, self._code)

    async def _discard(self) -> None:
        try:
            await self._in_child(operations.take_back, self._code)
        except (_NotDone, TaskFailed, OSError) as error:  # the next deploy, or start, tries again
            text = f"what {self.wish.what} has left could not be removed: {error}"
            self._host.tell(EventKind.DEPLOY, text, app=self.wish.app, problem=True)

    async def _start(self) -> None:
        """Let the app take the files that are in place now, and wait until it serves."""
        is_undo = self._rollout.phase is RolloutPhase.RELOADING_OLD
        if is_undo and (self._supervisor_ends or self._app.runs_the_old()):
            return
        if self._app.is_gone:
            raise _NotDone(GONE)
        if self._service.life.stopped:
            return
        refusal = self._service.life.refusal
        outcome = await self._reload(self._service, None if self._is_stopped else self.wish.app)
        if not self._is_stopped:
            life = self._app.view()
            if not outcome["ok"] and life.refusal not in (None, refusal):
                raise _NotDone(life.refusal.cause)
            if not outcome["ok"]:
                raise _NotDone(Cause(reason=outcome["reason"], hint=outcome["hint"]))
            if life.state is not AppState.READY:
                raise _NotDone(life.cause or Cause(reason=f"it is {life.state}"))
            if life.source is not CodeSource.LIVE and not is_undo:
                raise _NotDone(self._app.fallen_back(life))
        self._app.begin()

    async def _probe(self) -> RolloutEvent:
        address = self._service.members[self.wish.app].port.address
        limit_s = len(self._paths) * ANSWER_S * 2
        found = await run_in_child(
            probe, address.host, address.port, self._paths, timeout_s=limit_s, quiet=True
        )
        if found["reason"] is None:
            return rollout.Probed()
        # if the worker has ended, that says more: `died` is asked meanwhile
        await asyncio.sleep(_AFTERMATH_S)
        return rollout.Probed(Cause(reason=found["reason"], hint=self._app.hint))

    def _paths_to_ask(self) -> list[str]:
        if self._is_stopped:
            return []
        first = [self._settings.health_path] if self._settings.health_path else []
        return list(dict.fromkeys([*first, *self._settings.smoke]))

    # ---- what is said

    def _hidden(self, cause: Cause) -> Cause:
        hint = cause.hint and self._host.hide(cause.hint)
        return Cause(reason=self._host.hide(cause.reason), hint=hint)

    def _outcome(self) -> Outcome:
        cause = self._hidden(rollout.verdict(self._rollout))
        is_done = self._rollout.phase is RolloutPhase.DONE
        told = without_paths(cause.in_full, self._config)
        if self.wish.source is not None:
            told = told.replace(str(self.wish.source), self.wish.source.name)
        self._host.tell(EventKind.DEPLOY, told, app=self.wish.app, problem=not is_done)
        return {
            "ok": is_done,
            "app": self.wish.app,
            "phase": str(self._rollout.phase),
            "reason": cause.reason,
            "hint": cause.hint,
            "seconds": round(self.seconds, 3),
            "kept": self._kept,
            "release": self._released,
        }
