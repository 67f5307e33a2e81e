"""Runs one deploy or rollback on the main loop, as the table of `rollout` says.

Everything that touches files happens in throw-away children (`file_steps`). The app is reloaded as
by an operator, and then watched until the time for that is over.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from supervisor.deploy import steps
from supervisor.deploy.file_steps import FileSteps, StepFailed
from supervisor.deploy.request import DeployRequest, Line, without_paths
from supervisor.deploy.watch import GONE, AppWatch
from supervisor.health.probe import ANSWER_S, probe
from supervisor.policy import rollout
from supervisor.policy.rollout import Action, RolloutEvent, RolloutPhase
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.process_set import ProcessSet
from supervisor.supervision.runtime import Runtime
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause
from supervisor.values.states import AppState, CodeSource

_WAIT_S = 60.0  # then the condition is checked anew; what it waits for comes as a notification
_AFTERMATH_S = 0.5  # a worker that ended is reaped soon after its client noticed
# What was begun here is brought to its end before anything else is done.
_WHOLE = (
    RolloutPhase.SWAPPING,
    RolloutPhase.FINISHING,
    RolloutPhase.UNDOING,
    RolloutPhase.RELOADING_OLD,
)

Outcome = dict[str, Any]
Reload = Callable[[AppProcess, str | None], Awaitable[Outcome]]


class Deploy:
    """One rollout, from its beginning to its end; ``reload`` reloads an app's process."""

    def __init__(
        self,
        runtime: Runtime,
        processes: ProcessSet,
        reload: Reload,
        process: AppProcess,
        request: DeployRequest,
    ) -> None:
        self._runtime = runtime
        self._journal = runtime.journal
        self._config = runtime.config
        self._reload = reload
        self._process = process
        self._app = AppWatch(processes, runtime.journal.events, process, request.app)
        self.request = request
        self.lines: list[Line] = []
        path = self._config.app_path(request.app)
        self._same_folder = {  # their files are replaced too, or lie beside those that are
            processes.by_app[name]
            for name in processes.by_app
            if self._config.app_path(name) == path
        }
        code = steps.code_of(self._config, processes.by_app, request.app)
        self._would_remove: list[str] = []  # files that the operator has to be asked about
        self._files = FileSteps(self._config, code, request)
        # an app that is stopped gets its files, and is imported when somebody starts it
        self._is_stopped = self._app.view().state is AppState.STOPPED
        self._paths = self._paths_to_probe()
        self._interrupt: str | None = None
        self._supervisor_ends = False
        self._action: asyncio.Task[RolloutEvent] | None = None
        self._began = runtime.now()
        self._rollout, self._first = rollout.begin(
            request.what,
            self._began,
            watch_s=0.0 if self._is_stopped else self._config.apps[request.app].deploy_watch_s,
            probes=bool(self._paths),
        )

    @property
    def seconds(self) -> float:
        """The time since its beginning."""
        return self._runtime.now() - self._began

    def interrupt(self, by: str, *, supervisor_ends: bool = False) -> None:
        """Have it undone, or refused, as soon as that is safe.

        ``supervisor_ends``: the app is not started with the old files; it ends too.
        """
        self._interrupt = self._interrupt or by
        self._supervisor_ends |= supervisor_ends
        self._runtime.signal.notify()

    async def to_end(self) -> Outcome:
        """Run it; returns how it ended."""
        self._record(f"{self.request.what} begins")
        self._process.known_good.held = True
        try:
            self._take(self._rollout, self._first)
            while self._rollout.phase not in rollout.ENDED:
                event = await self._next_event()
                self._take(*rollout.step(self._rollout, event, self._runtime.now()))
        finally:
            self._process.known_good.held = False
            await self._drop_action()
        if self._rollout.phase is RolloutPhase.REFUSED:
            await self._discard()
        return self._outcome()

    # ---- the loop

    def _take(self, after: rollout.Rollout, actions: Sequence[Action]) -> None:
        is_new = not self.lines or after.phase is not self._rollout.phase
        self._rollout = after
        if is_new and not (after.phase is RolloutPhase.WATCHING and after.watch_s == 0):
            text = self._journal.hide(rollout.progress(after))
            if self._is_stopped and after.phase in (
                RolloutPhase.RELOADING,
                RolloutPhase.RELOADING_OLD,
            ):
                text = "it is stopped: it starts with them when somebody starts it"
            self.lines.append(Line(after.phase, text, self.seconds))
        for action in actions:
            if action is not Action.DISCARD:  # nothing comes back of it: see `to_end`
                self._begin(action)

    def _begin(self, action: Action) -> None:
        if self._action is not None:
            raise RuntimeError(f"{action} was to begin while another action is under way")
        self._action = asyncio.get_running_loop().create_task(self._do(action))
        self._action.add_done_callback(lambda _task: self._runtime.signal.notify())

    async def _next_event(self) -> RolloutEvent:
        """Wait for the next event: an interrupt, the app's end, an action's outcome, the time."""
        while True:
            wakeup = rollout.next_wakeup(self._rollout)
            wait_s = _WAIT_S if wakeup is None else max(0.0, wakeup - self._runtime.now())
            event = await self._runtime.signal.wait_for(self._event, timeout_s=wait_s)
            if event is None and wakeup is not None and self._runtime.now() >= wakeup:
                return rollout.Elapsed()
            if event is None:
                continue
            if isinstance(event, rollout.Interrupted | rollout.Died):
                await self._drop_action()
            if isinstance(event, rollout.Interrupted):
                self._interrupt = None
            return event

    def _event(self) -> RolloutEvent | None:
        """Return what has happened, the most urgent first; None if nothing has."""
        phase = self._rollout.phase
        if self._interrupt is not None and phase not in _WHOLE:
            return rollout.Interrupted(self._interrupt)
        if phase is RolloutPhase.WATCHING and not self._is_stopped:
            died = self._app.died()
            if died is not None:
                return rollout.Died(died)
        if self._action is not None and self._action.done():
            outcome, self._action = self._action.result(), None
            return outcome
        return None

    async def _drop_action(self) -> None:
        """End what is under way, with its child."""
        action, self._action = self._action, None
        if action is not None:
            action.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await action

    # ---- the actions

    async def _do(self, action: Action) -> RolloutEvent:
        doing = {
            Action.STAGE: self._files.stage,
            Action.CHECK: self._files.check,
            Action.KEEP: self._keep,
            Action.SWAP: self._swap,
            Action.RELOAD: self._start,
            Action.PROBE: self._probe,
            Action.COMMIT: self._files.commit,
            Action.UNDO: self._undo,
        }
        try:
            return await doing[action]() or rollout.Succeeded()
        except StepFailed as error:
            cause = error.cause
            self._would_remove = error.would_remove
        except (TaskFailed, OSError) as error:
            cause = Cause(reason=f"{rollout.progress(self._rollout)}: {error}")
        cause = self._hidden(cause)
        return rollout.Probed(cause) if action is Action.PROBE else rollout.Failed(cause)

    async def _swap(self) -> None:
        with self._held("a deploy is putting its new files in place"):
            await self._files.swap()

    async def _undo(self) -> None:
        with self._held("a deploy is putting its old files back"):
            await self._files.undo()

    @contextlib.contextmanager
    def _held(self, reason: str) -> Iterator[None]:
        """Let no worker import from the app's folder in the block: its files are no version."""
        for process in self._same_folder:
            process.hold(Cause(reason=reason, hint="see: flask-supervisor status --watch"))
        try:
            yield
        finally:
            for process in self._same_folder:
                process.release()

    async def _keep(self) -> None:
        await self._files.keep(self._runtime.wall(), self._process.known_good.in_use())

    async def _discard(self) -> None:
        try:
            await self._files.undo()
        except (StepFailed, TaskFailed, OSError) as error:  # the next deploy, or start, tries again
            text = f"what {self.request.what} has left could not be removed: {error}"
            self._record(text, problem=True)

    async def _start(self) -> None:
        """Let the app take the files that are in place now, and wait until it serves."""
        is_undo = self._rollout.phase is RolloutPhase.RELOADING_OLD
        if is_undo and self._supervisor_ends:
            return
        if is_undo and self._app.still_runs_the_old:
            self._app.forget_refusal()
            return
        if self._app.is_gone:
            raise StepFailed(GONE)
        if self._process.state.stopped:
            return
        refusal = self._process.state.refusal
        name = None if self._is_stopped else self.request.app
        outcome = await self._reload(self._process, name)
        if not self._is_stopped:
            view, process = self._app.view(), self._process.state
            if not outcome["ok"] and process.refusal not in (None, refusal):
                raise StepFailed(process.refusal.cause)
            if not outcome["ok"]:
                raise StepFailed(Cause(reason=outcome["reason"], hint=outcome["hint"]))
            if view.state is not AppState.READY:
                raise StepFailed(view.cause or Cause(reason=f"it is {view.state}"))
            if process.source is not CodeSource.LIVE and not is_undo:
                raise StepFailed(self._app.fallback_cause())
        self._app.begin()

    async def _probe(self) -> RolloutEvent:
        address = self._process.ports[self.request.app].address
        limit_s = len(self._paths) * ANSWER_S * 2
        found = await run_in_child(
            probe, address.host, address.port, self._paths, timeout_s=limit_s, quiet=True
        )
        if found["reason"] is None:
            return rollout.Probed()
        # if the worker has ended, that is the better reason: the loop sees it meanwhile
        await self._runtime.signal.wait_for(self._app.died, timeout_s=_AFTERMATH_S)
        return rollout.Probed(Cause(reason=found["reason"], hint=self._app.hint))

    def _paths_to_probe(self) -> list[str]:
        if self._is_stopped:
            return []
        settings = self._config.apps[self.request.app]
        first = [settings.health_path] if settings.health_path else []
        return list(dict.fromkeys([*first, *settings.smoke]))

    # ---- messages

    def _record(self, text: str, *, problem: bool = False) -> None:
        self._journal.record(EventKind.DEPLOY, text, app=self.request.app, problem=problem)

    def _hidden(self, cause: Cause) -> Cause:
        hide = self._journal.hide
        return Cause(reason=hide(cause.reason), hint=cause.hint and hide(cause.hint))

    def _outcome(self) -> Outcome:
        cause = self._hidden(rollout.verdict(self._rollout))
        is_done = self._rollout.phase is RolloutPhase.DONE
        text = without_paths(cause.in_full, self._config)
        if self.request.source is not None:
            text = text.replace(str(self.request.source), self.request.source.name)
        self._record(text, problem=not is_done)
        return {
            "ok": is_done,
            "app": self.request.app,
            "phase": str(self._rollout.phase),
            "reason": cause.reason,
            "hint": cause.hint,
            "seconds": round(self.seconds, 3),
            "kept": self._files.kept,
            "release": self._files.released,
            "notes": self._files.notes,
            "would_remove": self._would_remove,
        }
