"""State diagrams, found by trying the tables of `policy`: what leads from which state to which.

`python tests/state_diagrams.py` writes them into docs/architecture.md; a test keeps them true.
"""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from process_case import CRASH, ENDED, ProcessCase
from process_world import IN_USE, NOW, REPORT, middle

from supervisor.config.settings import BindSettings
from supervisor.policy import app_transitions, rollout
from supervisor.policy.app_state import AppRecord
from supervisor.policy.app_transitions import AppEvent
from supervisor.policy.process_events import (
    AppFailed,
    AppJoined,
    BindFailed,
    Bound,
    Elapsed,
    Exited,
    FallbackKnown,
    FilesChanged,
    GaveUp,
    HeartbeatSeen,
    ImportFailed,
    PauseConfirmed,
    ProcessEvent,
    Ready,
    ReloadAsked,
    ReloadRefused,
    RestartAsked,
    SpawnFailed,
    StartAsked,
    StopAsked,
    UsageReported,
)
from supervisor.policy.process_state import ProcessState, WorkerPhase
from supervisor.policy.process_transitions import TABLE, step
from supervisor.policy.rollout import RolloutEvent
from supervisor.policy.worker_transitions import TABLE as WORKER_TABLE

DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
OUTSIDE = "[*]"
LATER_S = (0.1, 7.0, 70.0)  # soon; long enough for a worker to be stuck; for any retry
LIFECYCLE: list[ProcessEvent] = [
    *(Bound(), BindFailed(IN_USE), FilesChanged(), StartAsked(), StopAsked(), RestartAsked()),
    *(ReloadAsked(), ReloadRefused(IN_USE), FallbackKnown(available=True), Elapsed()),
]

Edges = dict[tuple[str, str], set[str]]


# ---- processes and their workers


def process_edges() -> tuple[Edges, Edges]:
    """Return the transitions of a process, and those of its workers."""
    states: Edges = defaultdict(set)
    phases: Edges = defaultdict(set)
    seen = set()
    queue = deque((one.process, one.now) for one in (ProcessCase(), ProcessCase().fail_for_good()))
    while queue:
        process, now = queue.popleft()
        for event in possible(process):
            for later_s in LATER_S:
                after = follow(process, event, now + later_s)
                name = type(event).__name__
                note(states, str(process.state), str(after.state), name)
                for before, phase in worker_moves(process, after):
                    note(phases, before, phase, name)
                if shape(after) not in seen:
                    seen.add(shape(after))
                    queue.append((after, now + later_s))
    return states, phases


def possible(process: ProcessState) -> Iterator[ProcessEvent]:
    """Yield what can happen to a process now."""
    for event in LIFECYCLE:
        is_late = isinstance(event, Bound | BindFailed) and process.bound
        if (process.state, type(event)) in TABLE and not is_late:
            yield event
    for worker in process.workers:
        number = worker.number
        for event in (
            *(ImportFailed(number, REPORT), Ready(number), GaveUp(number, IN_USE)),
            *(AppFailed(number, "coach", REPORT, []), AppJoined(number, "coach", [])),
            *(PauseConfirmed(number), HeartbeatSeen(number, at=NOW + 1e6)),
            *(UsageReported(number), Exited(number, CRASH), Exited(number, ENDED)),
            SpawnFailed(number, IN_USE),
        ):
            if (worker.phase, type(event)) in WORKER_TABLE:
                yield event


def follow(process: ProcessState, event: ProcessEvent, now: float) -> ProcessState:
    """Return a process after ``event``; every worker that it wants is forked."""
    process, _actions = step(process, event, now, middle)
    workers = tuple(replace(w, pid=w.pid or 4710 + w.number) for w in process.workers)
    return replace(process, workers=workers)


def worker_moves(before: ProcessState, after: ProcessState) -> Iterator[tuple[str, str]]:
    """Yield the phase of each worker before and after a step."""
    for worker in before.workers:
        found = after.worker(worker.number)
        yield str(worker.phase), str(found.phase) if found else OUTSIDE
    for worker in after.workers:
        if before.worker(worker.number) is None:
            yield OUTSIDE, str(worker.phase)


def shape(process: ProcessState) -> tuple[Any, ...]:
    """Return what of a process decides what can follow, without times and numbers."""
    workers = frozenset(
        (w.phase, w.stuck, w.generation == process.current, w.generation == process.candidate)
        for w in process.workers
    )
    return (
        *(process.state, process.stopped, process.pending, process.source, process.has_fallback),
        *(process.candidate is None, process.retry_at is None, process.history.failed),
        *(process.broken is None, workers),
    )


# ---- apps


def app_edges() -> tuple[Edges, Edges]:
    """Return the transitions of an app's port, and those of its import."""
    settings = BindSettings()
    events: list[AppEvent] = [
        *(app_transitions.PortBound(), app_transitions.HolderFound(IN_USE)),
        app_transitions.PortBindFailed(IN_USE, in_use=True, settings=settings),
        *(app_transitions.SharingChanged(IN_USE), app_transitions.ReachChanged(IN_USE)),
        *(app_transitions.PortLost(IN_USE), app_transitions.AppServed()),
        *(app_transitions.AppImportFailed(IN_USE, []), app_transitions.ReloadNeeded(IN_USE)),
        *(app_transitions.AttemptBegun(1.0), app_transitions.AppFilesChanged(1.0)),
        *(app_transitions.AttemptTimedOut(), app_transitions.AppStopAsked()),
        app_transitions.AppStartAsked(),
    ]
    ports: Edges = defaultdict(set)
    imports: Edges = defaultdict(set)
    seen = set()
    queue = deque([AppRecord(since=NOW, bind_at=NOW)])
    while queue:
        app = queue.popleft()
        for event in events:
            is_port = isinstance(event, app_transitions.PortEvent)
            phase = app.port_phase if is_port else app.import_phase
            if (phase, type(event)) not in app_transitions.TABLE:
                continue
            after = app_transitions.step(app, event, NOW, middle)
            name = type(event).__name__
            note(ports, str(app.port_phase), str(after.port_phase), name)
            note(imports, str(app.import_phase), str(after.import_phase), name)
            found = (after.port_phase, after.import_phase, after.stopped)
            if found not in seen:
                seen.add(found)
                queue.append(after)
    return ports, imports


# ---- deploys


def rollout_edges() -> Edges:
    """Return the transitions of a deploy."""
    events: list[RolloutEvent] = [
        *(rollout.Succeeded(), rollout.Failed(IN_USE), rollout.Probed(), rollout.Probed(IN_USE)),
        *(rollout.Died(IN_USE), rollout.Interrupted(), rollout.Elapsed()),
    ]
    edges: Edges = defaultdict(set)
    seen = set()
    begin = [rollout.begin("it", NOW, watch_s=10.0, probes=probes)[0] for probes in (True, False)]
    queue = deque(begin)
    while queue:
        one = queue.popleft()
        for event in events:
            if (one.phase, type(event)) in rollout.TABLE:
                after, _actions = rollout.step(one, event, one.since + 20.0)
                note(edges, str(one.phase), str(after.phase), type(event).__name__)
                found = (after.phase, after.cause is None, after.is_probing, after.is_reloaded)
                if found not in seen:
                    seen.add(found)
                    queue.append(after)
    return edges


# ---- writing


def note(edges: Edges, before: str, after: str, event: str) -> None:
    """Remember what leads from one state to another one."""
    if before != after:
        edges[before, after].add(event)


def diagram(edges: Edges, order: list[str], first: str | None = None) -> str:
    """Return a mermaid diagram; each arrow has the events that lead there, in the tables' names."""
    lines = ["```mermaid", "stateDiagram-v2"]
    if first is not None:
        lines.append(f"    [*] --> {first}")
    for before, after in sorted(edges, key=lambda edge: [order.index(state) for state in edge]):
        names = ", ".join(sorted(edges[before, after]))
        lines.append(f"    {before} --> {after}: {names}")
    return "\n".join([*lines, "```"])


@cache
def diagrams() -> dict[str, str]:
    """Return the diagrams by the name of their place in the document."""
    states, phases = process_edges()
    ports, imports = app_edges()
    deploys = rollout_edges()
    return {
        "process": diagram(
            states,
            ["blocked", "starting", "ready", "backoff", "failed", "stopped"],
            "blocked",
        ),
        "worker": diagram(phases, [OUTSIDE, *map(str, WorkerPhase)]),
        "port": diagram(ports, ["unbound", "bound"], "unbound"),
        "import": diagram(imports, ["hosted", "missing", "joining", "late"], "hosted"),
        "deploy": diagram(deploys, [*map(str, rollout.RolloutPhase)], "staging"),
    }


def with_diagrams(text: str) -> str:
    """Return ``text`` with the diagrams in their places: between two comments."""
    for name, drawn in diagrams().items():
        begin, end = f"<!-- states: {name} -->", "<!-- end of states -->"
        place = re.compile(f"{begin}.*?{end}", re.DOTALL)
        if not place.search(text):
            raise ValueError(f"there is no place for the states: {name}")
        text = place.sub(constant(f"{begin}\n{drawn}\n{end}"), text)
    return text


def constant(text: str) -> Callable[[re.Match[str]], str]:
    """Return a replacement that is taken as it is."""
    return lambda _match: text


if __name__ == "__main__":
    DOCUMENT.write_text(with_diagrams(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
