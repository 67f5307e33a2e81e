"""The loop misses no change of a connection: a miss would leave a client waiting for 5 s."""

import os
import random
import socket
import subprocess
import sys
import threading

import pytest
from server_process import serving
from wire import Wire

from supervisor.server.poll import SocketMap, Waker

CLIENTS, EXCHANGES = 8, 100
STALL_S = 4.0  # the loop looks at everything after 5 s by itself


class Client(threading.Thread):
    """Sends requests of all sizes, on persistent and on new connections."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._random = random.Random(seed)
        self.worst_s = 0.0
        self.wrong: list[object] = []
        self.done = 0

    def run(self) -> None:
        """Run all exchanges until one fails."""
        try:
            while self.done < EXCHANGES:
                with Wire(self._port) as wire:
                    wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for _ in range(min(self._random.randrange(1, 40), EXCHANGES - self.done)):
                        self._exchange(wire)
        except (OSError, ValueError) as error:
            self.wrong.append(error)

    def _exchange(self, wire: Wire) -> None:
        size = self._random.choice([0, 1, 2000, 400_000])
        body = b"b" * self._random.choice([0, 5, 20_000])
        path = self._random.choice([f"/size/{size}", "/sleep/0.003"])
        head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
        request = head.encode() + body
        cut = self._random.randrange(len(request))
        wire.send(request[:cut]).send(request[cut:])
        answer = wire.answer(since_sent=True)
        wanted = size if path.startswith("/size") else len(path) + 1
        if answer.status != 200 or len(answer.body) != wanted:
            self.wrong.append((path, answer.status, len(answer.body)))
        self.worst_s = max(self.worst_s, answer.seconds)
        self.done += 1


@pytest.mark.parametrize("lookahead", [0, 1])
def test_no_exchange_stalls(lookahead: int) -> None:
    """Hundreds of concurrent exchanges, in all sizes and pieces, are answered without a stall."""
    options = {"channel_request_lookahead": lookahead}
    with serving(threads=2, max_threads=6, options=options) as server:
        clients = [Client(server.port, seed) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(60)
        assert [client.wrong for client in clients] == [[]] * CLIENTS
        assert [client.done for client in clients] == [EXCHANGES] * CLIENTS
        assert max(client.worst_s for client in clients) < STALL_S
        metrics = server.wait_for_metrics(in_flight=0, total=CLIENTS * EXCHANGES)
        assert metrics.by_class["2xx"] == metrics.total


def test_a_wake_before_the_wait_is_not_lost() -> None:
    """A thread that wakes the loop between its checks and its wait ends the wait at once."""
    sockets = SocketMap()
    waker = Waker(sockets)
    waker.going_to_wait()
    waker.wake()
    events = sockets.wait(30)  # the limit of a test
    assert events
    waker.is_awake()
    sockets.handle(events)
    waker.wake()  # needs no event: the loop will look around before it waits again
    assert sockets.wait(0) == []
    waker.going_to_wait()
    waker.wake()
    waker.wake()
    sockets.handle(sockets.wait(30))
    assert sockets.wait(0) == []
    (fd,) = sockets
    os.close(fd)


ONE_ROUND = """
import socket
from supervisor.server.server import Server
server = Server()
port = socket.create_server(("127.0.0.1", 0))
talk, talked_to = socket.socketpair()
listener = server.add(port, lambda _environ, _start: [b"served"])

def close():
    server.set_open(listener, False)
    server.drain(timeout_s=0, idle_s=0)

server.watch(talked_to.fileno(), close)
talk.sendall(b"close")
client = socket.create_connection(port.getsockname())
client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
print(server.run(), len(listener.active_channels))
"""


def test_a_message_comes_before_later_connections() -> None:
    """What closes a listener counts before a connection that came after it, in one round too."""
    command = [sys.executable, "-c", ONE_ROUND]  # a server's threads end with their process
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0 0\n"
