"""What the unit's sandbox forbids: one table for the hints of apps, `doctor` and the documentation.

Under the unit, apps may write to their data folders and to what `writable` names. Every other
folder is read-only (EROFS), and home folders may be hidden (EACCES): systemd.exec(5),
ProtectSystem= and ProtectHome=. Needs the standard library alone.
"""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from supervisor.systemd.hardware import kind_of
from supervisor.values.records import dataclass

DATA_VARIABLE = "FLASK_SUPERVISOR_DATA_DIR"
_UNIT_VARIABLE = "INVOCATION_ID"  # systemd.exec(5): set for every unit
_HOMES = ("/home/", "/root/", "/run/user/")
_EDIT = "sudo systemctl edit flask-supervisor"
_INSTALL = "sudo flask-supervisor service install"
HINT = (
    "the service may write only to its data folder and to `writable`: add the folder to "
    f"`writable` of this app, then: {_INSTALL}"
)
# As Python prints an OSError: [Errno 30] Read-only file system: '/srv/x'
_PRINTED = re.compile(r"\[Errno (\d+)\] [^:'\"]*: (['\"])(/.*?)\2")
_DEVICE = re.compile(
    r"(?:\[Errno (?:2|13|1)\]|cannot open|could not open|No such)[^\n]*?(/dev/[\w-]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Something that the sandbox forbids.

    ``directives`` forbid it, ``shown`` is what an app sees of that, and ``symptom`` recognises it
    in what the app prints. ``settings`` of ``[Service]`` allow it; none: a key of the configuration
    does, which ``key`` names.
    """

    name: str
    directives: tuple[str, ...]
    shown: str
    symptom: re.Pattern[str]
    settings: tuple[str, ...] = ()
    key: str | None = None

    @property
    def hint(self) -> str:
        """What to do to allow it."""
        if self.key is not None:
            return f"the service's sandbox forbids {self.name}: set {self.key}, then: {_INSTALL}"
        return (
            f"the service's sandbox forbids {self.name} ({self.directives[0]}): to allow it, see "
            f"the table in docs/operating.md, and: {_EDIT}"
        )


def _raised(call: str, number: int) -> re.Pattern[str]:
    """Match the end of a traceback: a line of code with ``call``, and the error."""
    return re.compile(rf"{call}[^\n]*\n(?:[^\n]*\n){{0,3}}[^\n]*\[Errno {number}\]")


_SECCOMP = (  # each of these implies NoNewPrivileges= for a user who isn't root: systemd.exec(5)
    *("SystemCallFilter=", "SystemCallArchitectures=", "RestrictAddressFamilies="),
    *("RestrictNamespaces=no", "RestrictRealtime=no", "RestrictSUIDSGID=no", "LockPersonality=no"),
    *("ProtectKernelTunables=no", "ProtectKernelModules=no", "ProtectKernelLogs=no"),
    *("ProtectClock=no", "ProtectHostname=no", "PrivateDevices=no"),
)

_SCHEDULER = ("CapabilityBoundingSet=CAP_SYS_NICE", "AmbientCapabilities=CAP_SYS_NICE")

RULES = (
    Rule(
        name="sudo and other set-user-ID programs",
        directives=("NoNewPrivileges=", "RestrictSUIDSGID=", "CapabilityBoundingSet="),
        shown='sudo: The "no new privileges" flag is set',
        symptom=re.compile(r"no new privileges|sudo: effective uid is not 0|must be setuid root"),
        settings=("NoNewPrivileges=no", "CapabilityBoundingSet=~", *_SECCOMP),
    ),
    Rule(
        name="raw sockets (ping)",
        directives=("CapabilityBoundingSet=",),
        shown="ping: socktype: SOCK_RAW; PermissionError: [Errno 1] at SOCK_RAW",
        symptom=re.compile(
            rf"ping: (?:socket|socktype|permission)|Operation not permitted: '[^']*ping'|"
            rf"{_raised('SOCK_RAW', errno.EPERM).pattern}"
        ),
        settings=("CapabilityBoundingSet=CAP_NET_RAW", "AmbientCapabilities=CAP_NET_RAW"),
    ),
    Rule(
        name="CAN sockets",
        directives=("RestrictAddressFamilies=",),
        shown="OSError: [Errno 97] Address family not supported by protocol, at AF_CAN",
        symptom=_raised(r"(?:AF_CAN|PF_CAN|can\.|Bus\()", errno.EAFNOSUPPORT),
        key='hardware = ["can"]',
    ),
    Rule(
        name="Bluetooth sockets",
        directives=("RestrictAddressFamilies=",),
        shown="OSError: [Errno 97] Address family not supported by protocol, at AF_BLUETOOTH",
        symptom=_raised(r"(?i:bluetooth|\bbt_?sock)", errno.EAFNOSUPPORT),
        settings=("RestrictAddressFamilies=AF_BLUETOOTH",),
    ),
    Rule(
        name="nice",
        directives=("SystemCallFilter=~@resources",),
        shown="nice: cannot set niceness; PermissionError: [Errno 1] at os.nice",
        symptom=re.compile(
            rf"cannot set niceness|{_raised(r'(?:nice|setpriority)[(]', errno.EPERM).pattern}"
        ),
        settings=("SystemCallFilter=@resources", *_SCHEDULER),
    ),
    Rule(
        name="real-time scheduling",
        directives=("RestrictRealtime=", "SystemCallFilter=~@resources"),
        shown="chrt: failed to set pid 0's policy; PermissionError: [Errno 1] at "
        "os.sched_setscheduler",
        symptom=re.compile(
            rf"failed to set pid \d+'s policy|{_raised('sched_set', errno.EPERM).pattern}"
        ),
        settings=("RestrictRealtime=no", "SystemCallFilter=@resources", *_SCHEDULER),
    ),
    Rule(
        name="SQLite in a read-only folder",
        directives=("ProtectSystem=strict",),
        shown="sqlite3.OperationalError: attempt to write a readonly database",
        symptom=re.compile(r"attempt to write a readonly database"),
        key="`writable` to the database's folder",
    ),
    Rule(
        name="devices",
        directives=("PrivateDevices=",),
        shown="FileNotFoundError: [Errno 2] No such file or directory: '/dev/gpiochip0'",
        symptom=_DEVICE,
        key="`hardware` to what the app uses",
    ),
)


def is_sandboxed(environ: Mapping[str, str]) -> bool:
    """Return whether a process with these variables runs under a unit."""
    return _UNIT_VARIABLE in environ


def rules_for(text: str) -> list[Rule]:
    """Return the rules whose symptoms are in ``text``: a traceback, or lines of a log."""
    return [rule for rule in RULES if any(map(_is_symptom, rule.symptom.finditer(text)))]


def _is_symptom(found: re.Match[str]) -> bool:
    return found.re is not _DEVICE or kind_of(found[1]) is not None


def hint(error: OSError, environ: Mapping[str, str]) -> str | None:
    """Return `HINT` if the sandbox around this process caused ``error``, else None.

    An SD card that has become read-only causes the same error, but then the data folder is
    read-only too.
    """
    if not is_sandboxed(environ) or not _may_be(error.errno, str(error.filename or "")):
        return None
    data_dir = environ.get(DATA_VARIABLE)
    try:
        if data_dir is None or os.statvfs(data_dir).f_flag & os.ST_RDONLY:
            return None
    except OSError:
        return None
    return HINT


def forbidden_paths(lines: Iterable[str]) -> list[str]:
    """Return the paths that ``lines`` of printed errors name and that the sandbox may forbid."""
    found = [match for line in lines for match in _PRINTED.finditer(line)]
    return list(dict.fromkeys(m[3] for m in found if _may_be(int(m[1]), m[3])))


def folder_to_allow(path: str) -> Path:
    """Return what `writable` has to name so that ``path`` can be written: its folder."""
    parent = Path(path).parent
    return Path(path) if parent == Path("/") else parent


def _may_be(number: int | None, path: str) -> bool:
    if number == errno.EROFS:
        return True
    return number == errno.EACCES and path.startswith(_HOMES)
