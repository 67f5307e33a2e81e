"""What operators may ask the running supervisor for: the methods of the control socket."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from supervisor.control.outcomes import Outcome, Outcomes, done, failed
from supervisor.control.server import Method, RequestError, whole_number
from supervisor.policy import health_document
from supervisor.policy.config_changes import Changes
from supervisor.policy.process_events import ReloadAsked, RestartAsked, StartAsked, StopAsked
from supervisor.process.throwaway import TaskFailed
from supervisor.supervision import log_buffer
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.process_set import ProcessSet
from supervisor.supervision.runtime import Runtime
from supervisor.values.errors import ConfigError
from supervisor.values.events import EventKind
from supervisor.values.states import AppState

_LINES_MAX = 2000

Params = dict[str, Any]
Act = Callable[[AppProcess, list[str]], Awaitable[Outcome]]


class Reconfigure(Protocol):
    """Reads the configuration again and changes what it changes."""

    def __call__(self, *, by: str) -> Awaitable[Changes]:
        """Do so in the name of ``by``; raises `ConfigError`."""


class Commands:
    """The methods, for a `server.ControlServer`.

    ``snapshot`` returns the health document, ``stale_processes`` the names of the processes whose
    files are not what they imported; that may raise `TaskFailed` or OSError.
    """

    def __init__(
        self,
        runtime: Runtime,
        processes: ProcessSet,
        *,
        snapshot: Callable[[], dict[str, Any]],
        reconfigure: Reconfigure,
        stale_processes: Callable[[], Awaitable[set[str]]],
    ) -> None:
        self._runtime = runtime
        self._processes = processes
        self._snapshot = snapshot
        self._reconfigure = reconfigure
        self._stale_processes = stale_processes
        self._outcomes = Outcomes(runtime.signal, processes)

    def methods(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {
            "snapshot": self.snapshot,
            "events": self.events,
            "logs": self.logs,
            "start": self.start,
            "stop": self.stop,
            "restart": self.restart,
            "reload": self.reload,
        }

    # ---- reading

    async def snapshot(self, params: Params) -> dict[str, Any]:
        """Return the health document; raise `RequestError` if one of ``apps`` isn't in it."""
        for name in params.get("apps") or ():
            self.process_of(name)
        return self._snapshot()

    async def events(self, params: Params) -> dict[str, Any]:
        """Return the events above number ``after``, none older than ``max_age_s``, and the last.

        With ``app`` those of that app alone; with ``public`` they don't say who did what, and from
        where.
        """
        after, app = whole_number(params, "after", 0), params.get("app")
        since_s = _since(params, self._runtime.now())
        now, events = self._runtime.now(), self._runtime.journal.events
        documents = [
            {
                "number": number,
                **health_document.event_document(event, now),
                **({} if params.get("public") else {"text": event.full_text}),
            }
            for number, event in events.after(after)
            if (since_s is None or event.monotonic_s >= since_s) and app in (None, event.app)
        ]
        return {"events": documents, "last": events.count}

    async def logs(self, params: Params) -> dict[str, Any]:
        """Return log lines: of ``app`` or of all, above number ``after``, at most ``newest``."""
        app = params.get("app")
        # what several apps of a process print is under the name of the process
        apps = None if app is None else {app, self.process_of(app).name}
        now = self._runtime.now()
        book = self._runtime.journal.lines
        lines = book.lines(
            apps=apps,
            after=whole_number(params, "after", 0),
            newest=min(whole_number(params, "newest", _LINES_MAX), _LINES_MAX),
            since_s=_since(params, now),
        )
        return {"lines": [log_buffer.to_json(line, now) for line in lines], "last": book.last}

    # ---- acting

    async def start(self, params: Params) -> Outcome:
        """Start apps; one that serves is left alone."""
        return await self._each_process(params, self._start)

    async def stop(self, params: Params) -> Outcome:
        """Stop apps until they are started again."""
        return await self._each_process(params, self._stop)

    async def restart(self, params: Params) -> Outcome:
        """End the workers of apps and start them anew."""
        return await self._each_process(params, self._restart)

    async def reload(self, params: Params) -> Outcome:
        """Start the code on disk beside what runs, and let it take over if it can be imported.

        Without ``apps`` the configuration is read again, and what it or the files have changed is
        reloaded.
        """
        if "apps" in params:
            return await self._each_process(params, self._reload)
        states = {name: process.state for name, process in self._processes.by_name.items()}
        try:
            changes = await self._reconfigure(by="an operator")
        except ConfigError as error:
            hint = "nothing has changed; see: flask-supervisor config check"
            raise RequestError("bad_config", str(error), hint) from error
        processes = self._processes.by_name
        before = {n: states[n] for n in changes.changed if n in states and n in processes}
        come = [n for n in (*changes.added, *changes.moved, *changes.changed) if n not in before]
        stale = [n for n in await self._stale() if n not in before and n not in come]
        waits = {
            **{name: self._outcomes.of_new(name) for name in come},
            **{
                name: self._outcomes.of_reload(processes[name], state)
                for name, state in before.items()
            },
            **{name: self._reload(processes[name], []) for name in stale if name in processes},
        }
        outcomes = dict(zip(waits, await asyncio.gather(*waits.values()), strict=True))
        for name in changes.removed:
            outcomes[name] = {"ok": True, "state": "removed", "reason": "removed", "hint": None}
        return {"apps": outcomes, "configuration": str(changes)}

    async def _stale(self) -> set[str]:
        try:
            return await self._stale_processes()
        except (TaskFailed, OSError) as error:
            reason = f"the files of the apps could not be looked at: {error}"
            raise RequestError("failed", reason, "reload the apps by their names") from error

    async def _each_process(self, params: Params, act: Act) -> Outcome:
        """Act on each process of the named apps, once, and wait for all of them together.

        With ``wait`` false the answer comes at once, without outcomes.
        """
        names = params.get("apps")
        if not isinstance(names, list) or not names:
            raise RequestError("bad_params", '"apps" has to be a list of names, or ["all"]')
        chosen = list(self._processes.by_app) if names == ["all"] else names
        found = {name: self.process_of(name) for name in chosen}
        of: dict[AppProcess, list[str]] = {}
        for name, process in found.items():
            of.setdefault(process, []).append(name)
        together = asyncio.gather(*(act(*one) for one in of.items()))
        if params.get("wait") is False:  # the client may be one of these apps
            self._runtime.jobs.run(self._record_failures(list(of.values()), together))
            return {"apps": dict.fromkeys(found)}
        outcomes = dict(zip(of, await together, strict=True))
        return {"apps": {name: outcomes[process] for name, process in found.items()}}

    async def _record_failures(
        self, names: list[list[str]], outcomes: Awaitable[list[Outcome]]
    ) -> None:
        """Wait for outcomes that nobody waits for, and record those that failed as events."""
        for apps, outcome in zip(names, await outcomes, strict=True):
            if not outcome["ok"]:
                text = f"not done as it was asked for: {outcome['reason']}"
                self._runtime.journal.record(EventKind.OPERATOR, text, app=apps[0], problem=True)

    def process_of(self, name: object) -> AppProcess:
        """Return the process of an app; raises `RequestError` where there is none."""
        processes = self._processes.by_app
        if isinstance(name, str) and name in processes:
            return processes[name]
        if isinstance(name, str) and name in self._runtime.config.apps:
            raise RequestError(
                "disabled",
                f"app {name!r} is disabled",
                "set enabled = true in its section, then: flask-supervisor reload",
            )
        known = ", ".join(processes)
        raise RequestError("unknown_app", f"there is no app {name!r}; known: {known}")

    async def _start(self, process: AppProcess, names: list[str]) -> Outcome:
        if all(process.view(name).state is AppState.READY for name in names):
            return done(process.view(names[0]), "it serves already")
        process.on_operator(StartAsked(), apps=names)
        return await self._outcomes.of_apps(process, names, process.state.current)

    async def _restart(self, process: AppProcess, names: list[str]) -> Outcome:
        before = process.state.generation
        process.on_operator(RestartAsked(), apps=names)
        return await self._outcomes.of_apps(process, names, before + 1)

    async def reload_one(self, process: AppProcess, name: str | None) -> Outcome:
        """Reload an app's process, and wait for the outcome."""
        return await self._reload(process, [] if name is None else [name])

    async def _reload(self, process: AppProcess, names: list[str]) -> Outcome:
        before = process.state
        if before.state is AppState.STOPPED:
            return failed(process.state, "it is stopped: start it instead")
        process.on_operator(ReloadAsked(), apps=names)
        if before.state is not AppState.READY:
            return await self._outcomes.of_apps(process, names, before.current + 1)
        return await self._outcomes.of_reload(process, before)

    async def _stop(self, process: AppProcess, names: list[str]) -> Outcome:
        apps = {name: process.view(name).app for name in process.names}
        own = [name for name in names if apps[name].self_bound]
        left = [name for name, app in apps.items() if not (app.stopped or name in names)]
        if own and left:
            reason = f"{own[0]} binds its port itself: stop all of its process"
            return failed(process.view(own[0]), f"{reason}: {', '.join(apps)}")
        process.on_operator(StopAsked(), apps=names)
        return await self._outcomes.of_stop(process, names)


def _since(params: Params, now: float) -> float | None:
    """Return the monotonic time that ``max_age_s`` stands for, None without it."""
    age_s = params.get("max_age_s")
    if age_s is None:
        return None
    if isinstance(age_s, bool) or not isinstance(age_s, int | float):
        raise RequestError("bad_params", '"max_age_s" has to be a number of seconds')
    return now - age_s
