"""Looks after a program that is ready, until it has ended: heartbeats, requests, the drain."""

import contextlib
import os
import select
import signal
import time
from typing import Any

from supervisor.process.channel import SEND_TIMEOUT_S, Channel, Message, in_parts
from supervisor.process.proc_stat import memory_mb
from supervisor.systemd import hand_over
from supervisor.values.constants import HEARTBEAT_S
from supervisor.values.errors import ChannelClosed
from supervisor.values.metrics import Metrics
from supervisor.values.reports import ImportReport
from supervisor.worker.code_contents import CodeContents
from supervisor.worker.heartbeat import HeartbeatSender
from supervisor.worker.hosted_apps import HostedApp
from supervisor.worker.program import Program
from supervisor.worker.self_bound import listens

_PART = 65536
# From the last connection that it gets to SIGTERM: servers close a connection that they have just
# accepted when its request has not arrived.
_SETTLE_S = 0.5


def log_hint(name: str) -> str:
    """Return where to read why the program of the app ``name`` ended."""
    return f"what it printed says why: flask-supervisor logs {name}"


class ProgramCare:
    """Looks after ``program``, of the app ``app``, for the main process at ``channel``.

    ``own_port`` is the port that it binds itself. ``entries`` belong to the app below its folder,
    ``stamps`` are those of its files from before the start, ``watch`` is what it depends on, and
    ``contents`` what that contained.
    """

    def __init__(
        self,
        program: Program,
        app: HostedApp,
        channel: Channel,
        *,
        own_port: int | None,
        entries: list[str],
        stamps: dict[str, str],
        watch: list[dict[str, Any]],
        contents: CodeContents,
        shutdown_timeout_s: float,
    ) -> None:
        self._program = program
        self._app = app
        self._channel = channel
        self._own_port = own_port
        self._entries = entries
        self._stamps = stamps
        self._watch = watch
        self._contents = contents
        self._shutdown_timeout_s = shutdown_timeout_s
        self._drain_s: float | None = None  # that was asked for last
        self._draining = False
        self._paused_at = -_SETTLE_S
        self._terminate_at: float | None = None  # monotonic seconds
        self._kill_at: float | None = None  # monotonic seconds
        self._woken, self._wakes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._waiting = select.poll()
        self._output = -1
        self._handover: hand_over.HandOver | None = None

    def run(self) -> int:
        """Say that the program is ready; return the worker's exit code when it has ended."""
        with contextlib.suppress(OSError):  # then what it prints without a main process is lost
            self._output = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._handover = hand_over.begin()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._drain_soon(self._shutdown_timeout_s))
        self._send({"type": "ready", "imported": self._entries})
        self._contents.begin()
        for fd in (self._program.pidfd, self._channel.fileno(), self._woken):
            self._waiting.register(fd, select.POLLIN)
        heartbeats = HeartbeatSender(
            self, self._channel, self._handover, lambda: memory_mb(self._all())
        )
        heartbeat_at = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= heartbeat_at:
                if not self._program.is_stopped:  # it will seem stuck, as it is
                    heartbeats.send(now)
                heartbeat_at = now + HEARTBEAT_S
                if not (self._draining or self._listens()):
                    self._program.kill()
                    return self._gave_up(f"does not listen on port {self._own_port} any more")
            self._end_if_due(now)
            times = (heartbeat_at, self._terminate_at, self._kill_at)
            wake_at = min(time for time in times if time is not None)
            for fd, _event in self._waiting.poll(max(0.0, wake_at - now) * 1000):
                if fd == self._program.pidfd:
                    return self._ended()
                self._handle(fd)

    def metrics(self, _now: float) -> dict[str, Metrics]:
        """Return no figures: the program counts its requests itself."""
        return {self._app.name: Metrics()}

    def _all(self) -> list[int]:
        return [os.getpid(), *self._program.members()]

    def _listens(self) -> bool:
        return self._own_port is None or listens(self._own_port, self._program.members())

    # ---- what comes

    def _handle(self, fd: int) -> None:
        if fd == self._woken:
            os.read(self._woken, _PART)
            if self._drain_s is not None:
                self._drain(self._drain_s)
        elif fd == self._output:
            with contextlib.suppress(OSError):  # nobody reads the log
                os.write(1, os.read(self._output, _PART))
        else:
            try:
                messages = self._channel.receive()
            except ChannelClosed:
                self._main_process_ended()
                return
            for message in messages:
                self._on_message(message)

    def _on_message(self, message: Message) -> None:
        match message:
            case {"type": "drain", "timeout_s": timeout_s}:
                self._drain(timeout_s)
            case {"type": "pause"}:  # the main process gives it no new connections by now
                self._paused_at = time.monotonic()
                self._channel.send_if_read({"type": "paused"})
            case {"type": "request_code"}:
                self._contents.report(self._contents.files(), self._send_from_thread)
            case {"type": "request_imports", "for": purpose}:
                for part in in_parts(self._stamps):
                    self._send({"type": "stamps", "files": part})
                self._send({"type": "imports", "for": purpose, "imported": self._entries})

    def _main_process_ended(self) -> None:
        if self._handover is None:
            self._program.kill()
            os._exit(1)  # no main process would ever end this worker
        self._waiting.unregister(self._channel.fileno())
        self._handover.on_main_process_gone(lambda timeout_s, _idle_s: self._drain_soon(timeout_s))
        if self._output >= 0:
            self._waiting.register(self._output, select.POLLIN)

    # ---- the end

    def _drain_soon(self, timeout_s: float) -> None:
        """Drain in the loop; callable from a signal handler and from any thread."""
        self._drain_s = timeout_s
        with contextlib.suppress(BlockingIOError):  # it is about to wake up anyway
            os.write(self._wakes, b"1")

    def _drain(self, timeout_s: float) -> None:
        """Let the program finish what it does, by its own means, within ``timeout_s`` seconds."""
        kill_at = time.monotonic() + timeout_s
        if not self._draining:
            self._draining = True
            self._kill_at = kill_at
            self._terminate_at = min(self._paused_at + _SETTLE_S, kill_at)
        elif self._kill_at is not None:
            self._kill_at = min(self._kill_at, kill_at)

    def _end_if_due(self, now: float) -> None:
        if self._terminate_at is not None and now >= self._terminate_at:
            self._terminate_at = None
            self._program.terminate()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            print(f"{self._program.name} is killed: it did not end in time after SIGTERM")
            self._program.kill()

    def _ended(self) -> int:
        """Handle the end of the program."""
        exit_ = self._program.reap()
        return 0 if self._draining else self._gave_up(f"ended: {exit_}")

    def _gave_up(self, what: str) -> int:
        """Report that the program serves no more."""
        report = ImportReport.without_place(
            type="ProgramEnded",
            message=f"{self._program.name} {what}",
            hint=log_hint(self._app.name),
        )
        with contextlib.suppress(ChannelClosed):  # nobody is left to be told
            self._send(
                {
                    "type": "member_failed",
                    "app": self._app.name,
                    "report": report.to_json(),
                    "watch": self._watch,
                }
            )
        return 1

    def _send_from_thread(self, message: Message) -> None:
        with contextlib.suppress(ChannelClosed):  # the loop notices that too
            self._send(message)

    def _send(self, message: Message) -> None:
        self._channel.send_all(message, timeout_s=SEND_TIMEOUT_S)
