"""Waits for what follows a request of an operator, and words the outcome."""

from collections.abc import Sequence
from typing import Any

from supervisor.policy.app_state import AppView
from supervisor.policy.process_state import ProcessState
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.changes import ChangeSignal
from supervisor.supervision.process_set import ProcessSet
from supervisor.values.states import AppState

_MARGIN_S = 5.0  # beyond the app's own limits, before an outcome counts as unknown
_ENDED = (AppState.BACKOFF, AppState.FAILED, AppState.STOPPED, AppState.BLOCKED)

Outcome = dict[str, Any]
Viewed = AppView | ProcessState
"""An app in its process, or the process as a whole: both have a state and a cause."""


class Outcomes:
    """Waits for the processes of ``processes``; ``signal`` is notified when one changes.

    Every wait ends: with an outcome, or with a failure that says so.
    """

    def __init__(self, signal: ChangeSignal, processes: ProcessSet) -> None:
        self._signal = signal
        self._processes = processes

    async def of_apps(self, process: AppProcess, names: Sequence[str], generation: int) -> Outcome:
        """Wait until all of ``names`` (none: the process) serve in ``generation`` or a later one.

        Returns the outcome of the first one that doesn't.
        """
        if not names:
            return await self._of_one(process, None, generation)
        for name in names[:-1]:
            outcome = await self._of_one(process, name, generation)
            if not outcome["ok"]:
                return outcome
        return await self._of_one(process, names[-1], generation)

    async def _of_one(self, process: AppProcess, name: str | None, generation: int) -> Outcome:
        limits = process.state.limits
        limit_s = limits.import_timeout_s + limits.stop_timeout_s + _MARGIN_S

        def outcome() -> Outcome | None:
            viewed = _view(process, name)
            if viewed.state is AppState.READY and process.state.current >= generation:
                return _ready(process, viewed)
            return failed(viewed, None) if _has_ended(process, viewed) else None

        found = await self._signal.wait_for(outcome, timeout_s=limit_s)
        return found or failed(_view(process, name), f"no outcome within {limit_s:g} s")

    async def of_reload(self, process: AppProcess, before: ProcessState) -> Outcome:
        """Wait until a newer generation than that of ``before`` serves, or is refused."""
        if before.stopped:
            return done(process.state, "it is stopped: it starts with what is new")
        limits = process.state.limits
        limit_s = limits.import_timeout_s + 2 * limits.stop_timeout_s + _MARGIN_S

        def outcome() -> Outcome | None:
            state = process.state
            if state.refusal is not None and state.refusal is not before.refusal:
                cause = state.refusal.cause
                reason = f"refused, what runs goes on: {cause.reason}"
                hint = cause.hint
                return {"ok": False, "state": str(state.state), "reason": reason, "hint": hint}
            is_newer = state.current > before.current and state.candidate is None
            if state.state is AppState.READY and is_newer and state.handed_over:
                return _ready(process, state)
            return failed(state, None) if _has_ended(process, state) else None

        found = await self._signal.wait_for(outcome, timeout_s=limit_s)
        return found or failed(process.state, f"no outcome within {limit_s:g} s")

    async def of_new(self, name: str) -> Outcome:
        """Wait for a process that a new configuration brings, and until it serves."""
        process = await self._signal.wait_for(
            lambda: self._processes.by_name.get(name), timeout_s=_MARGIN_S
        )
        if process is None:
            reason = "it waits until the one before it has ended: it can't run twice"
            return {"ok": False, "state": "starting", "reason": reason, "hint": None}
        return await self.of_apps(process, [], 1)

    async def of_stop(self, process: AppProcess, names: Sequence[str]) -> Outcome:
        """Wait until ``names`` are stopped; with the last app of a process its workers end."""

        def outcome() -> Outcome | None:
            views = [process.view(name) for name in names]
            if any(view.state is not AppState.STOPPED for view in views):
                return failed(views[0], "it has been started again meanwhile")
            if not process.workers or not process.state.stopped:  # the others serve on
                return done(views[0], "stopped")
            return None

        limit_s = process.state.limits.stop_timeout_s + _MARGIN_S
        found = await self._signal.wait_for(outcome, timeout_s=limit_s)
        return found or failed(process.view(names[0]), "its worker has not ended yet")


def _view(process: AppProcess, name: str | None) -> Viewed:
    return process.state if name is None else process.view(name)


def _has_ended(process: AppProcess, viewed: Viewed) -> bool:
    """Return whether an attempt has failed, and no release takes the place of the live code."""
    return viewed.state in _ENDED and not process.known_good.is_looking


def done(viewed: Viewed, text: str) -> Outcome:
    """Return the outcome of a request that was carried out."""
    return {"ok": True, "state": str(viewed.state), "reason": text, "hint": None}


def _ready(process: AppProcess, viewed: Viewed) -> Outcome:
    """Return that an app serves, and if that is not its live code, why."""
    outcome = done(viewed, f"ready, as pid {process.state.pid}")
    why = process.state.fallback_cause
    if why is not None:
        outcome["reason"] += f"; {why.reason}"
        outcome["hint"] = why.hint
    return outcome


def failed(viewed: Viewed, text: str | None) -> Outcome:
    """Return the outcome of a request that failed, for ``text`` or for the cause of its state."""
    cause = viewed.cause
    return {
        "ok": False,
        "state": str(viewed.state),
        "reason": text or (cause.reason if cause else f"it is {viewed.state}"),
        "hint": cause.hint if cause and not text else None,
    }
