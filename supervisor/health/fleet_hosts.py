"""The file that names the machines of a fleet, and the question to all of them."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from supervisor.files import text as text_file
from supervisor.health.status_client import StatusAddress, ask_all, status_address
from supervisor.policy.fleet_overview import Machine, overview
from supervisor.values.errors import ConfigError, SupervisorError

NAME = "hosts.toml"
PLACES = (Path(NAME), Path("/etc/flask-supervisor") / NAME)
_HOSTS_MAX = 500  # each is a thread while it is asked
EXAMPLE = (
    'for example:\n    [hosts]\n    kitchen = "192.168.4.20"\n    garage = "garage.local:6000"'
)


def find(folder: Path) -> Path | None:
    """Return the file in ``folder``, else the one of the machine; None where there is neither."""
    return next((place for place in (folder / NAME, PLACES[1]) if place.exists()), None)


def read(file: Path) -> dict[str, StatusAddress]:
    """Return the addresses in a file of hosts, by name. Raises `ConfigError` with every problem."""
    try:
        content = tomllib.loads(text_file.read(file))
    except OSError as error:
        raise ConfigError([f"cannot read {file}: {error.strerror}"], hint=EXAMPLE) from error
    except (tomllib.TOMLDecodeError, text_file.NotText) as error:
        raise ConfigError([f"{file}: {error}"], hint=EXAMPLE) from error
    hosts = content.get("hosts")
    problems = [
        f"{file}: {key}: unknown key; known here: hosts" for key in content if key != "hosts"
    ]
    if not isinstance(hosts, dict) or not 0 < len(hosts) <= _HOSTS_MAX:
        problems.append(f"{file}: hosts: must be a table of 1 to {_HOSTS_MAX} machines")
        raise ConfigError(problems, hint=EXAMPLE)
    found: dict[str, StatusAddress] = {}
    for name, address in hosts.items():
        if not isinstance(address, str):
            problems.append(f"{file}: hosts.{name} = {address!r}: must be an address, as a text")
            continue
        try:
            found[name] = status_address(address)
        except SupervisorError as error:
            problems.append(f"{file}: hosts.{name}: {error.message}")
    if problems:
        raise ConfigError(problems, hint=EXAMPLE)
    return found


def ask_machines(hosts: Mapping[str, StatusAddress], *, timeout_s: float) -> list[Machine]:
    """Ask all of them at the same time; blocks for ``timeout_s`` at most."""
    answers = ask_all(hosts, timeout_s=timeout_s)
    return overview(
        {name: answer.document for name, answer in answers.items()},
        {name: answer.problem for name, answer in answers.items() if answer.problem},
    )
