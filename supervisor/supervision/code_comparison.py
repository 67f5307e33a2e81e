"""Finds out whether the code that a process runs differs from the files of its apps.

Their times and sizes say only that it may. So the worker is asked what it has imported, and a
throw-away child compares that with the files.
"""

from collections.abc import Callable

from supervisor.releases import file_jobs
from supervisor.supervision.background_jobs import Answer
from supervisor.supervision.process_core import ProcessCore
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.values.states import CodeSource

Verdict = Callable[[bool], None]


class CodeComparison:
    """Compares the code of the worker of ``core`` that serves."""

    def __init__(self, core: ProcessCore) -> None:
        self._core = core
        self._asked: int | None = None  # the number of a worker that has not answered yet
        self._waiting: list[Verdict] = []
        self._contents: dict[str, str] = {}
        self._begun = 0
        self._latest = (0, False)  # the number of a comparison that has ended, and its verdict

    def begin(self, done: Verdict) -> None:
        """Call ``done`` with whether the code differs from the files as they are now, or later.

        At once, with true, where no worker can be asked. Never, if the worker ends first.
        """
        core, worker = self._core, self._core.serving
        if worker is None or core.state.source is not CodeSource.LIVE:
            done(True)
            return
        if self._asked != worker.number:
            self._asked, self._waiting, self._contents = worker.number, [], {}
            worker.send({"type": "request_code"})
        self._waiting.append(done)

    def on_contents(self, worker: WorkerHandle, files: dict[str, str]) -> None:
        """Receive a part of what the files contained when they were imported."""
        if worker.number == self._asked:
            self._contents.update(files)

    def on_code(self, worker: WorkerHandle, loaded: list[str]) -> None:
        """Receive the files of the modules that the worker has loaded, and compare."""
        core, state = self._core, self._core.state.worker(worker.number)
        if worker.number != self._asked:
            return
        waiting, contents = self._waiting, self._contents
        self._asked, self._waiting, self._contents = None, [], {}
        if state is None or not state.watch:
            return

        self._begun = number = self._begun + 1

        def compared(answer: Answer) -> None:
            if core.is_ending:
                return
            now = core.state.worker(worker.number)
            if now is not None and now.watch != state.watch:  # an app has joined meanwhile
                for done in waiting:
                    self.begin(done)
                return
            if number > self._latest[0]:  # else a later comparison has ended before this one
                self._latest = (number, answer.get("differs", True))
            for done in waiting:
                done(self._latest[1])
            core.runtime.signal.notify()

        core.runtime.jobs.work_with_files(
            file_jobs.code_differs,
            core.runtime.config,
            list(core.apps),
            state.watch,
            contents,
            loaded,
            done=compared,
        )
