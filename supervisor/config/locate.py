"""Finds the configuration file to use."""

import os
from collections.abc import Mapping
from pathlib import Path

from supervisor.values.errors import ConfigError

FILE_VARIABLE = "FLASK_SUPERVISOR_CONFIG"
SEARCHED = (
    Path("supervisor.toml"),
    Path("config/supervisor.toml"),
    Path("/etc/flask-supervisor/supervisor.toml"),
)


def find(given: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the configuration file to use: the given one, else the first that exists.

    Raises `ConfigError` when there is none.
    """
    if given is not None:
        return Path(given)
    if environment.get(FILE_VARIABLE):
        return Path(environment[FILE_VARIABLE])
    for candidate in SEARCHED:
        try:
            if candidate.exists():
                return candidate
        except OSError as error:
            raise ConfigError(
                [f"{candidate}: cannot look for it: {error.strerror}"],
                hint="name the right one with --config FILE, or use sudo",
            ) from error
    places = ", ".join([f"${FILE_VARIABLE}", *(str(path) for path in SEARCHED)])
    raise ConfigError(
        [f"no configuration file found (looked at {places})"],
        hint="name one with --config FILE",
    )
