"""The log of events: bounded, numbered, and counted whole."""

from supervisor.values.events import Event, EventKind, EventLog


def event(kind: EventKind, app: str | None) -> Event:
    """Return an event."""
    return Event(kind=kind, text="x", app=app, monotonic_s=1.0, wall="")


def test_counts_go_on_when_events_are_dropped() -> None:
    """By app and kind, since the start: they never go down."""
    log = EventLog(capacity=2)
    for _ in range(5):
        log.add(event(EventKind.READY, "coach"))
    log.add(event(EventKind.EXITED, "coach"))
    log.add(event(EventKind.STARTED, None))
    assert log.counts() == {"coach": {"ready": 5, "exited": 1}, "": {"started": 1}}
    assert [number for number, _ in log.after(0)] == [6, 7]


def test_counts_are_a_copy() -> None:
    """Whoever gets them changes nothing."""
    log = EventLog()
    log.add(event(EventKind.READY, "coach"))
    log.counts()["coach"]["ready"] = 0
    assert log.counts() == {"coach": {"ready": 1}}
