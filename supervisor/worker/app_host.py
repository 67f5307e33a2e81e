"""Imports the apps of a worker, each in isolation, and serves those that could be imported.

Usually a worker hosts one app. Where several share the process, a failed one leaves the others
alone; once it is repaired, it is imported beside them. Needs the standard library and waitress
alone.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from supervisor.process.channel import (
    FILES_IN_MESSAGE,
    SEND_TIMEOUT_S,
    Channel,
    Message,
    in_parts,
)
from supervisor.server.server import Listener, Server
from supervisor.source import app_entries, file_tree
from supervisor.source.fingerprints import Watch, read_watch, stamps, taken, touched
from supervisor.values.errors import ChannelClosed
from supervisor.values.redaction import Redaction
from supervisor.values.reports import ImportReport
from supervisor.worker.before_start import run_before_start
from supervisor.worker.code_contents import CodeContents
from supervisor.worker.code_view import CodeView
from supervisor.worker.file_record import FileRecord
from supervisor.worker.hosted_apps import CodeLocation, HostedApp
from supervisor.worker.importing import import_app, purge_modules, repair_watch
from supervisor.worker.monkey_patching import has_green_threads
from supervisor.worker.self_bound import SelfBoundApp, explained

_THREADS_START_S = 10.0  # also on a busy machine


class AppHost:
    """The apps of one worker, whose code lies in the same place; ``listeners`` are inherited."""

    def __init__(
        self,
        apps: list[HostedApp],
        code: CodeLocation,
        listeners: dict[str, tuple[socket.socket, ...]],
        channel: Channel,
    ) -> None:
        self.server = Server()
        self._apps = {app.name: app for app in apps}
        self._code = code
        self._path = code.path
        self._files = FileRecord(code.path)
        self._reported: set[str] = set()  # files that the apps have written
        self._view: CodeView | None = None  # if another version than the live code is served
        self._sources = Watch(trees=(str(code.root),), skip=code.skip)
        self._before: dict[str, str] = {}  # stamps of the app's files from before the import
        self._inherited = app_entries.newest_module()  # later modules were loaded by the apps
        self._sockets = listeners
        self._channel = channel
        self._served: dict[str, Listener] = {}
        self._closed: set[str] = set()  # apps that are stopped, whether imported already or not
        self._watch: list[dict[str, Any]] = []  # the files as they were before what runs
        self._latest: list[dict[str, Any]] = []  # and before the latest attempt
        self._contents = CodeContents(self._sources)  # before what runs
        self._prepared = False  # the search path and the working folder are set
        self._self_bound: dict[str, SelfBoundApp] = {}
        self.has_ended = False  # the only app is self-bound and doesn't serve any more
        self._calls: deque[Callable[[], None]] = deque()  # for the thread of the server's loop
        self._wakes, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self.server.watch(self._woken.fileno(), self._run_calls)

    @property
    def shared(self) -> bool:
        """Whether several apps share this worker."""
        return len(self._apps) > 1

    def descriptors(self) -> list[int]:
        """Return the descriptors of this worker that no other process may keep."""
        listeners = [one.fileno() for sockets in self._sockets.values() for one in sockets]
        own = [self._channel.fileno(), self._wakes.fileno(), *self.server.descriptors()]
        return [fd for fd in {*listeners, *own} if fd >= 0]

    def import_all(self) -> bool:
        """Import every app and report those that fail; return whether any app can be served."""
        self._note_sources()
        self._send({"type": "importing", "watch": self._watch})
        reports = {}
        for app in self._apps.values():
            report = self._bring_up(app)
            if report is None:
                continue
            reports[app.name] = report
            if has_green_threads():  # no app of this process could answer
                return self._fail(report)
            if self.shared:
                self._send(self._failure("member_failed", report, app=app.name))
        self._note_files_read()
        if len(reports) == len(self._apps):
            return self._fail(next(iter(reports.values())))
        if self._view is None:
            # the templates too, of which only the apps know where they are
            self._contents.add_loaded(self._loaded())
            self._watch = self._latest = self._contents.watched(self._watch)
            self._send({"type": "importing", "watch": self._watch})
            self._contents.begin()
        return self._check_threads()

    def _note_sources(self) -> None:
        """Take the fingerprints of the sources before the import."""
        fingerprint, self._contents.before, is_recent = read_watch(self._sources)
        if self._code.release is None:
            include = self._code.include or app_entries.candidates(self._path)
            self._before = file_tree.stamps(self._path, include, skip=self._code.skip)
        if self._code.release is not None:
            self._view = CodeView(self._path, self._code.release).install()
        self._files.install()
        if is_recent:
            # Python compares the size and the whole second of a source with its cached code: after
            # an edit of the same size in the same second it would run the old code.
            sys.dont_write_bytecode = True
        self._watch = [{"watch": self._sources.to_json(), "fingerprint": fingerprint}]
        self._latest = self._watch

    def _note_files_read(self) -> None:
        """Take the fingerprints of the code that the import has read as files."""
        self._files.import_ended()
        if self._before:
            read = self._files_used(self._imported())
            self._before |= file_tree.stamps(self._path, read, skip=self._code.skip)

    def _fail(self, report: ImportReport) -> bool:
        """Report that no app can be served; return False."""
        self._send(self._failure("import_failed", report))
        return False

    def _check_threads(self) -> bool:
        """Return whether the threads run that are to answer requests; report it if they don't.

        An app may have replaced what threads are made of, or the machine may have none left.
        """
        if self.server.threads_run(timeout_s=_THREADS_START_S):
            return True
        report = ImportReport.without_place(
            type="ThreadsNotRunning",
            message=f"the threads that answer requests don't run {_THREADS_START_S:g} s after "
            "the import",
            hint="does the app patch Python's threading, or has the limit of tasks been reached?",
        )
        return self._fail(report)

    def facts(self) -> Message:
        """Return the entries below the app's folder that the import used."""
        imported = self._imported()
        return {"imported": sorted({*imported, *self._files_used(imported)})}

    def _imported(self) -> list[str]:
        return app_entries.imported(self._path, app_entries.loaded_files(after=self._inherited))

    def _loaded(self) -> set[str]:
        """Return the files of modules, and those that the import has run by their path."""
        run = (*self._files.sources, *self._files.executed)
        loaded = app_entries.loaded_files(after=self._inherited)
        return loaded.union(str(self._path / one) for one in run)

    def _files_used(self, imported: list[str]) -> list[str]:
        files = self._files
        return app_entries.files_used(self._path, imported, files.read, files.sources)

    def _send_imports(self, purpose: str) -> None:
        """Send the stamps of the code from before the import, in parts, and what it used."""
        for part in in_parts(self._before):
            self._send({"type": "stamps", "files": part})
        self._send({"type": "imports", "for": purpose, **self.facts()})

    def report_written(self) -> None:
        """Send the names of files that the apps have written since the last call."""
        if self._files.count == len(self._reported):
            return
        new = sorted({*self._files.written} - self._reported)[:FILES_IN_MESSAGE]
        with contextlib.suppress(ChannelClosed):  # the loop notices that too, and ends this worker
            if self._channel.send_if_read({"type": "written", "files": new}):
                self._reported.update(new)

    def on_message(self, message: Message) -> None:
        """Handle a message of the main process about one app, in the thread of the loop."""
        match message:
            case {"type": "import", "app": name}:
                thread = threading.Thread(
                    target=self._import_beside, args=[self._apps[name]], daemon=True
                )
                thread.start()
            case {"type": "request_imports", "for": purpose}:
                self._send_imports(purpose)
            case {"type": "request_code"}:
                self._contents.report(self._loaded(), self._send_from_thread)
            case {"type": "listener", "app": name, "sockets": count}:
                self._sockets[name] = self._channel.take_sockets(count)
                if name in self._served:
                    self.server.replace(self._served[name], self._sockets[name])
            case {"type": "close" | "open" as what, "app": name}:
                (self._closed.add if what == "close" else self._closed.discard)(name)
                if name in self._served:
                    self.server.set_open(self._served[name], what == "open")

    def _import_beside(self, app: HostedApp) -> None:
        """Import an app beside those that serve, in a thread of its own."""
        report = self._bring_up(app, beside=True)
        if report is not None:
            self._send_from_thread(self._failure("member_failed", report, app=app.name))

    def _bring_up(self, app: HostedApp, *, beside: bool = False) -> ImportReport | None:
        """Import an app and serve it; return a report when that fails.

        ``beside``: in a thread, while other apps serve; there an import can't be interrupted.
        """
        if beside:
            self._note_changes()
        os.environ.update(app.environment)
        time.tzset()  # the app's environment may set TZ
        deadline = time.monotonic() + app.import_timeout_s
        report = run_before_start(app.before_start, self._path, timeout_s=app.import_timeout_s)
        if report is not None:
            return report
        left_s = max(0.1, round(deadline - time.monotonic(), 1))
        before = set(sys.modules) if self.shared else set()
        wsgi_app, report = import_app(
            app.target,
            self._path,
            timeout_s=None if beside else left_s,
            after_import=app.after_import,
            prepared=self._prepared,
            self_bound=app.own_port is not None,
            on_place=self._send_place,
            hide=Redaction(app.secrets),
        )
        self._prepared = True
        if wsgi_app is not None and app.own_port is not None:
            report = self._start_self_bound(app, app.own_port, wsgi_app)
        if report is not None and self.shared:
            purge_modules(before, self._path)
        if report is None:
            self._start_serving(app, wsgi_app, beside=beside)
            return None
        return self._with_lacking_modules(report)

    def _send_place(self, file: str, line: int) -> None:
        """Report where an import is that takes long; in a thread."""
        with contextlib.suppress(ChannelClosed):  # the loop notices that too, and ends this worker
            self._channel.send_if_read({"type": "import_at", "file": file, "line": line})

    def _with_lacking_modules(self, report: ImportReport) -> ImportReport:
        """Return the report with the modules that the import wanted and only the live code has."""
        if self._view is None or not self._view.lacking:
            return report
        files = ", ".join(sorted(self._view.lacking))
        return replace(report, hint=f"only the live code has {files}, the release does not")

    def _note_changes(self) -> None:
        """Take the files as they are now for those that run, unless a loaded one has changed.

        Otherwise a process would count as stale for ever once one of its apps has been repaired.
        """
        loaded = app_entries.loaded_files(after=self._inherited)
        self._contents.add_loaded(loaded)
        self._latest = self._contents.watched([taken(self._sources)])
        now = stamps(self._sources)
        changed = touched(self._contents.before, now)
        if any(not path.endswith(".py") or path in loaded for path in changed):
            return
        self._contents.before, self._watch = now, self._latest

    def _start_serving(self, app: HostedApp, wsgi_app: Any, *, beside: bool) -> None:
        """Serve an app that has been imported; the loop reports one that joins others."""
        self._contents.add_app(wsgi_app, self._path)
        if beside:
            self._contents.begin()
        if app.own_port is not None:
            if beside:
                self._send_from_thread(self._member_ready(app))
        elif beside:
            self._call_in_loop(lambda: self._serve(app, wsgi_app))
            self._call_in_loop(lambda: self._send(self._member_ready(app)))
        else:
            self._serve(app, wsgi_app)

    def _member_ready(self, app: HostedApp) -> Message:
        return {"type": "member_ready", "app": app.name, "watch": self._watch}

    def _serve(self, app: HostedApp, wsgi_app: Any) -> None:
        if app.name in self._sockets:  # else its port isn't bound yet
            self._served[app.name] = self.server.add(
                self._sockets[app.name],
                wsgi_app,
                name=app.name,
                threads=app.threads,
                max_threads=app.max_threads,
                options=app.options,
                access_log=app.access_log,
                is_open=app.name not in self._closed,
            )

    def _start_self_bound(self, app: HostedApp, port: int, run: Any) -> ImportReport | None:
        if app.name not in self._self_bound:
            self._self_bound[app.name] = SelfBoundApp(
                target=app.target,
                port=port,
                explain=lambda error: explained(
                    error, app.target, self._path, port, Redaction(app.secrets)
                ),
                ended=lambda report: self._self_bound_ended(app, report),
            )
        return self._self_bound[app.name].start(run, timeout_s=app.import_timeout_s)

    def _self_bound_ended(self, app: HostedApp, report: ImportReport) -> None:
        """Report a self-bound app that has stopped serving; in a thread."""
        sys.modules.pop(app.target.partition(":")[0], None)  # so that a repaired one is imported
        self._send_from_thread(self._failure("member_failed", report, app=app.name))
        if not self.shared:
            self.has_ended = True
            self.server.drain(timeout_s=0, idle_s=0)

    def _failure(self, kind: str, report: ImportReport, **more: str) -> Message:
        watch = [*self._latest, taken(repair_watch(self._path, report.missing_module))]
        return {"type": kind, "report": report.to_json(), "watch": watch, **more}

    def _send(self, message: Message) -> None:
        self._channel.send_all(message, timeout_s=SEND_TIMEOUT_S)

    def _send_from_thread(self, message: Message) -> None:
        with contextlib.suppress(ChannelClosed):  # the loop notices that too, and ends this worker
            self._send(message)

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        self._calls.append(call)
        self._wakes.send(b"1")

    def _run_calls(self) -> None:
        self._woken.recv(100)
        while self._calls:
            self._calls.popleft()()
