"""What operators may ask about releases: the ``release.*`` methods of the control socket."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from supervisor.control.methods import Commands
from supervisor.control.server import Method, RequestError, whole_number
from supervisor.deploy import steps
from supervisor.deploy.deploy import Deploy, Outcome, Reload
from supervisor.deploy.interrupted_deploys import InterruptedDeploys
from supervisor.deploy.request import DeployRequest
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.releases import versions
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.process_set import ProcessSet
from supervisor.supervision.runtime import Runtime
from supervisor.values.errors import SupervisorError
from supervisor.values.states import AppState

_READ_S = 120.0  # hashing 100 MB on a slow SD card

Params = dict[str, Any]


class Deploying:
    """Runs deploys and rollbacks, one at a time, and none before the ``interrupted`` are undone."""

    def __init__(
        self,
        runtime: Runtime,
        processes: ProcessSet,
        reload: Reload,
        interrupted: InterruptedDeploys,
    ) -> None:
        self._interrupted = interrupted
        self._runtime = runtime
        self._processes = processes
        self._reload = reload
        self._last: Deploy | None = None
        self._task: asyncio.Task[Outcome] | None = None
        self.outcome: Outcome | None = None  # of the last one
        self._is_ending = False

    @property
    def running(self) -> Deploy | None:
        """The deploy that is under way, or None."""
        return self._last if self._task is not None and not self._task.done() else None

    @property
    def last(self) -> Deploy | None:
        """The deploy that is under way, or was last, or None."""
        return self._last

    async def run(self, process: AppProcess, request: DeployRequest) -> Outcome:
        """Run a deploy; returns how it ended. Cancelling this interrupts the deploy.

        Raises `SupervisorError` while another one is under way.
        """
        deploy, task = self.begin(process, request)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            deploy.interrupt("the command that waited for it has ended")
            raise

    def begin(
        self, process: AppProcess, request: DeployRequest
    ) -> tuple[Deploy, asyncio.Task[Outcome]]:
        """Begin a deploy that nobody has to wait for; raises as `run`."""
        other = self.running
        if other is not None:
            raise SupervisorError(
                f"{other.request.what} is under way, since {other.seconds:.0f} s",
                hint="one at a time: repeat it when that is over",
            )
        if self._interrupted.under_way:
            raise SupervisorError(
                "a deploy that was cut off is being undone", hint="repeat it when that is over"
            )
        if self._is_ending:
            raise SupervisorError("the supervisor is about to end")
        deploy = Deploy(self._runtime, self._processes, self._reload, process, request)
        self._last, self.outcome = deploy, None
        self._task = asyncio.get_running_loop().create_task(self._to_end(deploy))
        return deploy, self._task

    async def _to_end(self, deploy: Deploy) -> Outcome:
        self.outcome = await deploy.to_end()
        return self.outcome

    async def stop(self, limit_s: float) -> None:
        """Undo what is under way within ``limit_s`` seconds; else the next start does.

        The supervisor is about to end: no deploy begins any more.
        """
        self._is_ending = True
        deploy = self.running
        if deploy is None or self._task is None:
            return
        deploy.interrupt("the supervisor was stopped", supervisor_ends=True)
        await asyncio.wait([self._task], timeout=limit_s)
        if not self._task.done():
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


class ReleaseCommands:
    """The methods; one deploy or rollback at a time."""

    def __init__(
        self,
        runtime: Runtime,
        processes: ProcessSet,
        commands: Commands,
        interrupted: InterruptedDeploys,
    ) -> None:
        self._runtime = runtime
        self._processes = processes
        self._commands = commands
        self.deploying = Deploying(runtime, processes, commands.reload_one, interrupted)

    def methods(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {
            "release.list": self.list,
            "release.compare": self.compare,
            "release.files": self.files,
            "release.deploy": self.deploy,
            "release.rollback": self.rollback,
            "release.interrupt": self.interrupt,
            "release.progress": self.progress,
        }

    async def list(self, params: Params) -> Outcome:
        """Return the releases of ``app``, newest first; with ``old`` also what `compare` does."""
        compared = [_text(params, "old"), _text(params, "new")] if "old" in params else []
        return await self._read(params, versions.listing, *compared)

    async def compare(self, params: Params) -> Outcome:
        """Return ``added``, ``removed`` and ``changed`` from ``old`` to ``new``."""
        return await self._read(
            params, versions.difference, _text(params, "old"), _text(params, "new")
        )

    async def files(self, params: Params) -> Outcome:
        """Return the live files of ``app``: what each holds, by path."""
        return await self._read(params, versions.live_files)

    async def deploy(self, params: Params) -> Outcome:
        """Put the files of ``source``, an absolute path, in the place of those of ``app``.

        ``delete`` removes the files that it lacks, ``only`` keeps them; without either, the deploy
        is refused where there are some. With ``wait`` false the answer comes at once, and the
        deploy goes on whatever becomes of the client: `progress` has how it ended.
        """
        source = Path(_text(params, "source"))
        if not source.is_absolute():
            raise RequestError("bad_params", '"source" has to be an absolute path')
        only, delete = _flag(params, "only"), _flag(params, "delete")
        if only and delete:
            raise RequestError("bad_params", '"only" removes nothing, "delete" does: choose one')
        request = DeployRequest(
            app=_text(params, "app"), source=source, key=_key(params), only=only, delete=delete
        )
        return await self._run(request, params)

    async def rollback(self, params: Params) -> Outcome:
        """Put a ``release`` of ``app`` back; without one the last good one that isn't in place."""
        release = _text(params, "release") if params.get("release") is not None else None
        if release is not None and not release.isprintable():
            raise RequestError("bad_params", '"release" is the name or digest of a release')
        request = DeployRequest(app=_text(params, "app"), release=release, key=_key(params))
        return await self._run(request, params)

    async def interrupt(self, params: Params) -> Outcome:
        """Have what is under way undone; ``interrupted`` in the answer: whether anything was.

        With ``key`` only what was begun with it, here and for `progress`.
        """
        deploy = self._chosen(self.deploying.running, params)
        if deploy is not None:
            deploy.interrupt("interrupted by the operator")
        return {"interrupted": deploy is not None}

    async def progress(self, params: Params) -> Outcome:
        """Return the lines of progress with a number above ``after``, of what runs or was last."""
        deploy = self._chosen(self.deploying.last, params)
        after = whole_number(params, "after", 0)
        lines = [] if deploy is None else deploy.lines
        return {
            "running": deploy is not None and deploy is self.deploying.running,
            "what": deploy.request.what if deploy else None,
            "app": deploy.request.app if deploy else None,
            "lines": [
                {
                    "phase": str(line.phase),
                    "text": line.text,
                    "seconds": round(line.after_s, 3),
                    "lasts_s": line.lasts_s,
                }
                for line in lines[after:]
            ],
            "last": len(lines),
            "outcome": self.deploying.outcome if deploy else None,
        }

    @staticmethod
    def _chosen(deploy: Deploy | None, params: Params) -> Deploy | None:
        key = _key(params)
        return deploy if deploy is not None and key in (None, deploy.request.key) else None

    async def _run(self, request: DeployRequest, params: Params) -> Outcome:
        process = self._commands.process_of(request.app)
        view = process.view(request.app)
        if view.state is AppState.BLOCKED:
            why = view.cause.reason if view.cause else "it has no port yet"
            hint = "free its port first: a new version has to be watched while it serves"
            raise RequestError("blocked", f"cannot change app '{request.app}': {why}", hint)
        try:
            if params.get("wait") is False:
                self.deploying.begin(process, request)
                return {"app": request.app, "begun": True}
            return await self.deploying.run(process, request)
        except SupervisorError as error:
            raise RequestError("busy", error.message, error.hint) from error

    async def _read(self, params: Params, function: Any, *arguments: str) -> Outcome:
        app = _text(params, "app")
        config = self._runtime.config
        if app not in config.apps:
            self._commands.process_of(app)  # raises
        code = steps.code_of(config, self._processes.by_app, app)
        try:
            found: Outcome = await run_in_child(
                steps.with_known,
                config,
                code,
                function,
                *arguments,
                timeout_s=_READ_S,
                quiet=True,
            )
        except (TaskFailed, OSError) as error:
            raise RequestError("failed", f"cannot look at the releases: {error}") from error
        if not found.pop("ok"):
            raise RequestError("failed", found["reason"], found["hint"])
        return {"app": app, **found}


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError("bad_params", f'"{name}" has to be a text')
    return value


def _flag(params: Params, name: str) -> bool:
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise RequestError("bad_params", f'"{name}" has to be true or false')
    return value


def _key(params: Params) -> str | None:
    return None if params.get("key") is None else _text(params, "key")
