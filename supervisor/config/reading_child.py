"""Reads the configuration again in a throw-away child, while the main process serves.

A file on a disk that hangs blocks the child, and not the loop of the main process.
"""

import base64
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.config import reader
from supervisor.config.settings import Config
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.values.errors import ConfigError

_TIMEOUT_S = 10.0


async def read(file: Path, environment: Mapping[str, str]) -> Config:
    """Return the configuration in ``file``; raises `ConfigError`, also after 10 s."""
    try:
        answer = await run_in_child(_load, file, environment, timeout_s=_TIMEOUT_S, quiet=True)
    except (TaskFailed, OSError) as error:
        raise ConfigError([f"{file}: cannot read it: {error}"]) from error
    if "problems" in answer:
        raise ConfigError(answer["problems"], hint=answer["hint"])
    config: Config = pickle.loads(base64.b64decode(answer["config"]))
    return config


def _load(file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the configuration, or what is wrong with it, as JSON; runs in the child."""
    try:
        config = reader.load(file, environment)
    except ConfigError as error:
        return {"problems": error.problems, "hint": error.hint}
    return {"config": base64.b64encode(pickle.dumps(config)).decode()}
