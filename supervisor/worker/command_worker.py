"""A worker whose app is a program of its own (``command``): starts it, and looks after it.

It speaks to the main process as a worker that serves does: `importing` until the program answers
on its port, then `ready` and heartbeats, until the program ends or is to end. A program can't be
asked to pause: which of two generations gets new connections, the main process decides by
`supervisor.ports.steering`.
"""

import os
import socket
import time
from dataclasses import field
from functools import partial
from typing import Any

from supervisor.ports.steering import steer_one
from supervisor.process.channel import SEND_TIMEOUT_S, Channel, Message
from supervisor.source import app_entries, file_tree
from supervisor.source.fingerprints import Watch, read_watch
from supervisor.values.records import dataclass
from supervisor.values.reports import ImportReport
from supervisor.worker.before_start import run_before_start
from supervisor.worker.code_contents import CodeContents
from supervisor.worker.first_answer import FirstAnswer
from supervisor.worker.hosted_apps import CodeLocation, HostedApp
from supervisor.worker.program import (
    Program,
    ProgramError,
    find_program,
    start_program,
    words_of,
)
from supervisor.worker.program_care import ProgramCare, log_hint
from supervisor.worker.self_bound import listens

_SURVIVED_S = 1.0  # without a port, a program that has run for this long is ready
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandWorker:
    """What such a worker needs to know; it inherits ``listeners`` and never closes them.

    The first listener is the program's. A second one shows that another generation serves there:
    then this one's is at ``place`` of their group.
    """

    app: HostedApp
    command: list[str]
    port: int | None
    health_path: str | None
    code: CodeLocation
    shutdown_timeout_s: float
    listeners: tuple[socket.socket, ...] = field(default=())
    place: int = 0

    def run(self, connection: socket.socket) -> int:
        """Run the worker and return its exit code."""
        os.environ.update(self.app.environment)
        return _Start(self, Channel(connection)).run()


class _Start:
    """The start of the program of a `CommandWorker`."""

    def __init__(self, worker: CommandWorker, channel: Channel) -> None:
        self._worker = worker
        self._app = worker.app
        self._path = worker.code.path
        self._channel = channel
        self._words = words_of(worker.command, worker.port)
        self._stamps: dict[str, str] = {}  # of the app's files, from before the start
        self._watch: list[dict[str, Any]] = []

    def run(self) -> int:
        """Start the program, see it through to its end, and return the worker's exit code."""
        deadline = time.monotonic() + self._app.import_timeout_s
        is_recent = self._note_files()
        self._send({"type": "importing", "watch": self._watch})
        report = run_before_start(
            self._app.before_start, self._path, timeout_s=self._app.import_timeout_s
        )
        if report is not None:
            return self._report_failure(report)
        try:
            program = self._start(is_recent=is_recent)
        except ProgramError as error:
            return self._fail("ProgramError", error.message, error.hint)
        fault = self._wait_until_ready(program, deadline)
        if fault is not None:
            return self._not_ready(program, fault)
        care = ProgramCare(
            program,
            self._app,
            self._channel,
            own_port=None if self._worker.listeners else self._worker.port,
            entries=self._entries(),
            stamps=self._stamps,
            watch=self._watch,
            contents=self._contents,
            shutdown_timeout_s=self._worker.shutdown_timeout_s,
        )
        return care.run()

    def _note_files(self) -> bool:
        """Note the files that the program depends on; return whether one has just changed."""
        word, code = self._words[0], self._worker.code
        files = (
            [str(self._path / word)]
            if "/" in word
            else [f"{folder}/{word}" for folder in _search_path().split(os.pathsep)]
        )
        sources = Watch(trees=(str(self._path),), files=tuple(files), skip=code.skip)
        self._contents = CodeContents(sources)
        fingerprint, self._contents.before, is_recent = read_watch(sources)
        self._watch = [{"watch": sources.to_json(), "fingerprint": fingerprint}]
        self._stamps = file_tree.stamps(self._path, self._entries(), skip=code.skip)
        return is_recent

    def _entries(self) -> list[str]:
        """Return what belongs to the app: nobody sees what another process imports."""
        return [*(self._worker.code.include or app_entries.candidates(self._path))]

    def _start(self, *, is_recent: bool) -> Program:
        file = find_program(self._words[0], self._path, _search_path())
        environment = {"PYTHONUNBUFFERED": "1", **os.environ}
        if is_recent:  # as in `AppHost`: Python might run the cached code of an earlier edit
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        return start_program(
            self._words,
            file=file,
            path=self._path,
            environment=environment,
            listener=next(iter(self._worker.listeners), None),
        )

    def _wait_until_ready(self, program: Program, deadline: float) -> str | None:
        """Wait until the program serves; return why it doesn't."""
        worker = self._worker
        if worker.listeners:
            listener, *others = worker.listeners
            first = FirstAnswer(
                listener=listener,
                health_path=worker.health_path,
                steer=partial(self._steer, listener) if others else None,
            )
            return first.wait(program.pidfd, deadline)
        if worker.port is None:
            return "it has ended" if program.has_ended(_SURVIVED_S) else None
        while not listens(worker.port, program.members()):
            if program.has_ended(_POLL_S) or time.monotonic() >= deadline:
                return f"it does not listen on port {worker.port}"
        return None

    def _steer(self, listener: socket.socket, port: int) -> None:
        """Let a connection from ``port`` reach the program, while the other generation serves."""
        place = self._worker.place
        steer_one(listener, place, from_port=port, others=1 - place)

    def _not_ready(self, program: Program, fault: str) -> int:
        """Report a program that ended, or took too long, before it was ready; end it."""
        ended = program.has_ended(0.0)
        program.kill()
        exit_ = program.reap()
        if ended:
            text = f"{program.name} ended before it was ready: {exit_}"
            return self._fail("ProgramEnded", text, log_hint(self._app.name))
        text = f"{program.name} is not ready after {self._app.import_timeout_s:g} s: {fault}"
        return self._fail("ProgramNotReady", text, self._hint_of_silence())

    def _hint_of_silence(self) -> str:
        """Return what to do about a program that runs and doesn't answer."""
        if self._worker.listeners and not any("{fd}" in word for word in self._worker.command):
            return (
                "does it serve on the listener that it inherits? Pass it as {fd} in `command`; a "
                'program that binds the port itself needs bind = "app"'
            )
        return f"raise import_timeout_s if it is only slow; {log_hint(self._app.name)}"

    def _fail(self, kind: str, message: str, hint: str | None) -> int:
        return self._report_failure(
            ImportReport.without_place(type=kind, message=message, hint=hint)
        )

    def _report_failure(self, report: ImportReport) -> int:
        watch = self._watch
        self._send({"type": "import_failed", "report": report.to_json(), "watch": watch})
        return 1

    def _send(self, message: Message) -> None:
        self._channel.send_all(message, timeout_s=SEND_TIMEOUT_S)


def _search_path() -> str:
    return os.environ.get("PATH", os.defpath)
