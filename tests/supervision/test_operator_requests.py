"""Requests for apps of one process, in any order and beside anything else: what always holds."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from process_world import NOW, REPORT

from supervisor.config.settings import BindSettings
from supervisor.policy.process_events import (
    AppFailed,
    Elapsed,
    Exited,
    ReloadAsked,
    RestartAsked,
    Spawn,
    Spawned,
    StartAsked,
    StopAsked,
)
from supervisor.policy.process_state import Limits, WorkerPhase
from supervisor.ports.listeners import Address
from supervisor.supervision.app_imports import AppImports
from supervisor.supervision.background_jobs import Trial
from supervisor.supervision.changes import ChangeSignal
from supervisor.supervision.code_comparison import CodeComparison
from supervisor.supervision.known_good import NoKnownGood
from supervisor.supervision.managed_port import ManagedPort
from supervisor.supervision.operator_requests import OperatorRequests, Request
from supervisor.supervision.port_binder import PortBinder
from supervisor.supervision.process_core import ProcessCore
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.supervision.worker_messages import WorkerMessages
from supervisor.values.reports import Exit
from supervisor.values.states import AppState

REQUESTS: dict[str, Request] = {
    "start": StartAsked(),
    "stop": StopAsked(),
    "restart": RestartAsked(),
    "reload": ReloadAsked(),
}


class FakeWorker(SimpleNamespace):
    """A worker that only remembers what it was sent; `open` has the apps that it would serve."""

    def __init__(self, number: int, apps: list[str]) -> None:
        super().__init__(number=number, started_at=NOW, pid=4710 + number, place=0, facts={})
        self.closed: set[str] = set()
        self.apps = apps

    def send(self, message: dict[str, Any]) -> None:
        """Open or close an app, as the real one does."""
        match message:
            case {"type": "close", "app": name}:
                self.closed.add(name)
            case {"type": "open", "app": name}:
                self.closed.discard(name)

    def drain(self, _timeout_s: float, _idle_s: float, *, cut_streams: bool = False) -> None:
        """Go on until it is reaped."""

    def kill(self) -> None:
        """Go on until it is reaped."""


class Group:
    """A process with apps, whose workers do what a test wants."""

    def __init__(self, names: list[str], *, replace: bool) -> None:
        self.now = NOW
        self.trials: list[Callable[[Trial], None]] = []
        jobs = SimpleNamespace(try_import=lambda _c, _n, _w, done: self.trials.append(done))
        hide = SimpleNamespace(everywhere=lambda report: report)
        journal = SimpleNamespace(
            record=lambda *_a, **_k: None, print_traceback=lambda *_a: None, hide=hide
        )
        runtime: Any = SimpleNamespace(
            now=lambda: self.now,
            wall=lambda: "",
            config=None,
            signal=ChangeSignal(),
            journal=journal,
            jobs=jobs,
        )
        self.core = ProcessCore(
            runtime,
            name="field",
            limits=Limits(import_timeout_s=10, replace=replace),
            bind_settings=BindSettings(),
            known_good=NoKnownGood(),
            spawn=self._spawn,
            import_app=lambda name: self.imports.begin(name),
        )
        self.imports = AppImports(self.core)
        self.binder = PortBinder(self.core)
        self.requests = OperatorRequests(self.core, self.imports, self.binder)
        self.messages = WorkerMessages(self.core, self.imports, CodeComparison(self.core))
        sockets: Any = SimpleNamespace(bind=lambda _address: object())
        for name in names:
            self.core.add(ManagedPort(sockets, name=name, address=Address("127.0.0.1", 1)))
        self.binder.on_time(self.now)

    def _spawn(self, action: Spawn) -> None:
        if self.core.state.worker(action.number) is not None:
            worker = cast("WorkerHandle", FakeWorker(action.number, list(self.core.apps)))
            self.core.workers[action.number] = worker
            self.core.step(Spawned(action.number, 4710 + action.number))

    def ask(self, what: str, *names: str) -> None:
        """Let an operator ask."""
        self.requests.handle(REQUESTS[what], apps=list(names), by="a test")

    def on_time(self, seconds: float) -> None:
        """Let time go by, in which all workers live."""
        self.now += seconds
        self.core.allow_for_pause(seconds)
        self.core.step(Elapsed())
        self.imports.on_time(self.now)

    def end_import(self, *failed: str) -> None:
        """Let the first worker that imports be ready, without some of its apps."""
        importing = self.core.state.of(WorkerPhase.IMPORTING)
        if not importing:
            return
        number = importing[0].number
        for name in failed[: len(self.core.apps) - 1]:
            self.core.step(AppFailed(number, name, REPORT, []))
            state = self.core.state.worker(number)
            if state is not None and state.generation == self.core.state.current:
                self.imports.missing(name, self.core.workers[number], state.failures[name])
        self.messages.handle(self.core.workers[number], {"type": "ready"})

    def end_trial(self, name: str) -> None:
        """Let a trial import succeed, and its app join the worker that serves."""
        if not self.trials:
            return
        self.trials.pop(0)(Trial(cause=None, watch=None))
        worker = self.core.serving
        if worker is not None and self.core.apps[name].failure is not None:
            message = {"type": "member_ready", "app": name, "watch": []}
            self.messages.handle(worker, message)

    def reap(self, *, all_of_them: bool) -> None:
        """Let workers end: those that are about to, or all."""
        leaving = (WorkerPhase.DRAINING, WorkerPhase.ENDING)
        for worker in self.core.state.workers:
            if worker.number in self.core.workers and (all_of_them or worker.phase in leaving):
                del self.core.workers[worker.number]
                self.core.step(Exited(worker.number, Exit(code=0)))

    def check(self) -> None:
        """Check what holds whatever happened."""
        core = self.core
        assert core.state.stopped == all(app.stopped for app in core.apps.values())
        worker = cast("FakeWorker | None", core.serving)
        if worker is not None and core.state.state is AppState.READY:
            stopped = {name for name, app in core.apps.items() if app.stopped}
            assert worker.closed == stopped, "an operator's stop lasts, and no other app is closed"
            for name, app in core.apps.items():
                is_missing = name in worker_failures(core)
                assert is_missing <= (app.failure is not None), name


def worker_failures(core: ProcessCore) -> set[str]:
    """Return the apps that the worker which serves lacks."""
    return set() if core.state.serving is None else set(core.state.serving.failures)


NAMES = ["admin", "coach", "devices"]
SOME = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
MOVES = st.one_of(
    st.tuples(st.sampled_from(list(REQUESTS)), SOME),
    st.tuples(st.just("import"), st.lists(st.sampled_from(NAMES), max_size=2, unique=True)),
    st.tuples(st.sampled_from(["time", "reap", "reap all", "trial"]), SOME),
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(MOVES, max_size=30),
    st.integers(1, 3),
    st.booleans(),
    st.lists(st.sampled_from([0.3, 1.5, 9.0, 61.0]), min_size=30, max_size=30),
)
def test_what_always_holds(
    moves: list[tuple[str, list[str]]], count: int, replace: bool, waits: list[float]
) -> None:
    """A process is stopped when all its apps are; a stopped app is closed in every worker."""
    names = NAMES[:count]
    group = Group(names, replace=replace)
    for (what, chosen), wait_s in zip(moves, waits, strict=False):
        apps = [name for name in chosen if name in names]
        if what in REQUESTS and apps:
            group.ask(what, *apps)
        elif what == "import":
            group.end_import(*apps)
        elif what == "time":
            group.on_time(wait_s)
        elif what == "trial" and apps:
            group.end_trial(apps[0])
        elif what.startswith("reap"):
            group.reap(all_of_them=what == "reap all")
        group.check()


def test_one_app_is_a_group_of_one() -> None:
    """Its stop ends the process, its start begins it."""
    group = Group(["coach"], replace=False)
    group.end_import()
    assert group.core.view("coach").state is AppState.READY
    group.ask("stop", "coach")
    assert group.core.view("coach").state is AppState.STOPPED
    group.reap(all_of_them=False)
    assert group.core.workers == {}
    group.ask("start", "coach")
    assert group.core.view("coach").state is AppState.STARTING
    group.end_import()
    assert group.core.view("coach").state is AppState.READY


def test_a_candidate_that_would_lose_an_app_is_refused() -> None:
    """The one that serves goes on, and says why; an app that was missing before may stay so."""
    group = Group(["admin", "coach"], replace=False)
    group.end_import()
    group.ask("reload", "admin")
    group.end_import("coach")
    assert group.core.state.refusal is not None
    assert group.core.state.current == 1
    assert group.core.view("coach").state is AppState.READY


def test_the_start_of_a_missing_app_tries_it_at_once() -> None:
    """In a child first; the others serve on in the same worker."""
    group = Group(["admin", "coach"], replace=False)
    group.end_import("coach")
    assert group.core.view("coach").state is AppState.BACKOFF
    group.ask("start", "coach")
    assert group.core.view("coach").state is AppState.STARTING
    group.end_trial("coach")
    assert group.core.view("coach").state is AppState.READY
    assert group.core.state.current == 1
