"""The control socket: commands and the admin app ask the main process here.

Served by the main loop, so everything is bounded: the length of a request, the time a client
may take, the number of clients. A client of another user is refused (SO_PEERCRED, unix(7)).
"""

import asyncio
import json
import os
import select
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from supervisor.client import peer_of, socket_address
from supervisor.values.errors import SupervisorError

REQUEST_MAX = 1024 * 1024
CLIENTS_MAX = 32
IDLE_S = 30.0  # a client that sends nothing, or reads nothing, is cut off after this
_CLIENT_CHECK_S = 0.1  # between two checks whether the client is still connected

Method = Callable[[dict[str, Any]], Awaitable[Any]]


class RequestError(Exception):
    """A request is refused or failed; ``code`` is a short name for programs."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def whole_number(params: dict[str, Any], name: str, default: int) -> int:
    """Return a parameter that is a whole number from 0; raises `RequestError` for anything else."""
    value = params.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise RequestError("bad_params", f'"{name}" has to be a whole number')
    return value


def listen(path: Path) -> socket.socket:
    """Bind the control socket; the caller holds the state folder's lock, so an old file is stale.

    Raises `SupervisorError` when the folder doesn't allow it.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        with socket_address(path) as address:
            listener.bind(address)
    except OSError as error:
        listener.close()
        raise SupervisorError(
            f"cannot make the control socket {path}: {error.strerror}",
            hint="the state folder has to be writable for the supervisor's user",
        ) from error
    finally:
        os.umask(umask)
    listener.listen(CLIENTS_MAX)
    return listener


class ControlServer:
    """Answers requests with `methods` on the listeners that it is given, and owns them.

    Those named in ``ending_with_client`` are cancelled when their client disconnects.
    """

    def __init__(self, ending_with_client: Collection[str] = ()) -> None:
        self.methods: Mapping[str, Method] = {}
        self._ending_with_client = ending_with_client
        self._clients = 0
        self._servers: dict[socket.socket, asyncio.Server] = {}

    async def start(self, listener: socket.socket) -> None:
        """Accept clients on ``listener`` too."""
        self._servers[listener] = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=REQUEST_MAX
        )

    def forget(self, listener: socket.socket) -> None:
        """Close ``listener``, which no client can find any more."""
        self._servers.pop(listener).close()

    def stop(self) -> None:
        """Accept no more clients, and close the listeners."""
        for server in self._servers.values():
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients > CLIENTS_MAX or not _is_trusted(writer):
                return
            async with asyncio.timeout(IDLE_S) as limit:
                while line := await reader.readline():
                    limit.reschedule(None)  # a method has limits of its own
                    answer = await self._answer(line, writer)
                    limit.reschedule(asyncio.get_running_loop().time() + IDLE_S)
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            return  # the client sent nothing, disconnected, or sent too long a line
        finally:
            self._clients -= 1
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> dict[str, Any]:
        number = None
        try:
            request = _parse(line)
            number = request.get("id")
            answering = self._method(request["method"])(request.get("params", {}))
            if request["method"] in self._ending_with_client:
                answering = _while_there(writer, answering)
            return {"id": number, "result": await answering}
        except RequestError as error:
            answer = {"code": error.code, "message": error.message, "hint": error.hint}
            return {"id": number, "error": answer}
        except ConnectionError:
            raise  # the client has gone
        except Exception as error:  # noqa: BLE001 - a defect of ours must not look like an end
            context = {"message": "a request could not be answered", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            text = f"the supervisor failed to answer: {type(error).__name__}"
            hint = "its log has the details: please report them"
            return {"id": number, "error": {"code": "internal", "message": text, "hint": hint}}

    def _method(self, name: str) -> Method:
        if name not in self.methods:
            known = ", ".join(sorted(self.methods))
            raise RequestError("unknown_method", f"there is no method {name!r}; known: {known}")
        return self.methods[name]


async def _while_there(writer: asyncio.StreamWriter, answering: Awaitable[Any]) -> Any:
    """Return the answer; raises ConnectionError, and cancels it, when the client disconnects.

    A client that only sends nothing more (shutdown(2)) is still connected, and gets the answer.
    """
    peer = select.poll()
    peer.register(writer.get_extra_info("socket").fileno(), 0)  # POLLHUP is always reported
    task = asyncio.ensure_future(answering)
    try:
        while not (await asyncio.wait([task], timeout=_CLIENT_CHECK_S))[0]:
            if peer.poll(0):
                raise ConnectionResetError("the client has gone")
        return task.result()
    finally:
        if not task.done():
            task.cancel()


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError("not_json", f"a request is one line of JSON: {error}") from error
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise RequestError("not_a_request", 'a request is an object with "method"')
    if not isinstance(request.get("params", {}), dict):
        raise RequestError("not_a_request", '"params" has to be an object')
    return request


def _is_trusted(writer: asyncio.StreamWriter) -> bool:
    peer: socket.socket = writer.get_extra_info("socket")
    return peer_of(peer).uid in (0, os.geteuid())
