"""Keeps what has proven good of an app, and finds it again when the live code is broken.

All work with files runs in throw-away children; this starts it, and remembers the outcome.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.policy.process_state import ProcessState
from supervisor.process.channel import Message
from supervisor.releases import file_jobs
from supervisor.releases.file_jobs import AppCodeFields
from supervisor.supervision.background_jobs import Answer
from supervisor.supervision.runtime import Runtime
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.values.events import EventKind
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause
from supervisor.values.states import AppState, CodeSource

DESCRIBE_AFTER_S = 2.0  # a machine that has just started has better things to do
_AGAIN_S = 60.0  # after a failed attempt to keep a release

_SHOWN = ("digest", "commit", "dirty")


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackRelease:
    """A release that was good: its name, the folder of its files, and what health shows of it."""

    name: str
    path: Path
    version: dict[str, Any]


class NoKnownGood:
    """Keeps nothing: for the status server."""

    def __init__(self) -> None:
        self.held = False  # while a deploy is under way: what it brings has to be watched first
        self.is_looking = False  # for a release to fall back on
        self.imported: list[str] = []  # by the worker that served last
        self.version: dict[str, Any] | None = None  # of what serves

    def release_for(self, _source: CodeSource) -> Path | None:
        """Return the folder of the release that a worker is to run, None for the live code."""
        return None

    def in_use(self) -> list[Path]:
        """Return the folders of releases that must not be removed."""
        return []

    def forget_kept(self) -> None:
        """Keep once more what serves: the releases may be gone."""

    def on_change(self, before: ProcessState, process: ProcessState) -> None:
        """Handle a step of the process."""

    def on_time(self, process: ProcessState, worker: WorkerHandle | None, now: float) -> None:
        """Do what is due; called every second, and at each wake-up."""

    def note(self, process: ProcessState, worker: WorkerHandle | None) -> bool:
        """Note what the worker that serves has imported; return whether that may become good."""
        return False

    def on_stamps(self, files: dict[str, str]) -> None:
        """Receive a part of the stamps that belong to the next `on_imports`."""

    def on_imports(self, worker: WorkerHandle, message: Message) -> None:
        """Receive what a worker has imported, as it was asked to report."""

    def on_written(self, files: list[str]) -> None:
        """Receive the names of files that the app has written below its folder."""


class KnownGood(NoKnownGood):
    """Keeps releases of the process ``name``: of its only app, or of all its apps together.

    ``code`` returns what belongs to the app, from what it imported; ``known`` is called when it is
    known whether there is a release to fall back on. Without ``falls_back`` none is served: a
    program can't be shown other files than those on disk.
    """

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        *,
        code: Callable[[list[str]], AppCodeFields],
        known_good_after_s: Callable[[], float],
        known: Callable[[bool], None],
        falls_back: bool,
    ) -> None:
        super().__init__()
        self._runtime = runtime
        self._name = name
        self._code = code
        self._known_good_after_s = known_good_after_s
        self._known = known
        self._falls_back = falls_back
        self._fallback: FallbackRelease | None = None
        self._described: int | None = None  # the worker whose version is known
        self._kept: int | None = None  # the worker whose code has been kept
        self._stamps: dict[str, str] = {}  # of the files from before the import
        self._again_at = 0.0
        self._recorded: str | None = None

    def release_for(self, source: CodeSource) -> Path | None:
        """Return the folder of the release that a worker is to run, None for the live code."""
        if source is CodeSource.LIVE or self._fallback is None:
            return None
        return self._fallback.path

    def in_use(self) -> list[Path]:
        """Return the folders of releases that must not be removed."""
        return [self._fallback.path.parent] if self._fallback else []

    # ---- keeping

    def on_time(self, process: ProcessState, worker: WorkerHandle | None, now: float) -> None:
        """Describe, and later keep, the code of the worker that serves."""
        if worker is None or not self.note(process, worker):
            return
        ready_s = now - process.since
        if ready_s >= DESCRIBE_AFTER_S and self._described != worker.number:
            self._described = worker.number
            worker.send({"type": "request_imports", "for": "describe"})
        due = ready_s >= self._known_good_after_s() and now >= self._again_at
        if due and self._kept != worker.number and not process.stale:
            self._kept = worker.number
            worker.send({"type": "request_imports", "for": "keep"})

    def note(self, process: ProcessState, worker: WorkerHandle | None) -> bool:
        """Note what the worker that serves has imported; return whether that may become good."""
        if self.held or worker is None or process.state is not AppState.READY:
            return False
        if process.serving is None or process.serving.failures:
            return False  # it serves without one of its apps
        if process.source is CodeSource.KNOWN_GOOD:
            return False
        self.imported = worker.facts.get("imported", self.imported)
        return True

    def forget_kept(self) -> None:
        """Keep once more what serves: the releases may be gone."""
        self._kept, self._again_at = None, 0.0

    def on_stamps(self, files: dict[str, str]) -> None:
        """Receive a part of the stamps that belong to the next `on_imports`."""
        self._stamps.update(files)

    def on_imports(self, worker: WorkerHandle, message: Message) -> None:
        """Describe or keep the code that the worker has imported, as it was asked for."""
        before, self._stamps = self._stamps or None, {}
        code = self._code(message["imported"])
        if message["for"] == "keep":
            wall, in_use = self._runtime.wall(), self.in_use()
            self._runtime.jobs.work_with_files(
                file_jobs.keep_good, code, before, wall, in_use, done=self._was_kept
            )
            return

        def described(answer: Answer) -> None:
            if self._described == worker.number:
                self.version = {key: answer[key] for key in _SHOWN} if answer["ok"] else None
                self._runtime.signal.notify()

        self._runtime.jobs.work_with_files(file_jobs.describe, code, before, done=described)

    def on_written(self, files: list[str]) -> None:
        """Note files that the app has written: they are its data, not its code."""

        def noted(answer: Answer) -> None:
            if not answer["ok"]:
                self._record(f"its data can't be noted: {answer['reason']}", problem=True)

        self._runtime.jobs.work_with_files(
            file_jobs.note_written, self._code([]), files, done=noted
        )

    def _was_kept(self, answer: Answer) -> None:
        if answer["ok"]:
            self._recorded = None
            if answer["written"]:
                self._record(f"it is known to be good, and kept as release {answer['name']}")
            return
        self._kept, self._again_at = None, self._runtime.now() + _AGAIN_S
        cause = Cause(reason=answer["reason"], hint=answer["hint"])
        text = f"no release could be kept: {cause.in_full}"
        if text != self._recorded:  # else it was recorded already
            self._recorded = text
            self._record(text, problem=True)

    # ---- falling back

    def on_change(self, before: ProcessState, process: ProcessState) -> None:
        """Look for a release as soon as the live code turns out to be broken."""
        if process.state is AppState.READY and process.source is CodeSource.KNOWN_GOOD:
            self.version = self._fallback.version if self._fallback else None
        broken = process.broken not in (None, before.broken) or (
            process.history.failed and not before.history.failed
        )
        if broken and self._falls_back and process.state is not AppState.READY:
            self.is_looking = True
            self._runtime.jobs.work_with_files(
                file_jobs.find_good, self._code([]), done=self._found
            )

    def _found(self, answer: Answer) -> None:
        self.is_looking = False
        if not answer["ok"]:
            self._record(f"the releases can't be looked at: {answer['reason']}", problem=True)
        for fault in answer.get("faults", ()):
            self._record(f"a release is damaged and not used: {fault}", problem=True)
        found = answer.get("name")
        if found:
            version = {key: answer[key] for key in _SHOWN}
            path = Path(answer["path"])
            self._fallback = FallbackRelease(name=found, path=path, version=version)
            text = f"the live code can't be served: release {found}, the last good one, is used"
            self._record(text, problem=True)
        self._known(bool(found))
        self._runtime.signal.notify()

    def _record(self, text: str, *, problem: bool = False) -> None:
        self._runtime.journal.record(EventKind.RELEASE, text, app=self._name, problem=problem)
