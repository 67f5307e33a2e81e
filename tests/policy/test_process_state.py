"""Whatever workers, ports, files and operators do: what always holds in the process of an app."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from process_world import IN_USE, Behaviour, World

from supervisor.policy.process_events import (
    BindFailed,
    Bound,
    FallbackKnown,
    FilesChanged,
    ReloadAsked,
    RestartAsked,
    StartAsked,
    StopAsked,
)
from supervisor.policy.process_state import Limits, WorkerPhase
from supervisor.values.states import AppState, CodeSource

SOON = st.sampled_from([0.0, 0.01, 0.3, 0.99, 1.0, 1.5, 4.0, 7.0, 10.5, 29.9, 31.0, 700.0])
KINDS = ["ok", "ok", "ok", "import_failure", "crash", "endless", "no_fork", "freeze", "greedy"]
BEHAVIOUR = st.builds(
    Behaviour,
    kind=st.sampled_from(KINDS),
    first_s=SOON,
    then_s=SOON,
    drain_s=st.sampled_from([0.0, 0.1, 3.0, 9.0, 99.0]),
)
LIMITS = st.builds(
    Limits,
    import_timeout_s=st.sampled_from([2.0, 10.0]),
    workers=st.integers(1, 3),
    replace=st.booleans(),
    max_memory_mb=st.sampled_from([None, 100]),
)
REQUEST = st.sampled_from(
    [
        *(StartAsked(), StopAsked(), RestartAsked(), ReloadAsked(), ReloadAsked(), FilesChanged()),
        *(
            FallbackKnown(available=True),
            FallbackKnown(available=True),
            FallbackKnown(available=False),
        ),
    ]
)
WELL = Behaviour("ok", first_s=0.2, then_s=10_000.0)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=100)
@given(
    script=st.lists(BEHAVIOUR, min_size=1, max_size=8),
    limits=LIMITS,
    binds=st.lists(SOON, max_size=2),
    requests=st.lists(st.tuples(st.floats(0, 90), REQUEST), max_size=25),
)
def test_what_always_holds(
    script: list[Behaviour],
    limits: Limits,
    binds: list[float],
    requests: list[tuple[float, StartAsked]],
) -> None:
    """No step breaks an invariant; when everything is well again, the process is ready."""
    world = World(script, limits)
    for at_s in binds:
        world.plan(min(at_s, 20.0), BindFailed(IN_USE))
    world.plan(20.0 if binds else 0.0, Bound())
    for at_s, request in requests:
        world.plan(at_s, request)
    world.run(100)
    world.script = iter(lambda: WELL, None)
    world.plan(0.0, RestartAsked())
    world.run(200)
    process = world.process
    assert process.state is AppState.READY
    assert len(process.of(WorkerPhase.READY, generation=process.current)) == limits.workers
    assert len(process.workers) == limits.workers, "nobody is left of those before"
    assert (
        process.candidate
        is process.pending
        is process.cause
        is process.retry_at
        is process.broken
        is None
    )
    assert process.source is CodeSource.LIVE
