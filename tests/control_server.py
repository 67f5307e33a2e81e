"""A control server in its own process, and raw connections to it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from children import child
from harness import eventually

from supervisor.client import Client, socket_address
from supervisor.control.server import ControlServer, Method, RequestError, listen

TIMEOUT_S = 20.0
WAIT_S = 1.0  # of the slow methods
BIG = "x" * 1_000_000


def refuse(_params: dict[str, Any]) -> Any:
    """A method that refuses."""
    raise RequestError("no_such_app", "there is no app 'x'", hint="known: coach")


def in_loop(method: Callable[[dict[str, Any]], Any]) -> Method:
    """Return ``method`` as one that the server can await."""

    async def answer(params: dict[str, Any]) -> Any:
        return method(params)

    return answer


async def serve(listener: socket.socket) -> int:
    """Serve until killed; the method ``unhandled`` returns the loop's unhandled exceptions."""
    unhandled: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unhandled.append(context["message"]))
    ended: list[str] = []

    def waiting(name: str) -> Method:
        async def wait(_params: dict[str, Any]) -> Any:
            try:
                await asyncio.sleep(WAIT_S)
            except asyncio.CancelledError:
                ended.append(name)
                raise
            return name

        return wait

    methods: dict[str, Any] = {
        "ended": lambda _: ended,
        "echo": lambda params: params,
        "big": lambda _: BIG,
        "nothing": lambda _: None,
        "refuse": refuse,
        "broken": lambda _: 1 / 0,
        "unhandled": lambda _: unhandled,
    }
    made = {name: in_loop(method) for name, method in methods.items()}
    made |= {name: waiting(name) for name in ("wait", "wait_for_client")}
    server = ControlServer({"wait_for_client"})
    server.methods = made
    await server.start(listener)
    await asyncio.Event().wait()
    return 0


@contextlib.contextmanager
def server(path: Path) -> Iterator[Client]:
    """Run a server at ``path`` in its own process, and yield a client of it."""
    listener = listen(path)
    try:
        keep = (listener.fileno(),)
        with child(lambda _: asyncio.run(serve(listener)), keep=keep):
            listener.close()
            yield Client(path, timeout_s=TIMEOUT_S)
    finally:
        listener.close()


@contextlib.contextmanager
def raw(client: Client) -> Iterator[socket.socket]:
    """Yield a raw connection to a client's server."""
    with socket.socket(socket.AF_UNIX) as connection, socket_address(client.path) as address:
        connection.settimeout(TIMEOUT_S)
        # with a full backlog connect(2) fails at once on a socket with a time-out
        eventually(lambda: connection.connect_ex(address) == 0, what="a connection")
        yield connection


def answer(connection: socket.socket) -> Any:
    """Return the next answer, or None at the end of the connection."""
    received = b""
    while not received.endswith(b"\n"):
        try:
            part = connection.recv(1)  # no byte of the next answer
        except ConnectionResetError:
            return None
        if not part:
            assert not received
            return None
        received += part
    return json.loads(received)
