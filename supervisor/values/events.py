"""Events: what happened, with a kind for programs and a text for people."""

from collections import deque
from collections.abc import Iterable
from enum import StrEnum

from supervisor.values.records import dataclass


class EventKind(StrEnum):
    """The kinds of events; monitors rely on these words."""

    STARTED = "started"
    STOPPING = "stopping"
    BOUND = "bound"
    BIND_FAILED = "bind_failed"
    READY = "ready"
    IMPORT_FAILED = "import_failed"
    EXITED = "exited"
    RETRY = "retry"
    OPERATOR = "operator"
    FILES_CHANGED = "files_changed"
    PORT_SHARED = "foreign_listener"
    STAND_IN = "stand_in"
    REFUSED = "refused"
    REPLACED = "replaced"
    STUCK = "stuck"
    CONFIGURATION = "configuration"
    RELEASE = "release"
    HAND_OVER = "hand_over"
    DEPLOY = "deploy"
    CHECK = "check"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to ``app`` (None: to the supervisor itself).

    ``monotonic_s`` orders events and gives their age; ``wall`` (RFC 3339, UTC) is for people;
    ``problem`` marks what an operator should look into. ``by``: who did it, and from which address;
    not for the public.
    """

    kind: EventKind
    text: str
    app: str | None
    monotonic_s: float
    wall: str
    problem: bool = False
    by: str | None = None

    @property
    def full_text(self) -> str:
        """The text with who did it."""
        return self.text if self.by is None else f"{self.text}, by {self.by}"


class EventLog:
    """The newest ``capacity`` events, numbered from 1 since the start."""

    def __init__(self, capacity: int = 500) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._counts: dict[str, dict[str, int]] = {}
        self.count = 0

    def add(self, event: Event) -> None:
        """Append ``event``; drop the oldest one if there are more than ``capacity``."""
        self._events.append(event)
        self.count += 1
        kinds = self._counts.setdefault(event.app or "", {})
        kinds[str(event.kind)] = kinds.get(str(event.kind), 0) + 1

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many events there were, dropped ones too: by app ("" for none), by kind."""
        return {app: dict(kinds) for app, kinds in self._counts.items()}

    def restore(self, events: Iterable[Event]) -> None:
        """Put events of before in front: they have numbers, but don't count."""
        older = list(events)
        self._events = deque([*older, *self._events], maxlen=self._events.maxlen)
        self.count += len(older)

    def last(self, count: int) -> list[Event]:
        """Return the newest ``count`` events, oldest first."""
        return list(self._events)[-count:]

    def after(self, number: int) -> list[tuple[int, Event]]:
        """Return the kept events with a number above ``number``, oldest first."""
        first = self.count - len(self._events) + 1
        return [(n, event) for n, event in enumerate(self._events, first) if n > number]
