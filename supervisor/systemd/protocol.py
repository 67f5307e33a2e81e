"""The protocol between systemd and a service: sd_notify(3) and sd_listen_fds(3).

A process that systemd didn't start inherits no sockets, and its notifications go nowhere.
"""

import array
import os
import re
import socket
from collections.abc import Iterable, MutableMapping
from dataclasses import field

from supervisor.values.records import dataclass

FIRST_FD = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START
_FDS_MAX = 4096  # more than any unit may store
STATUS_MAX = 400  # characters; `systemctl status` shows one line
_NAME_MAX = 255  # sd_notify(3): FDNAME
_NAME = re.compile(r"[!-9;-~]+")  # printable, no ":" and no space
_CONTROLS = dict.fromkeys([*range(32), 127], " ")
_OURS = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "SYSTEMD_EXEC_PID",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What this process inherited from systemd at its start; the owner closes ``sockets``."""

    notify_address: str | None = None
    watchdog_s: float | None = None
    sockets: list[tuple[str, socket.socket]] = field(default_factory=list)
    is_main: bool = False  # started by systemd itself, not from a shell below a unit


def take_inherited(environ: MutableMapping[str, str], pid: int) -> Inherited:
    """Return what process ``pid`` inherited, and remove its variables from ``environ``.

    Children must inherit neither: the variables are for this process alone.
    """
    given = {name: environ.pop(name) for name in _OURS if name in environ}
    return Inherited(
        notify_address=given.get("NOTIFY_SOCKET") or None,
        watchdog_s=_watchdog_s(given, pid),
        sockets=list(_sockets(given, pid)),
        is_main=_number(given.get("SYSTEMD_EXEC_PID")) == pid,
    )


def _watchdog_s(given: dict[str, str], pid: int) -> float | None:
    if _number(given.get("WATCHDOG_PID", str(pid))) != pid:
        return None
    usec = _number(given.get("WATCHDOG_USEC"))
    return usec / 1e6 if usec else None


def _sockets(given: dict[str, str], pid: int) -> Iterable[tuple[str, socket.socket]]:
    """Yield each inherited socket with its name; close descriptors that are no sockets."""
    count = _number(given.get("LISTEN_FDS"))
    if count is None or _number(given.get("LISTEN_PID")) != pid:
        return
    names = dict(enumerate(given.get("LISTEN_FDNAMES", "").split(":"), FIRST_FD))
    for fd in range(FIRST_FD, FIRST_FD + min(count, _FDS_MAX)):
        try:
            os.set_inheritable(fd, False)
            yield names.get(fd, ""), socket.socket(fileno=fd)
        except OSError:
            _close(fd)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return  # it was never open


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def fd_name(text: str) -> str:
    """Return ``text`` as a name for the store: what sd_notify(3) doesn't allow becomes ``_``."""
    allowed = "".join(c if _NAME.fullmatch(c) else "_" for c in text)
    return allowed[-_NAME_MAX:] or "_"


class NotifySocket:
    """Sends notifications to systemd at ``address`` (None: nowhere); never waits, never raises.

    Every method returns whether systemd's queue has taken the message.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    @property
    def active(self) -> bool:
        """Whether there is an address to send to."""
        return self._address is not None

    def close(self) -> None:
        """Close the socket; a later notification opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self) -> bool:
        """Report that the start, or a reload, is complete."""
        return self._send("READY=1")

    def reloading(self, monotonic_s: float) -> bool:
        """Report that the configuration is being read again since ``monotonic_s`` (seconds)."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={int(monotonic_s * 1e6)}")

    def stopping(self) -> bool:
        """Report that the service is stopping."""
        return self._send("STOPPING=1")

    def status(self, text: str) -> bool:
        """Send the text that ``systemctl status`` shows: one line, at most `STATUS_MAX` long."""
        line = text.translate(_CONTROLS)
        return self._send(
            "STATUS=" + (line if len(line) <= STATUS_MAX else line[:STATUS_MAX] + "…")
        )

    def feed_watchdog(self) -> bool:
        """Feed the watchdog."""
        return self._send("WATCHDOG=1")

    def store(self, name: str, fd: int) -> bool:
        """Store a copy of ``fd`` with systemd for the next process of this service."""
        return self._send("FDSTORE=1", f"FDNAME={name}", fds=[fd])

    def remove(self, name: str) -> bool:
        """Remove every descriptor that is stored under ``name``."""
        return self._send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def _send(self, *assignments: str, fds: Iterable[int] = ()) -> bool:
        if self._address is None:
            return False
        # unix(7): an abstract address begins with a zero byte, which variables can't hold
        path = self._address
        address = f"\0{path[1:]}" if path.startswith("@") else path
        data = "\n".join(assignments).encode("utf-8", "replace")
        rights = array.array("i", fds)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.sendmsg([data], ancillary, socket.MSG_DONTWAIT, address)
        except OSError:  # systemd's queue is full, or its socket is gone: the caller may repeat it
            return False
        return True
