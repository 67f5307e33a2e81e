"""Connections are steered between two listeners of one port, in the real kernel."""

import socket
from collections.abc import Iterator

import pytest

from supervisor.ports import listeners
from supervisor.ports.listeners import Address
from supervisor.ports.steering import steer, steer_one

CLIENTS = {"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::1": "::1", "::": "::1"}


@pytest.fixture(params=CLIENTS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[list[socket.socket], str]]:
    """Bind two listeners at one address; yield them, and the address for clients."""
    first = listeners.bind(Address(request.param, 0))
    address = Address(request.param, first.getsockname()[1])
    second = listeners.bind(address, beside_our_own=True)
    with first, second:
        yield [first, second], CLIENTS[request.param]


def reached(pair: list[socket.socket], host: str, *, port: int = 0) -> int:
    """Connect, from ``port``, and return the place of the listener that gets the connection."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((host, port))
        client.connect((host, pair[0].getsockname()[1]))
        for place, listener in enumerate(pair):
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                continue
            return place
    raise AssertionError("no listener got it")


def test_all_connections_go_where_they_are_steered(
    pair: tuple[list[socket.socket], str],
) -> None:
    """Whatever the hash of a connection, the listener is the one that was chosen."""
    sockets, host = pair
    for place in (0, 1, 0):
        steer(sockets[0], place)
        assert {reached(sockets, host) for _ in range(30)} == {place}


def test_one_client_reaches_the_other_listener(pair: tuple[list[socket.socket], str]) -> None:
    """Connections from one port are steered apart, by any listener of the group; others are not."""
    sockets, host = pair
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as reserved:
        reserved.bind((host, 0))
        port = reserved.getsockname()[1]
    steer_one(sockets[1], 1, from_port=port, others=0)
    assert reached(sockets, host, port=port) == 1
    assert {reached(sockets, host) for _ in range(30)} == {0}


def test_what_cannot_be_steered_raises() -> None:
    """A Unix socket is in no group."""
    with socket.socket(socket.AF_UNIX) as unix, pytest.raises(OSError):
        steer(unix, 0)
