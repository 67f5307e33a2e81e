"""Keeps what has proven good of an app, and finds it again when the live code is broken.

All work with files happens in throw-away children; this asks for it, and remembers the outcome.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from supervisor.policy.process_state import ProcessState
from supervisor.process.channel import Message
from supervisor.releases import file_jobs
from supervisor.releases.file_jobs import AppCodeFields
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.values.events import EventKind
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause
from supervisor.values.states import AppState, CodeSource

DESCRIBE_AFTER_S = 2.0  # a machine that has just started has better things to do
_AGAIN_S = 60.0  # after a try to keep a release that failed

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackRelease:
    """A release that was good: its name, where its files lie, and what health shows of it."""

    name: str
    path: Path
    version: dict[str, Any]


class Files(Protocol):
    """What a keeper needs of the main process."""

    def now(self) -> float:
        """Give the monotonic time."""

    def wall(self) -> str:
        """Give the wall time, for people."""

    def tell(self, kind: EventKind, text: str, *, app: str | None, problem: bool = False) -> None:
        """Log and remember an event."""

    def changed(self) -> None:
        """Take note that something monitors can see has changed."""

    def work(
        self, function: Callable[..., Any], *arguments: Any, tell: Callable[[Answer], None]
    ) -> None:
        """Call `file_jobs.answer` with these in a child, without waiting, and ``tell`` with it."""


class KnownGood:
    """Does so for the app ``name``; ``code`` gives what belongs to it, from what it imported.

    ``tell_known_good`` is called when it is known whether there is a release to fall back on.
    """

    def __init__(
        self,
        files: Files,
        name: str,
        *,
        code: Callable[[list[str]], AppCodeFields],
        known_good_after_s: Callable[[], float],
        tell_known_good: Callable[[bool], None],
    ) -> None:
        self._files = files
        self._name = name
        self._code = code
        self._known_good_after_s = known_good_after_s
        self._tell_known_good = tell_known_good
        self._fallback: FallbackRelease | None = None
        self._described: int | None = None  # the worker whose version is known
        self._kept: int | None = None  # the worker whose code has been kept
        self._again_at = 0.0
        self._told: str | None = None
        self.held = False  # while a deploy is under way: what it brings has to be watched first
        self.imported: list[str] = []  # by the worker that served last
        self.version: dict[str, Any] | None = None  # of what serves

    def release_for(self, source: CodeSource) -> Path | None:
        """Give the folder of the code that a worker is to run, None for the live code."""
        if source is CodeSource.LIVE or self._fallback is None:
            return None
        return self._fallback.path

    def on_change(self, before: ProcessState, life: ProcessState) -> None:
        """Look for a release as soon as the live code turns out to be broken."""
        broken = life.broken not in (None, before.broken) or (
            life.history.failed and not before.history.failed
        )
        if broken and life.state is not AppState.READY:
            self._files.work(file_jobs.find_good, self._code([]), tell=self._found)

    def on_time(self, life: ProcessState, worker: WorkerHandle | None, now: float) -> None:
        """Describe, and later keep, the code of the worker that serves."""
        if self.held or worker is None or life.state is not AppState.READY:
            return
        ready_s = now - life.since
        if life.source is CodeSource.KNOWN_GOOD:
            self.version = self._fallback.version if self._fallback else None
            return
        self.imported = worker.facts.get("imported", self.imported)
        if ready_s >= DESCRIBE_AFTER_S and self._described != worker.number:
            self._described = worker.number
            self._describe(worker)
        due = ready_s >= self._known_good_after_s() and now >= self._again_at
        if due and self._kept != worker.number and not worker.stale:
            self._kept = worker.number
            worker.send({"type": "request_imports"})  # answered with what `keep` takes

    def _describe(self, worker: WorkerHandle) -> None:
        before = worker.facts.get("before") or None

        def tell(answer: Answer) -> None:
            if self._described == worker.number:
                shown = ("digest", "commit", "dirty")
                self.version = {key: answer[key] for key in shown} if answer["ok"] else None
                self._files.changed()

        self._files.work(file_jobs.describe, self._code(self.imported), before, tell=tell)

    def keep(self, message: Message) -> None:
        """Keep the code of a worker, which has told of it."""
        code = self._code(message["imported"])
        before = message["before"] or None
        self._files.work(
            file_jobs.keep_good,
            code,
            before,
            self._files.wall(),
            self.in_use(),
            tell=self._was_kept,
        )

    def in_use(self) -> list[Path]:
        """Give the folders of releases that must not be removed."""
        return [self._fallback.path.parent] if self._fallback else []

    def _was_kept(self, answer: Answer) -> None:
        if answer["ok"]:
            self._told = None
            if answer["written"]:
                text = f"it is known to be good, and kept as release {answer['name']}"
                self._files.tell(EventKind.RELEASE, text, app=self._name)
            return
        self._kept, self._again_at = None, self._files.now() + _AGAIN_S
        cause = Cause(reason=answer["reason"], hint=answer["hint"])
        text = f"no release could be kept: {cause.in_full}"
        if text != self._told:  # else said already
            self._told = text
            self._files.tell(EventKind.RELEASE, text, app=self._name, problem=True)

    def _found(self, answer: Answer) -> None:
        if not answer["ok"]:
            text = f"the releases can't be looked at: {answer['reason']}"
            self._files.tell(EventKind.RELEASE, text, app=self._name, problem=True)
        found = answer.get("name")
        for fault in answer.get("faults", ()):
            text = f"a release is damaged and not used: {fault}"
            self._files.tell(EventKind.RELEASE, text, app=self._name, problem=True)
        if found:
            self._fallback = FallbackRelease(
                name=found,
                path=Path(answer["path"]),
                version={key: answer[key] for key in ("digest", "commit", "dirty")},
            )
            text = f"the live code can't be served: release {found}, the last good one, is used"
            self._files.tell(EventKind.RELEASE, text, app=self._name, problem=True)
        self._tell_known_good(bool(found))


class NoKnownGood(KnownGood):
    """Keeps nothing: for the status server, and for apps that share a process."""

    def __init__(self) -> None:
        self.held = False
        self._fallback = None
        self.imported = []
        self.version = None

    def release_for(self, _source: CodeSource) -> Path | None:
        """Give None: only live code runs."""
        return None

    def on_change(self, _before: ProcessState, _life: ProcessState) -> None:
        """Look for nothing."""

    def on_time(self, _life: ProcessState, _worker: WorkerHandle | None, _now: float) -> None:
        """Keep nothing."""
