"""Runs an app that binds its port by itself, and sees whether it listens there.

Its target is any callable; it is called without arguments, in a thread, and may return or block.
"""

import os
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from supervisor.model import ImportReport

_LISTEN = "0A"  # a state in /proc/net/tcp: net/tcp_states.h
_POLL_S = 0.05


def listens(port: int) -> bool:
    """Say whether this process listens on TCP ``port``."""
    inodes = {
        fields[9]
        for fields in _sockets()
        if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port
    }
    return bool(inodes) and not inodes.isdisjoint(_own_inodes())


def _sockets() -> list[list[str]]:
    found = []
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/self/net/{name}", encoding="ascii") as stream:
                found += [line.split() for line in stream.readlines()[1:]]
        except OSError:  # a kernel without IPv6
            continue
    return found


def _own_inodes() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if link.startswith("socket:["):
            found.add(link[len("socket:[") : -1])
    return found


def run_on_own_port(
    run: Callable[[], Any],
    *,
    name: str,
    target: str,
    port: int,
    timeout_s: float,
    explain: Callable[[BaseException], ImportReport],
    ended: Callable[[ImportReport], None],
) -> ImportReport | None:
    """Call ``run`` in a thread, and wait until this process listens on ``port``.

    Gives a report when it raises before that, or doesn't listen within ``timeout_s`` seconds.
    What it raises later goes to ``ended``, in its thread.
    """
    raised: list[ImportReport] = []
    listening = threading.Event()

    def call() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - the app's own code: reported
            traceback.print_exc()
            raised.append(explain(error))
            if listening.is_set():
                ended(raised[0])

    threading.Thread(target=call, name=name, daemon=True).start()
    deadline = time.monotonic() + timeout_s
    while not listens(port):
        if raised:
            return raised[0]
        if time.monotonic() >= deadline:
            return _silent(target, port, timeout_s)
        time.sleep(_POLL_S)
    listening.set()
    return None


def _silent(target: str, port: int, timeout_s: float) -> ImportReport:
    return ImportReport(
        type="NotListening",
        message=f"{target} was called, and does not listen on port {port} within {timeout_s:g} s",
        file=None,
        line=None,
        missing_module=None,
        hint="let it bind the port that the configuration names, or raise import_timeout_s",
        traceback="",
        seconds=timeout_s,
    )
