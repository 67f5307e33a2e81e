"""What the status worker needs of the configuration to check requirements and the machine: JSON.

The main process makes it, so this loads little. It goes to the status worker with each snapshot:
a change of the configuration costs no check what is known of it.
"""

import re
from dataclasses import asdict, fields
from typing import Any

from supervisor.config.app_variables import app_variables
from supervisor.config.settings import Config, Requirement

_USES_ENVIRONMENT = ("env", "command")
_CREDENTIALS = re.compile(r"//[^/@\s]*@")


def url_without_credentials(url: str) -> str:
    """Return ``url`` as it may be shown."""
    return _CREDENTIALS.sub("//", url)


def describe(requirement: Requirement) -> str:
    """Return a requirement in a few words, without the credentials of a URL."""
    what = {
        "tcp": f"{requirement.host or 'localhost'}:{requirement.port}",
        "http": url_without_credentials(requirement.url or ""),
        "env": requirement.name,
        "module": requirement.name,
        "command": (requirement.command or [""])[0],
        "disk": requirement.path or "of the configuration",
    }
    return f"{requirement.kind} {what.get(requirement.kind, requirement.path)}"


def title_of(requirement: Requirement, *, is_hidden: bool) -> str:
    """Return the name of a requirement, without what it is about if that is hidden."""
    return f"{requirement.kind} (hidden)" if is_hidden else describe(requirement)


def hides(config: Config, path: str) -> bool:
    """Return whether what the requirement at a key path is about must not be shown.

    A token that comes from elsewhere hides only itself: it is never shown.
    """
    names = {one.name for one in fields(Requirement)} - {"token"}
    return any(config.is_secret(f"{path}.{name}") for name in names)


def check_settings(config: Config) -> dict[str, Any]:
    """Return what `supervisor.health.live_checks` is configured with, as a JSON object."""
    return {
        "state_dir": str(config.state_dir),
        "folder": str(config.folder),
        "host": asdict(config.host),
        "required": [
            *_required(config, None),
            *(
                one
                for name, app in config.apps.items()
                if app.enabled
                for one in _required(config, name)
            ),
        ],
        "notify": [asdict(one) for one in config.notify],
        "probes": {
            name: {
                "host": config.address(name)[0],
                "port": config.address(name)[1],
                "path": app.health_path,
                "interval_s": app.health_interval_s,
                "threshold": app.health_threshold,
            }
            for name, app in config.apps.items()
            if app.enabled and app.health_path is not None
        },
    }


def _required(config: Config, app: str | None) -> list[dict[str, Any]]:
    if app is None:
        requirements, place = config.requires, "requires"
        code, environment, python = config.folder, {}, None
    else:
        requirements, place = config.apps[app].requires, f"apps.{app}.requires"
        code, environment = config.app_path(app), app_variables(config, app)
        python = config.app_python(app)
    return [
        {
            "app": app,
            "is_hidden": hides(config, f"{place}[{number}]"),
            "code": str(code),
            "python": None if python is None else str(python),
            # for the others, a new variable would be a new check of which nothing is known
            "environment": environment if requirement.kind in _USES_ENVIRONMENT else {},
            "requirement": asdict(requirement),
        }
        for number, requirement in enumerate(requirements)
    ]
