"""The apps in a worker: imports each in isolation, serves those that could be imported.

Mostly there is one. Where several share the process, one that fails spares the others, and may
be imported later, when it has been repaired, without disturbing them. Needs the standard library
and waitress alone.
"""

import errno
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any, Self

from supervisor.ports.conflict import conflict
from supervisor.process.channel import Channel, Message
from supervisor.server.server import Listener, Server
from supervisor.source import app_entries, file_tree
from supervisor.source.fingerprints import (
    Watch,
    beyond_tree,
    read_watch,
    stamps,
    taken,
    touched,
)
from supervisor.values.errors import ChannelClosed
from supervisor.values.records import dataclass
from supervisor.values.redaction import Redaction
from supervisor.values.reports import ImportReport
from supervisor.worker.before_start import run_before_start
from supervisor.worker.importing import explain, import_app, purge
from supervisor.worker.self_bound import OwnPort

SEND_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """What a worker has to know of one app; ``own_port`` is the port that it binds itself."""

    name: str
    target: str
    threads: int
    max_threads: int
    options: dict[str, Any]
    import_timeout_s: float
    before_start: list[list[str]]
    after_import: list[str]
    own_port: int | None = None
    environment: dict[str, str] = field(repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)  # never in a report

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object that `from_json` reads."""
        return {**asdict(self), "secrets": sorted(self.secrets)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(**{**fields, "secrets": frozenset(fields["secrets"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Where the code of a worker lies: in the folder ``path``, which it works in, or in a release.

    ``include`` is what the configuration says belongs to it, ``skip`` are folders that never do.
    """

    path: Path
    release: Path | None = None
    include: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The folder that is searched for modules first."""
        return self.release or self.path


class Hosting:
    """The apps of one worker, which have the same ``code``; ``listeners`` are inherited."""

    def __init__(
        self,
        apps: list[Hosted],
        code: Code,
        listeners: dict[str, socket.socket],
        channel: Channel,
    ) -> None:
        self.server = Server()
        self._apps = {app.name: app for app in apps}
        self._code = code
        self._path = code.root
        self._sources = Watch(trees=(str(code.root),), skip=code.skip)
        self._before: dict[str, str] = {}
        self._inherited = app_entries.newest_module()  # what is loaded later, the apps have loaded
        self._sockets = listeners
        self._channel = channel
        self._served: dict[str, Listener] = {}
        self._watch: list[dict[str, Any]] = []  # the files as they were for what runs
        self._latest: list[dict[str, Any]] = []  # and at the latest attempt
        self._stamps: frozenset[str] = frozenset()  # of the files that what runs was made of
        self._prepared = False
        self._own_ports: dict[str, OwnPort] = {}
        self.gave_up = False  # the only app serves no more
        self._later: deque[Callable[[], None]] = deque()  # for the loop's thread
        self._wakes, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self.server.watch(self._woken.fileno(), self._do_later)

    @property
    def shared(self) -> bool:
        """Whether several apps share this worker."""
        return len(self._apps) > 1

    def import_all(self) -> bool:
        """Import every app, and tell of those that fail; gives whether there is one to serve."""
        found, lately = read_watch(self._sources)
        if not self.shared and self._code.release is None:
            include = self._code.include or app_entries.candidates(self._path)
            self._before = file_tree.fingerprints(self._path, include, skip=self._code.skip)
        if self._code.release is not None:
            sys.dont_write_bytecode = True  # a release stays as it is
        if lately:
            # Python takes a cached file as good by size and whole second: an edit of the same size
            # in the same second would be served as it was before.
            sys.dont_write_bytecode = True
        self._watch = self._latest = [{"watch": self._sources.to_json(), "fingerprint": found}]
        if self.shared:
            self._stamps = stamps(self._sources)
        self._tell({"type": "importing", "watch": self._watch})
        reports = {}
        for app in self._apps.values():
            report = self._bring_up(app)
            if report is not None:
                reports[app.name] = report
                if self.shared:
                    self._tell(self._failure("member_failed", report, app=app.name))
        if len(reports) < len(self._apps):
            return True
        self._tell(self._failure("import_failed", next(iter(reports.values()))))
        return False

    def facts(self) -> Message:
        """Give what is worth knowing of the code: its fingerprints before, what was imported."""
        imported = app_entries.imported(self._path, app_entries.loaded_files(after=self._inherited))
        return {"before": self._before, "imported": imported}

    def on_message(self, message: Message) -> None:
        """Do what the main process says about one app; in the loop's thread."""
        match message:
            case {"type": "import", "app": name}:
                thread = threading.Thread(
                    target=self._import_later, args=[self._apps[name]], daemon=True
                )
                thread.start()
            case {"type": "tell_code"}:
                self._tell({"type": "code", **self.facts()})
            case {"type": "close", "app": name} if name in self._served:
                self._served[name].accepting = False
                self._served[name].draining = True
            case {"type": "open", "app": name} if name in self._served:
                self._served[name].accepting = True
                self._served[name].draining = False

    def _import_later(self, app: Hosted) -> None:
        """Import an app beside those that serve; in a thread of its own."""
        report = self._bring_up(app, later=True)
        if report is not None:
            self._tell_from_thread(self._failure("member_failed", report, app=app.name))

    def _bring_up(self, app: Hosted, *, later: bool = False) -> ImportReport | None:
        """Import an app and serve it; gives a report of why not.

        ``later``: in a thread beside those that serve, where an import can't be interrupted.
        """
        if later:
            self._note_changes()
        os.environ.update(app.environment)
        time.tzset()  # the environment of the app may set TZ
        deadline = time.monotonic() + app.import_timeout_s
        report = run_before_start(app.before_start, self._path, timeout_s=app.import_timeout_s)
        if report is not None:
            return report
        left_s = max(0.1, round(deadline - time.monotonic(), 1))
        before = set(sys.modules) if self.shared else set()
        wsgi_app, report = import_app(
            app.target,
            self._path,
            timeout_s=None if later else left_s,
            after_import=app.after_import,
            prepared=self._prepared,
            working_folder=self._code.path,
            hide=Redaction(app.secrets),
        )
        self._prepared = True
        if wsgi_app is None:
            if self.shared:
                purge(before, self._path)
            return report
        if app.own_port is not None:
            report = self._run_on_own_port(app, wsgi_app)
            if report is None and later:
                ready = {"type": "member_ready", "app": app.name, "watch": self._watch}
                self._tell_from_thread(ready)
            elif report is not None and self.shared:
                purge(before, self._path)
            return report
        if later:
            self._in_loop(lambda: self._serve(app, wsgi_app, joins=True))
        else:
            self._serve(app, wsgi_app)
        return None

    def _note_changes(self) -> None:
        """Take the files as they are now for those that run, if no loaded one has changed.

        Else a process would count as stale for ever, once one of its apps has been repaired.
        """
        self._latest, now = [taken(self._sources)], stamps(self._sources)
        loaded = app_entries.loaded_files(after=self._inherited)
        changed = touched(self._stamps, now)
        if any(not path.endswith(".py") or path in loaded for path in changed):
            return
        self._stamps, self._watch = now, self._latest

    def _serve(self, app: Hosted, wsgi_app: Any, *, joins: bool = False) -> None:
        if app.name in self._sockets:  # else its port isn't bound yet
            self._served[app.name] = self.server.add(
                self._sockets[app.name],
                wsgi_app,
                name=app.name,
                threads=app.threads,
                max_threads=app.max_threads,
                options=app.options,
            )
        if joins:
            self._tell({"type": "member_ready", "app": app.name, "watch": self._watch})

    def _run_on_own_port(self, app: Hosted, run: Any) -> ImportReport | None:
        assert app.own_port is not None
        if app.name not in self._own_ports:
            self._own_ports[app.name] = OwnPort(
                target=app.target,
                port=app.own_port,
                explain=lambda error: self._explain(app, error),
                ended=lambda report: self._own_port_ended(app, report),
            )
        return self._own_ports[app.name].start(run, timeout_s=app.import_timeout_s)

    def _explain(self, app: Hosted, error: BaseException) -> ImportReport:
        """Say why an app could not bind its port, or failed later; blocks."""
        report = explain(
            error, target=app.target, path=self._path, seconds=0.0, hide=Redaction(app.secrets)
        )
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE and app.own_port:
            found = conflict(app.own_port, os.getpid())
            report = replace(report, hint=f"{found['reason']}; {found['hint']}")
        return report

    def _own_port_ended(self, app: Hosted, report: ImportReport) -> None:
        """Tell that an app that served on a port of its own does so no more; in a thread."""
        sys.modules.pop(app.target.partition(":")[0], None)  # it may be repaired and come again
        self._tell_from_thread(self._failure("member_failed", report, app=app.name))
        if not self.shared:
            self.gave_up = True
            self.server.drain(timeout_s=0, idle_s=0)

    def _failure(self, kind: str, report: ImportReport, **more: str) -> Message:
        beyond = _beyond(self._path, report.missing_module)
        watch = [*self._latest, taken(beyond)]
        return {"type": kind, "report": report.to_json(), "watch": watch, **more}

    def _tell(self, message: Message) -> None:
        self._channel.send_all(message, timeout_s=SEND_TIMEOUT_S)

    def _tell_from_thread(self, message: Message) -> None:
        try:
            self._tell(message)
        except ChannelClosed:
            return  # the loop notices too, and ends this worker

    def _in_loop(self, call: Callable[[], None]) -> None:
        self._later.append(call)
        self._wakes.send(b"1")

    def _do_later(self) -> None:
        self._woken.recv(100)
        while self._later:
            self._later.popleft()()


def _beyond(path: Path, missing: str | None) -> Watch:
    """Watch what lies elsewhere, and where the missing module would come."""
    parent = sys.modules.get((missing or "").rpartition(".")[0])
    folders = [*sys.path, *getattr(parent, "__path__", [])]
    return beyond_tree(path, folders, app_entries.loaded_files())
