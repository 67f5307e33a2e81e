"""The channel between two processes: whole messages, or `ChannelClosed`; it never blocks."""

import contextlib
import json
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from children import beside
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.process.channel import LINE_MAX, Channel
from supervisor.values.errors import ChannelClosed

TIMEOUT_S = 20.0
PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@contextlib.contextmanager
def channel_and_peer() -> Iterator[tuple[Channel, socket.socket]]:
    """Yield a channel and the raw socket at its other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(TIMEOUT_S)
    channel = Channel(ours)
    try:
        yield channel, theirs
    finally:
        channel.close()
        theirs.close()


@contextlib.contextmanager
def channels() -> Iterator[tuple[Channel, Channel]]:
    """Yield both ends of a channel."""
    with channel_and_peer() as (ours, raw):
        yield ours, Channel(raw)


def read_line(peer: socket.socket) -> Any:
    """Return one message as the peer reads it."""
    received = b""
    while not received.endswith(b"\n"):
        part = peer.recv(65536)
        assert part
        received += part
    return json.loads(received)


def receive_all(channel: Channel, count: int) -> list[Any]:
    """Return ``count`` messages, however many reads they take."""
    messages: list[Any] = []
    while len(messages) < count:
        assert select.select([channel], [], [], TIMEOUT_S)[0]
        messages += channel.receive()
    return messages


def send_as_far_as_taken(peer: socket.socket, data: bytes) -> None:
    """Send ``data`` until the other end is closed."""
    with contextlib.suppress(OSError):
        peer.sendall(data)


# ---- messages


def test_messages_arrive_in_order() -> None:
    """Each end receives what the other one sent, in order."""
    with channels() as (a, b):
        for number in range(3):
            a.send({"number": number})
        b.send({"answer": "é"})
        assert b.receive() == [{"number": 0}, {"number": 1}, {"number": 2}]
        assert a.receive() == [{"answer": "é"}]


def test_nothing_to_receive_is_no_message() -> None:
    """Receiving doesn't block when no message has arrived."""
    with channels() as (a, _):
        assert a.receive() == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
MESSAGES = st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=4), max_size=6)


@PROPERTY
@given(MESSAGES, st.integers(1, 40))
def test_the_cuts_of_the_stream_do_not_matter(messages: list[Any], part: int) -> None:
    """Each message is received once and whole, in whatever pieces its bytes arrive."""
    stream = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    received: list[Any] = []
    with channel_and_peer() as (channel, peer):
        for start in range(0, len(stream), part):
            peer.send(stream[start : start + part])
            received += channel.receive()
    assert received == messages


def test_a_long_message_arrives_whole() -> None:
    """A message that takes many reads is returned once it is complete."""
    message = {"text": "x" * 900_000}
    with channels() as (a, b):
        a.send(message)
        assert a.unsent
        received: list[Any] = []
        while not received:
            a.flush()
            received = b.receive()
        assert received == [message]
        a.flush()
        assert not a.unsent


# ---- the end


@pytest.mark.parametrize("sent", [b"", b'{"half": '])
def test_receiving_from_a_closed_end_raises(sent: bytes) -> None:
    """`receive` raises when the other end is closed, also in the middle of a message."""
    with channel_and_peer() as (channel, peer):
        peer.sendall(sent)
        channel.receive()
        peer.close()
        with pytest.raises(ChannelClosed):
            channel.receive()


def test_the_last_messages_are_received() -> None:
    """Messages that were sent just before the other end closed are not lost."""
    with channel_and_peer() as (channel, peer):
        peer.sendall(b'{"last": 1}\n')
        peer.close()
        assert channel.receive() == [{"last": 1}]
        with pytest.raises(ChannelClosed):
            channel.receive()


def test_sending_to_a_closed_end_raises() -> None:
    """`send` raises `ChannelClosed`, not BrokenPipeError."""
    with channel_and_peer() as (channel, peer):
        peer.close()
        with pytest.raises(ChannelClosed):
            channel.send({"a": 1})


GARBAGE = [
    b"\n",
    b"hello\n",
    b"5\n",
    b"null\n",
    b"[1]\n",
    b'"text"\n',
    b"{'a': 1}\n",
    b"\xff\xfe\n",
    b"{}\0\n",
    b"[" * 200_000 + b"\n",
    b'{"a":' * 100_000 + b"\n",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:12]))
def test_garbage_closes(garbage: bytes) -> None:
    """A line that is no JSON object counts as the end of the channel."""
    with (
        channel_and_peer() as (channel, peer),
        beside(lambda: send_as_far_as_taken(peer, garbage)),
    ):
        with pytest.raises(ChannelClosed):
            receive_all(channel, 1)
        channel.close()


def test_an_endless_message_closes() -> None:
    """A line that doesn't end is refused, and doesn't fill the memory."""
    with channel_and_peer() as (channel, peer):
        peer.setblocking(False)
        with pytest.raises(ChannelClosed, match="too long"):
            for _ in range(LINE_MAX):
                with contextlib.suppress(BlockingIOError):
                    peer.send(b"x" * 65536)
                channel.receive()


# ---- a peer that doesn't read


def fill(channel: Channel) -> None:
    """Send until a part is buffered."""
    while not channel.unsent:
        channel.send({"text": "x" * 10_000})


def test_sending_never_blocks() -> None:
    """What the other end doesn't read is buffered, up to a limit; then the channel is closed."""
    with channel_and_peer() as (channel, _):
        started = time.monotonic()
        with pytest.raises(ChannelClosed, match="does not read"):
            for _ in range(1000):
                channel.send({"text": "x" * 10_000})
        assert time.monotonic() - started < TIMEOUT_S


def test_flush_sends_what_was_buffered() -> None:
    """After `flush` the other end has every message, whole and in order."""
    with channels() as (a, b):
        fill(a)
        a.send({"last": True})
        received: list[Any] = []
        while a.unsent:
            received += b.receive()
            a.flush()
        while not received or "last" not in received[-1]:
            received += b.receive()
        assert all(set(message) == {"text"} for message in received[:-1])


def test_flush_to_a_closed_end_raises() -> None:
    """What is buffered for a peer that is gone can't be sent."""
    with channel_and_peer() as (channel, peer):
        fill(channel)
        peer.close()
        with pytest.raises(ChannelClosed):
            channel.flush()


def test_send_all_waits_for_a_slow_reader() -> None:
    """`send_all` returns when the reader has taken the whole message."""
    message = {"text": "x" * 900_000}
    received: list[Any] = []
    with channel_and_peer() as (channel, peer):
        with beside(lambda: received.append(read_line(peer))):
            channel.send_all(message, timeout_s=TIMEOUT_S)
        assert not channel.unsent
    assert received == [message]


def test_send_all_has_a_time_out() -> None:
    """`send_all` raises after the limit when the other end doesn't read."""
    with channel_and_peer() as (channel, _):
        started = time.monotonic()
        with pytest.raises(ChannelClosed, match="does not read"):
            channel.send_all({"text": "x" * 900_000}, timeout_s=0.2)
        assert 0.2 <= time.monotonic() - started < TIMEOUT_S


def test_a_closed_channel_has_no_descriptor() -> None:
    """A closed channel has the descriptor -1."""
    with channels() as (channel, _):
        assert channel.fileno() >= 0
        channel.close()
        assert channel.fileno() == -1
