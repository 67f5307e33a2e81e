"""The steps of a deploy that touch files, each in a throw-away child, with what they found out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from supervisor.config.settings import Config
from supervisor.deploy import steps
from supervisor.deploy.request import DeployRequest
from supervisor.process.throwaway import run_in_child
from supervisor.releases import operations
from supervisor.releases.app_code import AppCode
from supervisor.releases.replacement import named
from supervisor.values.reports import Cause

_FILES_S = 600.0  # 100 MB on a slow SD card, and more
_CHECK_MARGIN_S = 90.0  # reading the files, and starting another interpreter


class StepFailed(Exception):
    """A step of a deploy failed, for ``cause``.

    ``would_remove``: it would have removed these files, and was not asked to.
    """

    def __init__(self, cause: Cause, would_remove: Sequence[str] = ()) -> None:
        super().__init__(cause.reason)
        self.cause = cause
        self.would_remove = list(would_remove)


class FileSteps:
    """The files of one deploy; each step raises `StepFailed`, `TaskFailed` or OSError."""

    def __init__(self, config: Config, code: AppCode, request: DeployRequest) -> None:
        self._config = config
        self._settings = config.apps[request.app]
        self._code = code
        self._request = request
        self._staged = Path()
        self._imported: Sequence[str] = ()
        self._mode = request.mode
        self._plan: dict[str, Any] = {}
        self.notes: list[str] = []  # what the operator should know when it is done
        self.kept: str | None = None  # the release of the files that are replaced
        self.released: str | None = None  # the release that is put back

    async def stage(self) -> None:
        """Put the new version beside the app."""
        request = self._request
        if request.source is not None:
            found = await _in_child(
                steps.stage, self._config, self._code, request.source, request.mode
            )
        else:
            found = await _in_child(steps.stage_release, self._config, self._code, request.release)
            self.released = found["name"]
        self._staged = Path(found["staged"])
        self._mode = replace(request.mode, only=request.only or found["only"])
        self._code = replace(
            self._code, include=tuple(found["include"]), others=tuple(found["others"])
        )

    async def check(self) -> None:
        """Import the new version, and check what it requires."""
        wanted_s = sum(required.timeout_s for required in self._settings.requires)
        limit_s = self._settings.import_timeout_s + wanted_s + _CHECK_MARGIN_S
        found = await _in_child(
            steps.check,
            self._config,
            self._code,
            self._staged,
            self._mode.only,
            timeout_s=limit_s,
            quiet=True,
        )
        self._imported = found["imported"]
        if found["lacking"]:
            text = f"SOURCE lacks {named(found['lacking'])}, read at import: the live file stays"
            self.notes.append(text)

    async def keep(self, wall: str, in_use: Sequence[Path]) -> None:
        """Keep the live files as a release, made at ``wall``; those ``in_use`` are not removed."""
        found = await _in_child(
            operations.prepare,
            self._code,
            self._staged,
            self._imported,
            self._mode,
            self._request.note,
            wall,
            list(in_use),
        )
        self.kept, self._plan = found["name"], found["plan"]
        if self._plan["data"]:
            self.notes.append(f"the app has written {named(self._plan['data'])}: that stays")

    async def swap(self) -> None:
        """Put the new files in place."""
        await _in_child(operations.put_in_place, self._code, self._staged, self._plan)

    async def commit(self) -> None:
        """Make the new files final."""
        await _in_child(operations.make_final, self._code, self._plan)

    async def undo(self) -> None:
        """Put the old files back, and remove what was staged."""
        await _in_child(operations.take_back, self._code)


async def _in_child(
    function: Callable[..., Any],
    *arguments: Any,
    timeout_s: float = _FILES_S,
    quiet: bool = False,
) -> dict[str, Any]:
    """Call ``function`` by way of `operations.answer` in a child; raises `StepFailed`.

    ``quiet``: what it prints is dropped: a version that is not live logs nothing.
    """
    found: dict[str, Any] = await run_in_child(
        operations.answer, function, *arguments, timeout_s=timeout_s, quiet=quiet
    )
    if not found["ok"]:
        cause = Cause(reason=found["reason"], hint=found["hint"])
        raise StepFailed(cause, found["would_remove"])
    return found
