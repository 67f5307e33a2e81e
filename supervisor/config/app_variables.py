"""The variables that an app runs with, beside those that the supervisor itself was started with."""

import os
import sys
from pathlib import Path

from supervisor.config.settings import Config

_SYSTEM = (Path("/"), Path("/usr"), Path("/usr/local"))  # no virtual environments


def app_variables(config: Config, name: str) -> dict[str, str]:
    """Return the variables of an app: what the supervisor sets, overridden by the configuration.

    The programs of the app's interpreter come first on ``PATH``, as in an activated virtual
    environment, and ``PORT`` and ``HOST`` say where the app listens. Reads no file.
    """
    python = config.apps[name].python
    interpreter = Path(sys.executable) if python is None else config.resolve(python)
    variables = {"PATH": f"{interpreter.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    prefix = interpreter.parent.parent
    if interpreter.parent.name == "bin" and prefix not in _SYSTEM:
        variables["VIRTUAL_ENV"] = str(prefix)
    host, port = config.address(name)
    if port is not None:
        variables |= {"HOST": host, "PORT": str(port)}
    return {**variables, **config.app_environment(name)}
