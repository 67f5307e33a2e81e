"""What `admin_methods` has done in throw-away children: files, messages, other machines."""

import itertools
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.config import reader
from supervisor.config.history import ConfigHistory, HistoryError, KeptConfig, digest_of
from supervisor.config.settings import Config
from supervisor.files import text as text_file
from supervisor.files.state_dir import StateDir
from supervisor.health import fleet_hosts
from supervisor.health.notifier import send_in_child
from supervisor.policy.config_changes import compare
from supervisor.values.errors import ConfigError, SupervisorError

_AROUND = 5  # lines of source before and after the one that failed
_LINE_MAX = 300  # characters
_FLEET_S = 4.0
_READ_ONLY = (
    "edit it on the machine, with sudo if need be, then let it be read again; to change it from "
    'here, give it to the service\'s user and set writable = ["."] in [apps.admin]'
)

Document = dict[str, Any]


def answer(name: str, *arguments: Any) -> Document:
    """Return the ``result`` of a function below, or the ``error`` that it raises, as JSON."""
    try:
        return {"result": _JOBS[name](*arguments)}
    except ConfigChanged as error:
        return {"error": error.message, "hint": error.hint, "code": "changed"}
    except SupervisorError as error:
        return {"error": error.message, "hint": error.hint, "code": "failed"}


class ConfigChanged(SupervisorError):
    """The configuration file is not what the operator has seen."""


def excerpt(folder: Path, file: str, line: int) -> list[tuple[int, str]]:
    """Return the lines around a line of a source below ``folder``, numbered; none if unreadable."""
    root = folder.resolve()
    path = (root / file).resolve()
    if not path.is_relative_to(root):
        return []
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            first = max(1, line - _AROUND)
            chosen = itertools.islice(stream, first - 1, line + _AROUND)
            return [(n, text.rstrip("\n")[:_LINE_MAX]) for n, text in enumerate(chosen, first)]
    except OSError:
        return []


def read_config(config: Config) -> Document:
    """Return the text of the file, its digest, and the entries of the history, newest first."""
    try:
        text = text_file.read_bytes(config.file)
    except (OSError, text_file.NotText) as error:
        raise ConfigError([f"cannot read {config.file.name}: {error}"]) from error
    digest = digest_of(text)
    return {
        "file": str(config.file),
        "text": text.decode("utf-8", "replace"),
        "digest": digest,
        "history": [
            {
                "name": entry.name,
                "kept_at": entry.time_s,
                "worked": entry.worked,
                "live": entry.digest == digest,
            }
            for entry in _history(config).entries()
        ],
    }


def read_kept(config: Config, name: str) -> Document:
    """Return the text of an entry of the history."""
    kept = _history(config)
    entry: KeptConfig = kept.find(name)
    return {"name": entry.name, "text": kept.read(entry).decode("utf-8", "replace")}


def check_config(config: Config, text: str) -> Document:
    """Return the ``problems`` of a text as the configuration, or the ``changes`` it would make."""
    try:
        wanted = reader.parse_text(text.encode(), config.file, config.origins.environment)
    except ConfigError as error:
        problems = [one.replace(f"{config.file}: ", "", 1) for one in error.problems]
        return {"problems": problems, "hint": error.hint, "changes": None}
    return {"problems": [], "hint": None, "changes": str(compare(config, wanted))}


def write_config(config: Config, text: str, digest: str) -> None:
    """Replace the file if its digest is still ``digest``; keep what it says now in the history."""
    try:
        present = text_file.read_bytes(config.file)
    except (OSError, text_file.NotText) as error:
        raise ConfigError([f"cannot read {config.file.name}: {error}"]) from error
    if digest_of(present) != digest:
        raise ConfigChanged(
            "the configuration was changed meanwhile, by somebody else",
            hint="look at what it says now, and make your change again",
        )
    try:
        _history(config).replace(text.encode(), config.file)
    except HistoryError as error:
        raise HistoryError(error.message, hint=_READ_ONLY) from error


def notify(urls: list[str]) -> list[str | None]:
    """Send a test message to each destination; return why it could not be delivered."""
    title = f"{socket.gethostname()}: a test of flask-supervisor"
    body = "This message was sent from the admin app."
    return [send_in_child(url, title, body, "pass") for url in urls]


def fleet(folder: Path) -> Document:
    """Return the machines of the file of hosts; ``file`` is None where there is no such file."""
    from supervisor.policy.fleet_overview import machine_document

    file = fleet_hosts.find(folder)
    if file is None:
        return {"file": None, "machines": []}
    hosts = fleet_hosts.read(file)
    machines = fleet_hosts.ask_machines(hosts, timeout_s=_FLEET_S)
    addresses = {name: f"{address.host}:{address.port}" for name, address in hosts.items()}
    return {
        "file": file.name,
        "machines": [
            {**machine_document(machine), "address": addresses[machine.name]}
            for machine in machines
        ],
    }


def _history(config: Config) -> ConfigHistory:
    return ConfigHistory(StateDir(config.state_dir).config_history)


_JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job
    for job in (
        excerpt,
        read_config,
        read_kept,
        check_config,
        write_config,
        notify,
        fleet,
    )
}
