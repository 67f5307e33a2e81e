"""Reads the configuration in a throw-away child.

There the file's disk may block and the libraries that check it take their time and memory, beside
the main process, which has neither.
"""

import base64
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.config import reader as configuration
from supervisor.config.settings import Config
from supervisor.process.throwaway import ChildTask, TaskFailed, run_in_child
from supervisor.values.errors import ConfigError

_START_TIMEOUT_S = 60.0  # a Raspberry Pi that boots has much to read
_TIMEOUT_S = 10.0


class Reading:
    """The reading of ``file`` by a child, which begins with this object.

    ``last_good``: where the file can't be used, the last configuration that worked is read.
    """

    def __init__(self, file: Path, *, last_good: bool) -> None:
        self._file = file
        self._arguments = (file, dict(os.environ), last_good)
        try:
            self._task: ChildTask | None = ChildTask(_read, *self._arguments)
        except OSError:  # no process can be had
            self._task = None

    def config(self) -> Config:
        """Wait for the configuration; raises `ConfigError`. To be called once."""
        if self._task is None:
            return _config_of(_read(*self._arguments))
        try:
            return _config_of(self._task.result(timeout_s=_START_TIMEOUT_S))
        except TaskFailed as error:
            raise ConfigError([f"{self._file}: cannot read it: {error}"]) from error


async def read(file: Path, environment: Mapping[str, str]) -> Config:
    """Read ``file`` while the loop goes on; raises `ConfigError`."""
    try:
        answer = await run_in_child(
            _read, file, environment, False, timeout_s=_TIMEOUT_S, quiet=True
        )
    except (TaskFailed, OSError) as error:
        raise ConfigError([f"{file}: cannot read it: {error}"]) from error
    return _config_of(answer)


def _read(file: Path, environment: Mapping[str, str], last_good: bool) -> dict[str, Any]:
    """Give the configuration, or what is wrong with it; for a child."""
    try:
        if last_good:
            from supervisor.config.last_good import load

            config = load(file, environment)
        else:
            config = configuration.load(file, environment)
    except ConfigError as error:
        return {"problems": error.problems, "hint": error.hint}
    return {"config": base64.b64encode(pickle.dumps(config)).decode()}


def _config_of(answer: dict[str, Any]) -> Config:
    if "problems" in answer:
        raise ConfigError(answer["problems"], hint=answer["hint"])
    config = pickle.loads(base64.b64decode(answer["config"]))
    assert isinstance(config, Config)
    return config
