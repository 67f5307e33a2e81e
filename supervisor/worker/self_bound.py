"""Runs a self-bound app, and checks that it listens on its port.

The target of such an app is any callable. It is called without arguments in a thread, binds the
port itself, and may return or block.
"""

import contextlib
import errno
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from supervisor.ports.conflict import conflict
from supervisor.values.reports import ImportReport
from supervisor.worker.import_failure import Hide, failure_report

_LISTEN = "0A"  # a state in /proc/net/tcp: net/tcp_states.h
_POLL_S = 0.05
_CHECK_EVERY_S = 1.0  # whether it still listens


def listens(port: int, pids: Iterable[int] = ()) -> bool:
    """Return whether this process, or one of ``pids`` in its place, listens on TCP ``port``."""
    inodes = {
        fields[9]
        for fields in _sockets()
        if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port
    }
    return bool(inodes) and not inodes.isdisjoint(_inodes(pids or [os.getpid()]))


def _sockets() -> list[list[str]]:
    found = []
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/self/net/{name}", encoding="ascii") as stream:
                found += [line.split() for line in stream.readlines()[1:]]
        except OSError:  # a kernel without IPv6
            continue
    return found


def _inodes(pids: Iterable[int]) -> set[str]:
    """Return the inodes of the sockets that these processes hold."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it, or the descriptor, is gone
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    link = os.readlink(entry.path)
                    if link.startswith("socket:["):
                        found.add(link[len("socket:[") : -1])
    return found


def explained(error: BaseException, target: str, path: Path, port: int, hide: Hide) -> ImportReport:
    """Return a report of what a self-bound app raised, naming the port's holder; blocks."""
    report = failure_report(error, target=target, path=path, seconds=0.0, hide=hide)
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        found = conflict(port, os.getpid())
        report = replace(report, hint=f"{found['reason']}; {found['hint']}")
    return report


class SelfBoundApp:
    """The app ``target``, which binds ``port`` itself, in this process.

    ``explain`` turns what it raises into a report. ``ended`` receives the report, in a thread, when
    the app raises, or stops listening, after it has listened.
    """

    def __init__(
        self,
        *,
        target: str,
        port: int,
        explain: Callable[[BaseException], ImportReport],
        ended: Callable[[ImportReport], None],
    ) -> None:
        self._target = target
        self._port = port
        self._explain = explain
        self._ended = ended
        self._thread: threading.Thread | None = None
        self._raised: ImportReport | None = None
        self._has_raised = threading.Event()

    def start(self, run: Callable[[], Any], *, timeout_s: float) -> ImportReport | None:
        """Call ``run`` in a thread, and wait until this process listens on the port.

        Returns a report when ``run`` raises before that, or the process doesn't listen within
        ``timeout_s`` seconds. While an earlier call has not returned, ``run`` is not called: the
        earlier one may still listen.
        """
        thread = self._thread
        if thread is None or self._raised or not (thread.is_alive() or listens(self._port)):
            self._raised = None
            self._has_raised.clear()
            self._thread = threading.Thread(
                target=self._call, args=[run], name=self._target, daemon=True
            )
            self._thread.start()
        deadline = time.monotonic() + timeout_s
        while not listens(self._port):
            if self._has_raised.wait(_POLL_S):
                return self._raised
            if time.monotonic() >= deadline:
                return self._not_listening(
                    f"does not listen on port {self._port} within {timeout_s:g} s"
                )
        threading.Thread(target=self._watch, name=f"{self._target}-watch", daemon=True).start()
        return None

    def _call(self, run: Callable[[], Any]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - the app's own code: reported
            traceback.print_exc()
            self._raised = self._explain(error)
            self._has_raised.set()

    def _watch(self) -> None:
        """Wait until the app has raised or stopped listening, and report that."""
        while not self._has_raised.wait(_CHECK_EVERY_S):
            if not listens(self._port):
                self._has_raised.wait(_CHECK_EVERY_S)  # what it raises explains more
                break
        report = self._raised or self._not_listening(
            f"does not listen on port {self._port} any more"
        )
        self._ended(report)

    def _not_listening(self, what: str) -> ImportReport:
        running = self._thread is not None and self._thread.is_alive()
        call = "the call has not returned" if running else "the call has returned"
        return ImportReport.without_place(
            type="NotListening",
            message=f"{self._target} was called, and {what}; {call}",
            hint="let it bind the port that the configuration names, or raise import_timeout_s",
        )
