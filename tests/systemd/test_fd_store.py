"""Listeners that outlive the process that bound them; their addresses may match or not."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import free_ports
from notified import Listener

from supervisor.ports import listeners
from supervisor.ports.listeners import Address, BindError
from supervisor.systemd.fd_store import SocketStore, name_of
from supervisor.systemd.protocol import NotifySocket


class Runs:
    """The successive processes of a service, each with what systemd kept for it."""

    def __init__(self, folder: Path) -> None:
        self.systemd = Listener(str(folder / "notify"))
        self.notify = NotifySocket(self.systemd.address)
        self.told: list[str] = []
        self.given: list[socket.socket] = []
        self.store = self.next()

    def next(self, extra: list[tuple[str, socket.socket]] | None = None) -> SocketStore:
        """Start the next process, with the stored sockets and ``extra`` ones."""
        self.systemd.hear_all()
        self.told = []
        handed = [*self.systemd.hand_out(), *(extra or [])]
        self.store = SocketStore(handed, self.notify, self.told.append)
        return self.store

    def bind(self, address: Address) -> socket.socket:
        """Bind a listener in the present process."""
        listener = self.store.bind(address)
        self.given.append(listener)
        return listener

    @property
    def stored(self) -> list[str]:
        """The names that are stored now."""
        self.systemd.hear_all()
        return [name for name, kept in self.systemd.stored.items() for _ in kept]

    def close(self) -> None:
        """End everything."""
        self.store.discard_rest()
        for listener in self.given:
            listener.close()
        self.notify.close()
        self.systemd.close()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """A service under an imitated systemd."""
    made = Runs(tmp_path)
    yield made
    made.close()


def inode(listener: socket.socket) -> int:
    """Return what identifies a socket."""
    return os.fstat(listener.fileno()).st_ino


def address_of(kind: str, folder: Path) -> Address:
    """Return a free address of a kind."""
    if kind == "unix":
        return Address(f"unix:{folder}/app.sock", None)
    return Address(kind, free_ports(1)[0])


KINDS = [
    "0.0.0.0",
    "127.0.0.1",
    pytest.param("::", marks=pytest.mark.ipv6),
    pytest.param("::1", marks=pytest.mark.ipv6),
    "unix",
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_process_gets_the_same_listener(runs: Runs, tmp_path: Path, kind: str) -> None:
    """The next process inherits what one has bound; a client that connects between waits in it."""
    address = address_of(kind, tmp_path)
    first = runs.bind(address)
    number = inode(first)
    assert runs.stored == [name_of(address)]
    runs.store.release(first)

    family = first.family
    runs.next()
    with socket.socket(family) as client:
        client.connect(client_address(address, tmp_path))
        second = runs.bind(address)
        runs.store.discard_rest()
        assert inode(second) == number
        assert not second.getblocking()
        assert not second.get_inheritable()
        accepted, _ = second.accept()
        accepted.close()
    assert runs.stored == [name_of(address)]
    assert runs.told == []


def client_address(address: Address, folder: Path) -> str | tuple[str, int]:
    """Return where a client connects to."""
    if address.port is None:
        return f"{folder}/app.sock"
    return ("::1" if ":" in address.host else "127.0.0.1", address.port)


def test_a_port_that_is_gone_from_the_configuration_is_closed(runs: Runs) -> None:
    """Between two runs one port is added and one removed: the removed one refuses connections."""
    kept, removed, added = (Address("127.0.0.1", port) for port in free_ports(3))
    for address in (kept, removed):
        runs.store.release(runs.bind(address))
    runs.next()
    runs.bind(kept)
    runs.bind(added)
    runs.store.discard_rest()
    assert sorted(runs.stored) == sorted([name_of(kept), name_of(added)])
    [line] = runs.told
    assert name_of(removed) in line
    with socket.socket() as client:
        assert client.connect_ex((removed.host, removed.port)) != 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("127.0.0.1", "0.0.0.0"),
        ("0.0.0.0", "127.0.0.1"),
        pytest.param("0.0.0.0", "::", marks=pytest.mark.ipv6),
        pytest.param("::", "::1", marks=pytest.mark.ipv6),
    ],
)
def test_another_host_is_another_listener(runs: Runs, before: str, after: str) -> None:
    """A stored listener on the same port at another host is replaced by the right one."""
    port = free_ports(1)[0]
    runs.store.release(runs.bind(Address(before, port)))
    runs.next()
    listener = runs.bind(Address(after, port))
    assert listener.getsockname()[0] == after
    assert runs.stored == [f"port-{port}"]
    [kept] = runs.systemd.stored[f"port-{port}"]
    assert inode(kept) == inode(listener)


def test_other_sockets_are_no_listeners(runs: Runs) -> None:
    """Sockets that don't listen, or aren't streams, are closed and forgotten."""
    port, other = free_ports(2)
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    datagram = socket.socket(type=socket.SOCK_DGRAM)
    datagram.bind(("127.0.0.1", other))
    runs.next([(f"port-{port}", bound), (f"port-{other}", datagram)])
    for number in (port, other):
        listener = runs.bind(Address("127.0.0.1", number))
        assert inode(listener) not in (inode_or_none(bound), inode_or_none(datagram))
    assert bound.fileno() == datagram.fileno() == -1
    assert len(runs.told) == 2


def inode_or_none(one: socket.socket) -> int | None:
    """Return what identifies a socket, None if it is closed."""
    return None if one.fileno() < 0 else inode(one)


def test_socket_activation_goes_by_address(runs: Runs) -> None:
    """A socket unit gives all its sockets one name: the address decides which app gets one."""
    addresses = [Address("127.0.0.1", port) for port in free_ports(3)]
    activated = [socket.create_server((a.host, a.port), backlog=5) for a in addresses]
    inodes = [inode(one) for one in activated]
    runs.next([("flask-supervisor.socket", one) for one in activated])
    assert [inode(runs.bind(address)) for address in addresses] == inodes
    assert runs.stored == []  # systemd keeps those itself
    with socket.socket() as late:  # a socket unit's own queue may be short
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        late.bind((addresses[0].host, addresses[0].port))


def test_a_unix_socket_whose_file_is_gone_is_made_anew(runs: Runs, tmp_path: Path) -> None:
    """A stored listener whose file is gone is replaced by a new one."""
    address = address_of("unix", tmp_path)
    first = runs.bind(address)
    runs.store.release(first)
    assert (tmp_path / "app.sock").exists()  # clients of the next process find it
    (tmp_path / "app.sock").unlink()
    runs.next()
    runs.bind(address)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/app.sock")
    assert runs.stored == [name_of(address)]


def test_a_removed_address_is_forgotten(runs: Runs, tmp_path: Path) -> None:
    """A listener that a running process removes is not stored any more; its file is removed too."""
    tcp, unix = address_of("127.0.0.1", tmp_path), address_of("unix", tmp_path)
    for address in (tcp, unix):
        runs.store.remove(runs.bind(address), address)
    assert runs.stored == []
    assert not (tmp_path / "app.sock").exists()


def test_what_systemd_could_not_take_is_said_again(runs: Runs) -> None:
    """A full queue at the start loses no listener: `flush` stores it."""
    while runs.notify.feed_watchdog():
        pass
    address = Address("127.0.0.1", free_ports(1)[0])
    runs.bind(address)
    assert runs.stored == []  # this empties the queue
    runs.store.flush()
    assert runs.stored == [name_of(address)]


def test_a_listener_closed_before_it_was_stored_needs_no_storing(runs: Runs) -> None:
    """A notification that is no longer possible doesn't block later ones."""
    early, late = (Address("127.0.0.1", port) for port in free_ports(2))
    while runs.notify.feed_watchdog():
        pass
    runs.store.release(runs.bind(early))
    runs.bind(late)
    assert runs.stored == []
    runs.store.flush()
    assert runs.stored == [name_of(late)]


def test_without_systemd_it_binds_and_closes(tmp_path: Path) -> None:
    """In the foreground nothing outlives the process: a Unix socket's file is gone at the end."""
    store = SocketStore([], NotifySocket(None), lambda text: None)
    assert not store.keeps_listeners
    unix = address_of("unix", tmp_path)
    store.release(store.bind(unix))
    assert not (tmp_path / "app.sock").exists()
    port = free_ports(1)[0]
    listener = store.bind(Address("127.0.0.1", port))
    with pytest.raises(BindError):
        store.bind(Address("127.0.0.1", port))
    listeners.close(listener)


def test_a_second_listener_is_kept_beside_the_first(runs: Runs) -> None:
    """Each is inherited as what it was, and removing the second one leaves the first."""
    address = address_of("127.0.0.1", Path())
    first, second = runs.bind(address), runs.store.bind_second(address)
    runs.given.append(second)
    assert sorted(runs.stored) == [name_of(address), name_of(address, second=True)]
    before = inode(first), inode(second)
    store = runs.next()
    again = store.bind_second(address)
    runs.given += [again, runs.bind(address)]
    assert (inode(runs.given[-1]), inode(again)) == before
    store.remove(again, address, second=True)
    assert runs.stored == [name_of(address)]
