"""Tells people of changes: a thread for each destination, a child for each message.

What to tell, and when, is decided by `supervisor.policy.notifications`.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from supervisor.files.atomic_file import write_whole
from supervisor.policy import notifications
from supervisor.policy.notifications import Announced, Notice, NotifierState, Observation
from supervisor.values.reports import Cause
from supervisor.values.states import Status

LOOK_S = 5.0  # between two looks at how things are
_SEND_TIMEOUT_S = 60.0
_SIZE_MAX = 2**20  # bytes of the file of what was announced

Documents = dict[str, dict[str, Any]]
Look = Callable[[], tuple[Documents, Documents]]  # the health documents of apps, and of checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Who is told, of what: see ``[[notify]]``."""

    url: str
    least: Status
    apps: frozenset[str]

    @property
    def key(self) -> str:
        """Names the destination without its secrets."""
        return sha256(self.url.encode()).hexdigest()[:16]


class AnnouncedFile:
    """What was announced to whom, over restarts: one small file, written whole and on change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._content: dict[str, Any] | None = None

    def load(self, key: str) -> NotifierState:
        """Return the state of a destination; what can't be read counts as nothing announced."""
        with self._lock:
            try:
                return NotifierState.from_json(self._read().get(key, {}))
            except ValueError:
                return NotifierState(subjects={})

    def save(self, key: str, state: NotifierState) -> None:
        """Write what was announced to a destination; raises OSError."""
        with self._lock:
            content = {**self._read(), key: notifications.announced_json(state)}
            if content != self._content:
                write_whole(self._path, json.dumps(content).encode())
                self._content = content

    def _read(self) -> dict[str, Any]:
        if self._content is None:
            try:
                with self._path.open("rb") as stream:
                    found = json.loads(stream.read(_SIZE_MAX))
            except (OSError, ValueError, RecursionError):
                found = None
            self._content = found if isinstance(found, dict) else {}
        return self._content


class Notifier(threading.Thread):
    """Tells one destination how apps and checks change, for ever."""

    def __init__(self, destination: Destination, look: Look, file: AnnouncedFile) -> None:
        super().__init__(name="notify", daemon=True)
        self._destination = destination
        self._look = look
        self._file = file
        self._stopped = threading.Event()
        self._problem: str | None = None

    @property
    def problem(self) -> Cause | None:
        """Why the last message could not be delivered; None when it was."""
        if self._problem is None:
            return None
        hint = "it is tried again; try it with: flask-supervisor notify test"
        return Cause(reason=f"a message could not be delivered: {self._problem}", hint=hint)

    def stop(self) -> None:
        """End this thread after the message that is being sent."""
        self._stopped.set()

    def run(self) -> None:
        """Look, and tell what is news."""
        state = self._file.load(self._destination.key)
        while not self._stopped.is_set():
            state = self._turn(notifications.observed(state, self._seen(), time.monotonic()))
            self._stopped.wait(LOOK_S)

    def _seen(self) -> dict[str, Observation | None]:
        apps, checks = self._look()
        return notifications.observations(
            apps, checks, least=self._destination.least, only_apps=self._destination.apps
        )

    def _turn(self, state: NotifierState) -> NotifierState:
        notices = notifications.due(state, time.monotonic())
        if not notices:
            return state
        title, body = notifications.message(notices, socket.gethostname())
        self._problem = send_in_child(self._destination.url, title, body, worst(notices))
        if self._problem is not None:
            return notifications.undelivered(state, time.monotonic())
        state = notifications.delivered(state, notices, time.monotonic())
        try:
            self._file.save(self._destination.key, state)
        except OSError as error:  # a full disk: after a restart it may be told twice
            self._problem = f"what was announced can't be kept: {error.strerror}"
        return state


def worst(notices: list[Notice]) -> str:
    """Return the word for the kind of a message: of the worst of its notices."""
    order = list(Announced)
    return str(max((notice.kind for notice in notices), key=order.index))


def send_in_child(
    url: str, title: str, body: str, kind: str, *, timeout_s: float = _SEND_TIMEOUT_S
) -> str | None:
    """Return why a message could not be delivered, or None; blocks for ``timeout_s`` at most."""
    given = {"url": url, "title": title, "body": body, "kind": kind}
    command = [sys.executable, "-m", "supervisor.health.send_message"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(given).encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        answer = json.loads(done.stdout)
        problem = answer["problem"]
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout_s:g} s"
    except OSError as error:
        return f"the sender can't be started: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return "the sender ended without an answer"
    return None if problem is None else str(problem)
