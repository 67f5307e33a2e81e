"""What operators may ask the running supervisor for: the methods of the control socket."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from supervisor.config.settings import Config
from supervisor.control.server import Method, RequestError, whole_number
from supervisor.policy import health_document
from supervisor.policy.config_changes import Changes
from supervisor.policy.process_state import (
    ProcessState,
    ReloadAsked,
    RestartAsked,
    StartAsked,
    StopAsked,
)
from supervisor.process.throwaway import TaskFailed
from supervisor.supervision import log_buffer
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.log_buffer import LogBook
from supervisor.values.errors import ConfigError
from supervisor.values.events import EventLog
from supervisor.values.states import AppState

_MARGIN_S = 5.0  # beyond the app's own limits, before an outcome counts as unknown
_POLL_S = 0.02
_LINES_MAX = 2000
_ENDED = (AppState.BACKOFF, AppState.FAILED, AppState.STOPPED, AppState.BLOCKED)

Params = dict[str, Any]
Outcome = dict[str, Any]
Act = Callable[[AppProcess, list[str]], Awaitable[Outcome]]


class Supervised(Protocol):
    """What the methods need of the supervisor."""

    config: Config
    log_book: LogBook
    event_log: EventLog

    def now(self) -> float:
        """Give the monotonic time in seconds."""

    def snapshot(self) -> dict[str, Any]:
        """Give the health document."""

    def services(self) -> dict[str, AppProcess]:
        """Give the services by app."""

    def processes(self) -> dict[str, AppProcess]:
        """Give the services by process."""

    async def reconfigure(self, *, by: str) -> Changes:
        """Read the configuration anew and change what it changes; raises `ConfigError`."""

    async def looks_now(self) -> set[str]:
        """Give the names of the apps whose files are not what they imported."""


class Commands:
    """The methods, for a `server.ControlServer`."""

    def __init__(self, supervised: Supervised) -> None:
        self._supervised = supervised

    def methods(self) -> dict[str, Method]:
        """Give the methods by name."""
        return {
            "snapshot": self.snapshot,
            "events": self.events,
            "logs": self.logs,
            "start": self.start,
            "stop": self.stop,
            "restart": self.restart,
            "reload": self.reload,
        }

    async def snapshot(self, _params: Params) -> dict[str, Any]:
        """Give the health document."""
        return self._supervised.snapshot()

    async def events(self, params: Params) -> dict[str, Any]:
        """Give the events with a number above ``after``, and the newest number."""
        after = whole_number(params, "after", 0)
        now = self._supervised.now()
        found = self._supervised.event_log.after(after)
        documents = [{"number": n, **health_document.event_document(e, now)} for n, e in found]
        return {"events": documents, "last": self._supervised.event_log.count}

    async def logs(self, params: Params) -> dict[str, Any]:
        """Give log lines: of ``app`` or of all, above number ``after``, at most ``newest``."""
        app = params.get("app")
        # what a process prints that several share stands under the name of the process
        apps = None if app is None else {app, self.service(app).name}
        now = self._supervised.now()
        since_s = params.get("max_age_s")
        if since_s is not None and not isinstance(since_s, int | float):
            raise RequestError("bad_params", '"max_age_s" has to be a number of seconds')
        book = self._supervised.log_book
        lines = book.lines(
            apps=apps,
            after=whole_number(params, "after", 0),
            newest=min(whole_number(params, "newest", _LINES_MAX), _LINES_MAX),
            since_s=None if since_s is None else now - since_s,
        )
        return {"lines": [log_buffer.to_json(line, now) for line in lines], "last": book.last}

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
        """Bring up the code on disk beside what runs, and let it take over if it can.

        Without ``apps`` the configuration is read anew, and what it or the files have changed is
        reloaded.
        """
        if "apps" in params:
            return await self._each_process(params, self._reload)
        lives = {name: service.life for name, service in self._supervised.processes().items()}
        try:
            changes = await self._supervised.reconfigure(by="an operator")
        except ConfigError as error:
            hint = "nothing has changed; see: flask-supervisor config check"
            raise RequestError("bad_config", str(error), hint) from error
        services = self._supervised.processes()
        before = {n: lives[n] for n in changes.changed if n in lives and n in services}
        come = [n for n in (*changes.added, *changes.moved, *changes.changed) if n not in before]
        stale = [n for n in await self._stale() if n not in before and n not in come]
        waits = {
            **{name: self._until_it_came(name) for name in come},
            **{name: self._until_reloaded(services[name], life) for name, life in before.items()},
            **{name: self._reload(services[name], []) for name in stale if name in services},
        }
        outcomes = dict(zip(waits, await asyncio.gather(*waits.values()), strict=True))
        for name in changes.removed:
            outcomes[name] = {"ok": True, "state": "removed", "reason": "removed", "hint": None}
        return {"apps": outcomes, "configuration": str(changes)}

    async def _stale(self) -> set[str]:
        try:
            return await self._supervised.looks_now()
        except (TaskFailed, OSError) as error:
            reason = f"the files of the apps could not be looked at: {error}"
            raise RequestError("failed", reason, "reload the apps by their names") from error

    async def _each_process(self, params: Params, act: Act) -> Outcome:
        """Act on each process of the named apps, once, and wait for all of them together."""
        names = params.get("apps")
        if not isinstance(names, list) or not names:
            raise RequestError("bad_params", '"apps" has to be a list of names, or ["all"]')
        chosen = list(self._supervised.services()) if names == ["all"] else names
        found = {name: self.service(name) for name in chosen}
        of: dict[AppProcess, list[str]] = {}
        for name, service in found.items():
            of.setdefault(service, []).append(name)
        outcomes = dict(
            zip(of, await asyncio.gather(*(act(*one) for one in of.items())), strict=True)
        )
        return {"apps": {name: outcomes[service] for name, service in found.items()}}

    def service(self, name: object) -> AppProcess:
        """Give the service of an app; raises `RequestError` where there is none."""
        services = self._supervised.services()
        if isinstance(name, str) and name in services:
            return services[name]
        disabled = isinstance(name, str) and name in self._supervised.config.apps
        if disabled:
            raise RequestError(
                "disabled",
                f"app {name!r} is disabled",
                "set enabled = true in its section, and start the supervisor anew",
            )
        raise RequestError("unknown_app", f"there is no app {name!r}; known: {', '.join(services)}")

    async def _start(self, service: AppProcess, names: list[str]) -> Outcome:
        if all(self._state(service, name) is AppState.READY for name in names):
            return _done(service, names[0], "it serves already")
        service.on_operator(StartAsked(), apps=names)
        return await self._until_they_serve(service, names, service.life.current)

    async def _restart(self, service: AppProcess, names: list[str]) -> Outcome:
        before = service.life.generation
        service.on_operator(RestartAsked(), apps=names)
        return await self._until_they_serve(service, names, before + 1)

    async def reload_one(self, service: AppProcess, name: str | None) -> Outcome:
        """Reload an app's process, and wait for the outcome."""
        return await self._reload(service, [] if name is None else [name])

    async def _reload(self, service: AppProcess, names: list[str]) -> Outcome:
        state = service.life.state
        if state is AppState.STOPPED:
            return _failed(service, None, "it is stopped: start it instead")
        before = service.life
        service.on_operator(ReloadAsked(), apps=names)
        if state is not AppState.READY:
            return await self._until_they_serve(service, names or [None], before.current + 1)
        return await self._until_reloaded(service, before)

    async def _until_reloaded(self, service: AppProcess, before: ProcessState) -> Outcome:
        """Wait until a newer generation than that of ``before`` serves, or is refused."""
        if before.stopped:
            return _done(service, None, "it is stopped: it starts with what is new")
        limits = service.life.limits
        limit_s = limits.import_timeout_s + 2 * limits.stop_timeout_s + _MARGIN_S
        deadline = self._supervised.now() + limit_s
        while self._supervised.now() < deadline:
            life = service.life
            if life.refusal is not None and life.refusal is not before.refusal:
                cause = life.refusal.cause
                reason = f"refused, what runs goes on: {cause.reason}"
                return {"ok": False, "state": str(life.state), "reason": reason, "hint": cause.hint}
            if (
                life.state is AppState.READY
                and life.current > before.current
                and life.candidate is None
                and service.handed_over
            ):
                return _ready(service, None)
            if life.state in _ENDED:
                return _failed(service, None, None)
            await asyncio.sleep(_POLL_S)
        return _failed(service, None, f"no outcome within {limit_s:g} s")

    async def _until_it_came(self, process: str) -> Outcome:
        """Wait for a process that a new configuration brings."""
        deadline = self._supervised.now() + _MARGIN_S
        while process not in self._supervised.processes():
            if self._supervised.now() > deadline:
                reason = "it waits until the one before it has ended: it can't run twice"
                return {"ok": False, "state": "starting", "reason": reason, "hint": None}
            await asyncio.sleep(_POLL_S)
        return await self._until_it_serves(self._supervised.processes()[process], None, 1)

    async def _stop(self, service: AppProcess, names: list[str]) -> Outcome:
        own = [name for name in names if not service.members[name].port.owned]
        left = [m.name for m in service.members.values() if not (m.stopped or m.name in names)]
        if own and left:
            reason = f"{own[0]} binds its port itself: stop all of its process"
            return _failed(service, own[0], f"{reason}: {', '.join(service.members)}")
        service.on_operator(StopAsked(), apps=names)
        deadline = self._supervised.now() + service.life.limits.stop_timeout_s + _MARGIN_S
        while self._supervised.now() < deadline:
            if any(self._state(service, name) is not AppState.STOPPED for name in names):
                return _failed(service, names[0], "it has been started again meanwhile")
            if not service.workers or not service.life.stopped:  # its mates serve on
                return _done(service, names[0], "stopped")
            await asyncio.sleep(_POLL_S)
        return _failed(service, names[0], "its worker has not ended yet")

    async def _until_they_serve(
        self, service: AppProcess, names: Sequence[str | None], generation: int
    ) -> Outcome:
        """Wait until all apps of a process serve; gives the outcome of the first that doesn't."""
        for name in names:
            outcome = await self._until_it_serves(service, name, generation)
            if not outcome["ok"]:
                break
        return outcome

    async def _until_it_serves(
        self, service: AppProcess, name: str | None, generation: int
    ) -> Outcome:
        """Wait for the outcome of the attempt with ``generation``, or a later one."""
        limits = service.life.limits
        limit_s = limits.import_timeout_s + limits.stop_timeout_s + _MARGIN_S
        deadline = self._supervised.now() + limit_s
        while self._supervised.now() < deadline:
            state = self._state(service, name)
            if state is AppState.READY and service.life.current >= generation:
                return _ready(service, name)
            if state in _ENDED:
                return _failed(service, name, None)
            await asyncio.sleep(_POLL_S)
        return _failed(service, name, f"no outcome within {limit_s:g} s")

    @staticmethod
    def _state(service: AppProcess, name: str | None) -> AppState:
        return _view(service, name).state


def _view(service: AppProcess, name: str | None) -> ProcessState:
    """Give the life of an app, or of its whole process."""
    if name is None:
        return service.life
    return service.members[name].view(service.life)


def _done(service: AppProcess, name: str | None, text: str) -> Outcome:
    return {"ok": True, "state": str(_view(service, name).state), "reason": text, "hint": None}


def _ready(service: AppProcess, name: str | None) -> Outcome:
    """Say that an app serves, and if that is not its live code, why."""
    outcome = _done(service, name, f"ready, as pid {service.life.pid}")
    why = service.life.fallen_back
    if why is not None:
        outcome["reason"] += f"; {why.reason}"
        outcome["hint"] = why.hint
    return outcome


def _failed(service: AppProcess, name: str | None, text: str | None) -> Outcome:
    life = _view(service, name)
    cause = life.cause
    return {
        "ok": False,
        "state": str(life.state),
        "reason": text or (cause.reason if cause else f"it is {life.state}"),
        "hint": cause.hint if cause and not text else None,
    }
