"""Binds listening sockets, and explains why one can't be bound.

``SO_REUSEADDR`` is set before `bind`, so that connections in TIME_WAIT never block it.
``SO_REUSEPORT`` is set after `listen`: set before, two processes of one user would both bind the
port without an error, and the kernel would split the connections between them. Set afterwards, the
listener of another process still causes EADDRINUSE, and our next main process can bind beside us
(socket(7)).
"""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from supervisor.values.records import dataclass

BACKLOG = 1024  # connections that the kernel queues while a worker is being replaced
_UNIX_MODE = 0o666  # for a reverse proxy of another user; the mode of the folder restricts it


@dataclass(frozen=True, slots=True)
class Address:
    """Where an app listens: ``host`` is numeric, "localhost" or "unix:/path" (port None).

    Nowhere, if it has neither a port nor a Unix socket.
    """

    host: str
    port: int | None

    def __str__(self) -> str:
        if self.port is None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_known(self) -> bool:
        """Whether it has a port or a Unix socket."""
        return self.port is not None or self.host.startswith("unix:")

    @property
    def parts(self) -> tuple["Address", ...]:
        """The addresses to bind: "localhost" is the loopback of both families, IPv4 first."""
        if self.host != "localhost":
            return (self,)
        return tuple(Address(host, self.port) for host in ("127.0.0.1", "::1"))

    @property
    def public(self) -> str:
        """The address as port 6000 shows it: a Unix socket without its folder."""
        if not self.is_known:
            return "no port"
        if self.port is None:
            return f"unix:…/{Path(self.host.removeprefix('unix:')).name}"
        return str(self)

    @property
    def url(self) -> str:
        """The URL for a browser on this machine; all interfaces are shown as localhost."""
        if self.port is None:
            return self.public
        if self.host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            return f"http://localhost:{self.port}"
        return f"http://{self}"


class BindError(Exception):
    """A bind failed; ``in_use``: because another process holds the address."""

    def __init__(self, reason: str, *, hint: str | None = None, in_use: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.in_use = in_use


def retry_delay_s(
    failed_attempts: int, *, attempts: int, first_delay_s: float, factor: float, max_delay_s: float
) -> float:
    """Return the seconds from the ``failed_attempts``-th failed bind to the next attempt.

    By default 2, 4, 8, 16, and 30 s after the fifth and all further ones.
    """
    if failed_attempts >= attempts:
        return max_delay_s
    return min(first_delay_s * factor ** (failed_attempts - 1), max_delay_s)


def bind(address: Address, *, beside_our_own: bool = False) -> socket.socket:
    """Bind and return a non-blocking listening socket at ``address``; the caller closes it.

    ``address`` is one of `Address.parts`. ``beside_our_own``: a listener of ours at this port is
    about to be closed. Never blocks: no name is resolved. Raises `BindError`.
    """
    if address.port is None:
        return _bind_unix(Path(address.host.removeprefix("unix:")))
    host, family = address.host, _family(address.host)
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # EAFNOSUPPORT: a kernel without IPv6
        raise _explained(error, address) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if beside_our_own:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            dual_stack = host == "::"
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual_stack))
        listener.bind((host, address.port))
        listener.listen(BACKLOG)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _explained(error, address) from error
    return listener


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listens(listener: socket.socket) -> bool:
    """Return whether ``listener`` still listens: a process that shares it can shut it down."""
    return listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def is_local(host: str) -> bool:
    """Return whether a numeric address belongs to this machine now; all interfaces always do.

    A listener stays when its address goes, and serves again when it comes back (ip(7)). Opens a
    socket, but neither blocks nor sends anything.
    """
    try:
        with socket.socket(_family(host), socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True


def matches(candidate: socket.socket, address: Address) -> bool:
    """Return whether ``candidate``, made by an earlier process, listens at ``address``."""
    try:
        return (
            candidate.type == socket.SOCK_STREAM
            and listens(candidate)
            and _bound_at(candidate, address)
        )
    except OSError:
        return False


def _bound_at(candidate: socket.socket, address: Address) -> bool:
    if address.port is None:
        path = address.host.removeprefix("unix:")
        return (
            candidate.family == socket.AF_UNIX
            and candidate.getsockname() == path
            and stat.S_ISSOCK(os.stat(path).st_mode)  # else nobody can find it
        )
    host, family = address.host, _family(address.host)
    if candidate.family != family:
        return False
    if family == socket.AF_INET6:
        v6_only = candidate.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        if bool(v6_only) == (host == "::"):
            return False
    found, port, *_ = candidate.getsockname()
    return port == address.port and _packed(family, found) == _packed(family, host)


def _packed(family: socket.AddressFamily, host: str) -> bytes:
    return socket.inet_pton(family, host.partition("%")[0])


def adopt(candidate: socket.socket) -> None:
    """Give a listener of an earlier process, or of systemd, the options that `bind` sets.

    Raises OSError.
    """
    candidate.listen(BACKLOG)  # only changes the backlog of a listening socket
    if candidate.family != socket.AF_UNIX:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    candidate.setblocking(False)


def close(listener: socket.socket) -> None:
    """Close ``listener``, and remove the file of a Unix socket if it leads there."""
    if listener.family == socket.AF_UNIX:
        path = Path(listener.getsockname())
        with contextlib.suppress(OSError):  # ENOTCONN: shut down already
            listener.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError, BindError):  # it is gone, or another process's by now
            _remove_stale(path)
    listener.close()


def shut_down(listener: socket.socket) -> None:
    """Close ``listener`` for all processes that inherited it.

    The kernel refuses new connections and resets those that no worker has accepted; the address can
    be bound again. Accepted connections stay open.
    """
    with contextlib.suppress(OSError):  # ENOTCONN: shut down already
        listener.shutdown(socket.SHUT_RDWR)
    close(listener)


def _bind_unix(path: Path) -> socket.socket:
    address = Address(f"unix:{path}", None)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        path.chmod(_UNIX_MODE)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _explained(error, address) from error
    except BindError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a process that has ended.

    Raises OSError (EADDRINUSE) for one in use, `BindError` for a file that is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BindError(
            f"cannot bind unix:…/{path.name}: there is a file that is no socket",
            hint="remove it, or correct `host` in the configuration",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # its backlog is full, so a process listens
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _explained(error: OSError, address: Address) -> BindError:
    """Return ``error`` in words; a port in use is explained by `conflict`, which blocks."""
    what = f"cannot bind {address.public}"
    match error.errno:
        case errno.EADDRINUSE:
            return BindError(f"{what}: it is in use", in_use=True)
        case errno.EADDRNOTAVAIL:
            return BindError(
                f"{what}: no network interface has this address yet",
                hint="the bind is retried; compare the address with: ip address",
            )
        case errno.EACCES | errno.EPERM if address.port is not None:
            return BindError(
                f"{what}: permission denied",
                hint="ports below 1024 need root: use a port from 1024 on, or start by systemd "
                "with AmbientCapabilities=CAP_NET_BIND_SERVICE",
            )
        case errno.EACCES | errno.EPERM:
            return BindError(
                f"{what}: permission denied",
                hint="the folder has to be writable for the supervisor's user",
            )
        case errno.ENOENT:
            return BindError(
                f"{what}: its folder does not exist",
                hint="make the folder, or correct `host` in the configuration",
            )
        case errno.EAFNOSUPPORT:
            return BindError(f"{what}: this kernel has no IPv6", hint='use host = "0.0.0.0"')
    return BindError(f"{what}: {error.strerror or error}")
