"""Diagnoses the ports of the configuration: free, held by the supervisor, or held by another."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from supervisor.client import Client
from supervisor.config.settings import Config
from supervisor.doctor.diagnosis import Diagnosis, failed, guarded, passed, warned
from supervisor.files.state_dir import StateDir
from supervisor.ports import listeners, sock_diag
from supervisor.ports.conflict import advice, in_use_by, is_old_worker, is_own, time_wait_note
from supervisor.ports.listeners import Address
from supervisor.ports.sock_diag import Holder
from supervisor.values.errors import ControlError, NotRunning
from supervisor.values.states import Status

_TOPIC = "running"


@dataclass(frozen=True, slots=True)
class Running:
    """A supervisor that was asked for its state.

    ``pid`` is None if none is running, or if it is unknown because the supervisor didn't answer.
    """

    pid: int | None
    diagnosis: Diagnosis

    @property
    def may_hold_ports(self) -> bool:
        """Whether there is a supervisor whose pid is unknown."""
        return self.pid is None and self.diagnosis.status is not Status.PASS


def ask_running(state_dir: Path) -> Running:
    """Ask the supervisor on ``state_dir`` for its state; blocks for up to 5 s."""
    state = StateDir(state_dir)
    try:
        snapshot: dict[str, Any] = Client(state.control_socket).call("snapshot")
    except NotRunning:
        return Running(None, passed(_TOPIC, "no supervisor is running on this state folder"))
    except ControlError as error:  # there is one, and it holds the lock
        return Running(state.locked_by(), warned(_TOPIC, error.message, error.hint))
    not_ready = [name for name, app in snapshot["apps"].items() if app["state"] != "ready"]
    pid: int = snapshot["pid"]
    text = f"supervisor {snapshot['version']} is running as pid {pid}"
    if not_ready:
        text += f"; not ready: {', '.join(not_ready)}"
        return Running(pid, warned(_TOPIC, text, "see why: flask-supervisor status"))
    return Running(pid, passed(_TOPIC, text))


def diagnose_ports(
    config: Config, names: Collection[str] | None, running: Running
) -> Iterator[Diagnosis]:
    """Diagnose the ports of the named apps; None: of all apps and of the status server."""
    owner = owner_of(config.state_dir) if running.may_hold_ports else None
    for name, address in _addresses(config):
        if names is None or name in names:
            topic = f"port of {name}"
            yield guarded(topic, partial(_port, topic, address, running.pid, owner))


def owner_of(path: Path) -> str | None:
    """Return the user who owns ``path``, None if it can't be seen."""
    try:
        uid = path.stat().st_uid
    except OSError:
        return None
    return sock_diag.user_name(uid)


def _addresses(config: Config) -> Iterator[tuple[str, Address]]:
    yield "status", Address(*config.status_address)
    for name, app in config.apps.items():
        if app.enabled and not config.is_background(name):
            yield name, Address(*config.address(name))


def _port(topic: str, address: Address, own_pid: int | None, owner: str | None) -> Diagnosis:
    """Diagnose one address; ``owner`` is the user of a supervisor whose pid is unknown."""
    try:
        listeners.close(listeners.bind(address))
    except listeners.BindError as error:
        if error.in_use and address.port is not None:
            return _held(topic, address.port, own_pid, owner)
        if error.in_use and own_pid is not None:
            return passed(topic, f"{address} is held by the supervisor")
        return failed(topic, error.reason, error.hint)
    return passed(topic, f"{address} is free{time_wait_note(address.port)}")


def _held(topic: str, port: int, own_pid: int | None, owner: str | None) -> Diagnosis:
    holders = sock_diag.find_holders(port)
    others = [holder for holder in holders if not _is_supervisors(holder, own_pid)]
    if holders and not others:
        return passed(topic, f"port {port} is held by the supervisor, pid {own_pid}")
    text = in_use_by(port, others)
    if own_pid is None and owner is not None and {holder.user for holder in others} == {owner}:
        text += "; this may be that user's supervisor"
        return warned(topic, text, "repeat the command with sudo to find out")
    return failed(topic, text + time_wait_note(port), advice(port, others))


def _is_supervisors(holder: Holder, own_pid: int | None) -> bool:
    return own_pid is not None and (is_own(holder, own_pid) or is_old_worker(holder, own_pid))
