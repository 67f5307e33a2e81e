"""Asks the kernel about TCP sockets: who listens on a port, and how many are in TIME_WAIT.

sock_diag(7) (linux/inet_diag.h, Linux 3.3) returns the user of any socket to anyone, and since
Linux 5.8 its cgroup, which systemd names after the unit. Finding the pid takes a scan of
``/proc/*/fd``, where a user sees only own processes.
"""

import contextlib
import errno
import os
import pwd
import re
import shlex
import socket
import struct
from collections.abc import Callable

from supervisor.values.records import dataclass

_NETLINK_SOCK_DIAG = 4  # linux/netlink.h
_DUMP_REQUEST = 0x001 | 0x300  # linux/netlink.h: NLM_F_REQUEST, NLM_F_DUMP
_NLMSG_ERROR, _NLMSG_DONE = 2, 3  # linux/netlink.h; both carry 0 or a negative errno
_SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
_TCP_TIME_WAIT, _TCP_LISTEN = 6, 10  # net/tcp_states.h
_INET_DIAG_CGROUP_ID = 21  # linux/inet_diag.h; always sent: idiag_ext has no bit to ask for it

# Netlink is in host byte order and pads to 4 bytes, but ports and addresses are in network order.
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
_STATUS = struct.Struct("=i")  # payload of NLMSG_ERROR and NLMSG_DONE
# inet_diag_req_v2: family, protocol, extensions, states (a bit each); of its inet_diag_sockid only
# the local port, which filters a dump (seen on Linux 6.18); the rest is zero, "any"
_REQUEST = struct.Struct("=BBBxI2s46x")
# inet_diag_msg: of its inet_diag_sockid the local port and address; then uid, inode
_MESSAGE = struct.Struct("=4x2s2x16s28x12xII")
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length with this header, type
_CGROUP_ID = struct.Struct("=Q")

_DATAGRAM_BYTES = 32768  # the kernel sends no larger datagram of a dump
_MAX_DATAGRAMS = 4  # about 1,000 sockets; more would block a loop for over a millisecond
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_UNAVAILABLE = {errno.ENOENT, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT}
_UNAVAILABLE |= {errno.EACCES, errno.EPERM}  # a sandbox; above: the kernel has no sock_diag

_CGROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")  # cgroup v2 alone, or beside v1
_MAX_CGROUPS = 4096  # limits the walk; a small machine has about 100
_MAX_COMMAND_LINE = 200
_MAX_PROC_BYTES = 16384  # a command line can have megabytes


class SockDiagUnavailable(OSError):
    """This kernel has no sock_diag, or a sandbox forbids it."""


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A listening TCP socket; ``inode`` is that of `os.fstat` of its descriptors."""

    family: int
    address: str
    port: int
    inode: int
    uid: int
    cgroup_id: int | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens on a port, as far as we may know; `dataclasses.asdict` returns JSON.

    ``hidden``: permissions hide the pid. ``user_unit``: ``unit`` belongs to the user's own systemd.
    ``command_line`` is cut at 200 characters; it may hold secrets, so it is never public.
    """

    pid: int | None = None
    command: str | None = None
    command_line: str | None = None
    user: str | None = None
    unit: str | None = None
    hidden: bool = False
    user_unit: bool = False


def listeners(port: int) -> list[ListeningSocket]:
    """Return the TCP sockets of both families that listen on ``port``, without blocking.

    The first call after a boot may take longer, while the kernel loads its tcp_diag module. Raises
    `SockDiagUnavailable`, or another OSError of the kernel.
    """
    return [_listening_socket(f, one) for f in _FAMILIES for one in _dump(f, _TCP_LISTEN, port)]


def time_wait_count(port: int) -> int:
    """Return the number of TIME_WAIT sockets at local ``port``, by sock_diag up to about 1,000.

    BLOCKS where there is no sock_diag: it reads the table of all connections there.
    """
    try:
        return sum(len(_dump(family, _TCP_TIME_WAIT, port)) for family in _FAMILIES)
    except OSError:
        return len(_sockets_by_proc(port, _TCP_TIME_WAIT))


def find_holders(port: int) -> list[Holder]:
    """Return who listens on ``port``; forked processes that share a listener are one holder.

    BLOCKS while it scans /proc: run it in a throw-away child. What we may not see is None.
    """
    try:
        return _holders(port, listeners)
    except OSError:  # no sock_diag: /proc is slower, and has no cgroups
        return _holders(port, _listeners_by_proc)


def describe(holder: Holder) -> str:
    """Return ``holder`` in words; what is unknown is left out."""
    user, unit = holder.user, holder.unit
    if user and not user.startswith("uid "):
        user = f"user {user}"
    if unit:
        unit = f"user unit {unit}" if holder.user_unit else f"unit {unit}"
    if holder.pid is not None:
        facts = ", ".join(filter(None, (holder.command_line or holder.command, user, unit)))
        return f"pid {holder.pid} ({facts})" if facts else f"pid {holder.pid}"
    hint = "its pid is hidden from this user: use sudo to see it" if holder.hidden else None
    facts = "; ".join(filter(None, (unit, hint)))
    return ("a process" + (f" of {user}" if user else "")) + (f" ({facts})" if facts else "")


def next_command(holders: list[Holder], port: int) -> str:
    """Return a command for the operator: one that ends a holder, else one that shows it."""
    commands = filter(None, map(_stop_command, holders))
    return next(commands, f"sudo ss -ltnp 'sport = :{port}'")


def _stop_command(holder: Holder) -> str | None:
    """Return the command that ends ``holder``; None if it would end a login session or pid 1."""
    user, unit = holder.user or "", holder.unit or ""  # units first: systemd restarts a process
    if unit.endswith((".service", ".socket")) and not unit.startswith("user@"):
        manager = f"--user --machine={shlex.quote(user)}@.host " if holder.user_unit else ""
        return f"sudo systemctl {manager}stop {shlex.quote(unit)}"
    if holder.pid in (None, 1):
        return None
    ours = os.geteuid() != 0 and user == user_name(os.geteuid())
    return f"kill {holder.pid}" if ours else f"sudo kill {holder.pid}"


def _dump(family: int, state: int, port: int) -> list[bytes]:
    """Return an inet_diag_msg with its attributes for each TCP socket in ``state`` at ``port``."""
    local_port = port.to_bytes(2, "big")
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << state, local_port)
    header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _DUMP_REQUEST, 0, 0)
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
    payloads: list[bytes] = []
    try:
        with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as channel:
            channel.connect((0, 0))  # port id 0: receive from the kernel only
            channel.send(header + body)
            for _ in range(_MAX_DATAGRAMS):  # no wait: each read makes the kernel fill the next
                if _split(channel.recv(_DATAGRAM_BYTES), payloads):
                    break
    except struct.error as error:
        raise OSError(errno.EBADMSG, f"malformed answer from sock_diag: {error}") from error
    except OSError as error:
        if error.errno in _UNAVAILABLE:
            raise SockDiagUnavailable(error.errno, f"no sock_diag: {error.strerror}") from error
        raise
    return [one for one in payloads if one[4:6] == local_port]  # in case a kernel does not filter


def _split(datagram: bytes, payloads: list[bytes]) -> bool:
    """Add the messages in ``datagram`` to ``payloads``; return whether the dump has ended.

    Raises the OSError that the kernel reports, or struct.error.
    """
    offset = 0
    while offset < len(datagram):
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, offset)
        payload = datagram[offset + _HEADER.size : offset + length]
        if kind in (_NLMSG_ERROR, _NLMSG_DONE):
            (status,) = _STATUS.unpack_from(payload)
            if status:
                raise OSError(-status, os.strerror(-status))
            return True
        if len(payload) < _MESSAGE.size:
            raise struct.error("message too short")
        payloads.append(payload)
        offset += (length + 3) & ~3
    return False


def _listening_socket(family: int, payload: bytes) -> ListeningSocket:
    port, address, uid, inode = _MESSAGE.unpack_from(payload)
    address = socket.inet_ntop(family, address[: 4 if family == socket.AF_INET else 16])
    cgroup_id = _cgroup_id(payload[_MESSAGE.size :])
    return ListeningSocket(family, address, int.from_bytes(port, "big"), inode, uid, cgroup_id)


def _cgroup_id(attributes: bytes) -> int | None:
    """Return the cgroup's id among netlink attributes; malformed ones count as absent."""
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        value = attributes[_ATTRIBUTE.size : length]
        if kind == _INET_DIAG_CGROUP_ID and len(value) == _CGROUP_ID.size:
            return int(_CGROUP_ID.unpack(value)[0])
        attributes = attributes[max((length + 3) & ~3, _ATTRIBUTE.size) :]
    return None


def _listeners_by_proc(port: int) -> list[ListeningSocket]:
    """Return what `listeners` returns, where there is no sock_diag; slower."""
    return _sockets_by_proc(port, _TCP_LISTEN)


def _sockets_by_proc(port: int, state: int) -> list[ListeningSocket]:
    """Return sockets from proc_pid_net(5), which has no cgroups; their addresses are empty."""
    found = []
    for family, path in zip(_FAMILIES, ("/proc/net/tcp", "/proc/net/tcp6"), strict=True):
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as table:  # no IPv6
            for fields in map(str.split, table):
                if fields[1].endswith(f":{port:04X}") and fields[3] == f"{state:02X}":
                    found.append(ListeningSocket(family, "", port, int(fields[9]), int(fields[7])))
    return found


def _holders(port: int, ask: Callable[[int], list[ListeningSocket]]) -> list[Holder]:
    sockets = {f"socket:[{one.inode}]": one for one in ask(port)}
    owners, denied = _owners(set(sockets))
    still = {one.inode for one in ask(port)}  # others were closed during the scan
    seen = [link for link, one in sockets.items() if owners[link] or one.inode in still]
    # a process that listens on both families counts once
    return list(dict.fromkeys(_holder(sockets[link], owners[link], denied) for link in seen))


def _owners(links: set[str]) -> tuple[dict[str, list[int]], bool]:
    """Return the pids that hold each of ``links``, and whether processes are hidden from us."""
    owners: dict[str, list[int]] = {link: [] for link in links}
    denied = os.geteuid() != 0  # a /proc mounted with hidepid hides without an error
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):  # closed during the scan
                    link = os.readlink(f"/proc/{pid}/fd/{name}")
                    if link in owners:
                        owners[link].append(int(pid))
        except OSError as error:  # it ended during the scan, or is hidden
            denied = denied or isinstance(error, PermissionError)
    return owners, denied


def _holder(one: ListeningSocket, pids: list[int], denied: bool) -> Holder:
    # The oldest process created the listener. But systemd (pid 1) keeps copies of sockets that it
    # activates or stores for a unit: any other process comes first, and the socket's unit counts.
    pid = min(pids, key=lambda pid: (pid == 1, _start_ticks(pid), pid), default=None)
    unit, user_unit = _unit_of_cgroup_id(one.cgroup_id)
    if pid is None:
        return Holder(None, None, None, user_name(one.uid), unit, denied, user_unit)
    if pid != 1 and not (unit or "").endswith(".socket"):  # its service's end would not free it
        unit, user_unit = _unit_of_process(pid)
    command = _printable(_read(pid, "comm").strip())
    command_line = _printable(_read(pid, "cmdline").replace("\0", " ").strip())[:_MAX_COMMAND_LINE]
    # effective uid: the owner of /proc/PID is root once a process has dropped its privileges
    uid = re.search(r"^Uid:\s+\d+\s+(\d+)", _read(pid, "status"), re.MULTILINE)
    user = user_name(int(uid[1]) if uid else one.uid)
    return Holder(pid, command or None, command_line or None, user, unit, False, user_unit)


def _start_ticks(pid: int) -> int:
    """Return when ``pid`` started, in clock ticks since boot: field 22 of proc_pid_stat(5)."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[19]) if fields else 1 << 63  # it has ended: sort it last


def unit_of(pid: int) -> str | None:
    """Return the unit of the system's systemd that a process belongs to, None if it is in none."""
    unit, is_user_unit = _unit_of_process(pid)
    return None if is_user_unit else unit


def _unit_of_process(pid: int) -> tuple[str | None, bool]:
    # cgroups(7): a line is hierarchy:controllers:path; systemd uses the two named here
    paths = re.findall(r"^\d+:(?:name=systemd)?:(.*)$", _read(pid, "cgroup"), re.MULTILINE)
    return next(filter(any, map(_unit_of_path, paths)), (None, False))


def _unit_of_cgroup_id(cgroup_id: int | None) -> tuple[str | None, bool]:
    """Return the unit of the cgroup whose folder has the inode ``cgroup_id``.

    (open_by_handle_at(2) would find the folder at once, but needs root.)
    """
    roots = [root for root in _CGROUP_ROOTS if os.path.exists(f"{root}/cgroup.controllers")]
    for root in roots if cgroup_id is not None else ():
        for _, (folder, _, _) in zip(range(_MAX_CGROUPS), os.walk(root), strict=False):
            with contextlib.suppress(OSError):  # removed during the walk
                if os.stat(folder).st_ino == cgroup_id:
                    return _unit_of_path(folder.removeprefix(root))
    return None, False


def _unit_of_path(path: str) -> tuple[str | None, bool]:
    """Return a cgroup's unit as systemd's cg_path_get_unit does, and whether it is a user's own."""
    # the first folder that is no slice: services and containers create others below
    names = [_printable(name) for name in path.split("/") if name and not name.endswith(".slice")]
    units = [name.endswith((".service", ".scope", ".socket")) for name in names[:2]]
    if units == [True, True] and names[0].startswith("user@"):
        return names[1], True
    return (names[0] if units[:1] == [True] else None), False


def user_name(uid: int) -> str:
    """Return the name of a user, or ``uid N`` where the machine has no name for it."""
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"uid {uid}"


def _printable(text: str) -> str:
    """Return ``text`` without control characters: another process wrote it, and we log it."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _read(pid: int, name: str) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read(_MAX_PROC_BYTES).decode(errors="replace")
    return ""
