"""What the admin app asks for beside the commands: the configuration, failures, machines, people.

Whatever reads or writes a file, or asks another machine, runs in a throw-away child (`admin_jobs`).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from supervisor.control.methods import Commands, Params, Reconfigure
from supervisor.control.server import Method, RequestError
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.supervision.runtime import Runtime
from supervisor.values.errors import ConfigError
from supervisor.values.events import EventKind
from supervisor.values.terminal import printable

_FILES_S = 20.0  # a slow SD card
_TEXT_MAX = 300  # characters of what is put into an event
_SEND_S = 65.0  # one message has 60 s

Failure = Callable[[str], dict[str, Any] | None]


class AdminMethods:
    """The methods; ``failure_of`` returns the last failure of an app or process in full."""

    def __init__(
        self, runtime: Runtime, commands: Commands, reconfigure: Reconfigure, failure_of: Failure
    ) -> None:
        self._runtime = runtime
        self._commands = commands
        self._reconfigure = reconfigure
        self._failure_of = failure_of
        # of each app: which failure, and the source around it when somebody first asked for that
        self._excerpts: dict[str, tuple[tuple[str, ...], list[dict[str, Any]]]] = {}

    def methods(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {
            "admin.settings": self.settings,
            "admin.audit": self.audit,
            "admin.announce": self.announce,
            "admin.failure": self.failure,
            "config.show": self.config_show,
            "config.text": self.config_text,
            "config.check": self.config_check,
            "config.apply": self.config_apply,
            "config.kept": self.config_kept,
            "config.reload": self.config_reload,
            "notify.test": self.notify_test,
            "admin.fleet": self.fleet,
        }

    async def settings(self, _params: Params) -> dict[str, Any]:
        """Return who may read without a login, and which people are told of what."""
        config = self._runtime.config
        told = [{"on": one.on, "apps": one.apps} for one in config.notify]
        return {"anonymous": config.admin.anonymous, "notify": told}

    async def audit(self, params: Params) -> dict[str, Any]:
        """Record as an event what a person or program did by way of the admin app."""
        app = params.get("app")
        if app is not None and app not in self._runtime.config.apps:
            app = None
        text, by = _line(params, "text"), _line(params, "by")
        self._runtime.journal.record(EventKind.AUDIT, text, app=app, by=by)
        return {}

    async def announce(self, params: Params) -> dict[str, Any]:
        """Write a text to the log alone: not to the events, nor to the lines that are kept."""
        text = _line(params, "text")
        # as a problem: with a higher log_level it would not be written
        self._runtime.journal.log_only(text, kind=EventKind.AUDIT, problem=True)
        return {}

    async def failure(self, params: Params) -> dict[str, Any]:
        """Return the last failure of ``app``: its report, its last output, the source around it."""
        process = self._commands.process_of(params.get("app"))
        name = str(params["app"])
        found = self._failure_of(name) or self._failure_of(process.name)
        if found is None:
            return {"failure": None}
        report = found["report"] or {}
        key, (known, excerpt) = (found["time"], found["reason"]), self._excerpts.get(name, ((), []))
        if known != key:  # pages ask every two seconds
            excerpt = await self._excerpt(name, report)
            self._excerpts[name] = (key, excerpt)
        return {"failure": {**found, "excerpt": excerpt}}

    async def _excerpt(self, name: str, report: dict[str, Any]) -> list[dict[str, Any]]:
        if not (report.get("file") and report.get("line")):
            return []
        folder = self._runtime.config.app_path(name)
        lines = await self._in_child("excerpt", folder, report["file"], report["line"])
        hide = self._runtime.journal.hide
        return [{"number": number, "text": hide(text)} for number, text in lines]

    # ---- the configuration

    async def config_show(self, _params: Params) -> dict[str, Any]:
        """Return every value in effect, and its origin; secrets are hidden."""
        from supervisor.config import show  # mostly nobody asks

        found = show.settings(self._runtime.config)
        return {"settings": [{"path": s.path, "value": s.value, "origin": s.origin} for s in found]}

    async def config_text(self, _params: Params) -> dict[str, Any]:
        """Return the text of the file with its digest, and the list of those that are kept."""
        found: dict[str, Any] = await self._in_child("read_config", self._runtime.config)
        return found

    async def config_kept(self, params: Params) -> dict[str, Any]:
        """Return the text of the configuration ``name`` of the history."""
        name = _text(params, "name")
        found: dict[str, Any] = await self._in_child("read_kept", self._runtime.config, name)
        return found

    async def config_check(self, params: Params) -> dict[str, Any]:
        """Return what is wrong with ``text`` as the configuration, or what it would change."""
        text = _text(params, "text")
        found: dict[str, Any] = await self._in_child("check_config", self._runtime.config, text)
        return found

    async def config_apply(self, params: Params) -> dict[str, Any]:
        """Put ``text`` into the file, which must still be as ``digest`` says, and into effect.

        An invalid one is refused, and changes nothing. The present text is kept in the history.
        """
        text, digest = _text(params, "text"), _text(params, "digest")
        config = self._runtime.config
        checked = await self._in_child("check_config", config, text)
        if checked["problems"]:
            raise RequestError("bad_config", "\n".join(checked["problems"]), checked["hint"])
        await self._in_child("write_config", config, text, digest)
        return await self.config_reload({})

    async def config_reload(self, _params: Params) -> dict[str, Any]:
        """Put what the file says now into effect; the answer doesn't wait for the apps."""
        try:
            changes = await self._reconfigure(by="the admin app")
        except ConfigError as error:
            raise RequestError("bad_config", str(error), error.hint) from error
        return {"changes": str(changes)}

    # ---- people and machines

    async def notify_test(self, _params: Params) -> dict[str, Any]:
        """Send a test message to each destination; return why not, by their order."""
        urls = [one.url for one in self._runtime.config.notify]
        problems = await self._in_child("notify", urls, timeout_s=_SEND_S * max(1, len(urls)))
        hide = self._runtime.journal.hide
        return {"problems": [problem and hide(problem) for problem in problems]}

    async def fleet(self, _params: Params) -> dict[str, Any]:
        """Return the machines that ``hosts.toml`` names, as ``flask-supervisor fleet`` does."""
        found: dict[str, Any] = await self._in_child("fleet", self._runtime.config.folder)
        return found

    async def _in_child(self, name: str, *arguments: Any, timeout_s: float = _FILES_S) -> Any:
        """Call a function of `admin_jobs` in a child; its `SupervisorError` becomes an answer."""
        from supervisor.control import admin_jobs  # mostly nobody asks

        call: Awaitable[Any] = run_in_child(
            admin_jobs.answer, name, *arguments, timeout_s=timeout_s, quiet=True
        )
        try:
            answer = await call
        except (TaskFailed, OSError) as error:
            raise RequestError("failed", f"it could not be done: {error}") from error
        if "error" in answer:
            raise RequestError(answer["code"], answer["error"], answer["hint"])
        return answer["result"]


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError("bad_params", f'"{name}" has to be a text')
    return value


def _line(params: Params, name: str) -> str:
    """Return a text as one short line, that no terminal takes for a command."""
    return printable(_text(params, name)[:_TEXT_MAX])
