"""Asks status ports, of this machine or of many at the same time, for their health documents."""

import http.client
import json
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from supervisor.health.port_connection import PortConnection
from supervisor.values.errors import SupervisorError

DEFAULT_PORT = 6000
_BODY_MAX = 8 * 2**20  # bytes
_WORDS_MAX = 160  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthAnswer:
    """What a status port answered: either a ``document``, or a ``problem``.

    ``is_reachable`` is false when there was no answer at all; ``seconds`` is how long it took.
    """

    document: dict[str, Any] | None = None
    problem: str | None = None
    is_reachable: bool = True
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class StatusAddress:
    """Where a status port is asked."""

    scheme: str
    host: str
    port: int | None
    path: str


def status_address(text: str) -> StatusAddress:
    """Return the address that a person wrote: ``pi``, ``pi:6000``, ``http://pi:6000/health/coach``.

    Without a port it is 6000 (of http and https addresses: 80 and 443 are for proxies, so they have
    to be written), without a path ``/health``. Raises `SupervisorError` for what is none.
    """
    parts = urlsplit(text if "//" in text else f"//{text}", scheme="http")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.username:
        raise SupervisorError(
            f"{text!r} is no address of a status port",
            hint="an address is pi.local, 192.168.4.20:6000 or http://pi.local:6000/health/coach",
        )
    path = parts.path if parts.path not in ("", "/") else "/health"
    return StatusAddress(parts.scheme, parts.hostname, port or DEFAULT_PORT, path)


def ask(address: StatusAddress, *, timeout_s: float) -> HealthAnswer:
    """Return the answer of one status port; see `ask_all`."""
    return ask_all({"": address}, timeout_s=timeout_s)[""]


def ask_all(addresses: Mapping[str, StatusAddress], *, timeout_s: float) -> dict[str, HealthAnswer]:
    """Return the answers of many status ports, by the same keys, all asked at the same time.

    Blocks for ``timeout_s`` at most: who has not answered by then is unreachable. A thread that
    still waits for a name server is left behind, and ends with the process.
    """
    answers: queue.SimpleQueue[tuple[str, HealthAnswer]] = queue.SimpleQueue()
    deadline = time.monotonic() + timeout_s

    def fetch(key: str, address: StatusAddress) -> None:
        answers.put((key, _fetch(address, deadline)))

    for key, address in addresses.items():
        threading.Thread(target=fetch, args=(key, address), name=f"ask {key}", daemon=True).start()
    silent = HealthAnswer(problem=f"no answer within {timeout_s:g} s", is_reachable=False)
    found = dict.fromkeys(addresses, silent)
    for _ in addresses:
        try:
            key, answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[key] = answer
    return found


def _fetch(address: StatusAddress, deadline: float) -> HealthAnswer:
    started = time.monotonic()
    connection = _connection(address, deadline - started)
    try:
        connection.request("GET", address.path, headers={"Accept": "application/health+json, */*"})
        response = connection.getresponse()
        body = _read(response, deadline)
    except TimeoutError:
        waited_s = time.monotonic() - started
        return HealthAnswer(problem=f"no answer within {waited_s:.0f} s", is_reachable=False)
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        return HealthAnswer(problem=f"no answer: {why}", is_reachable=False)
    finally:
        connection.close()
    return _judge(response.status, response.reason, body, time.monotonic() - started)


def _connection(address: StatusAddress, timeout_s: float) -> http.client.HTTPConnection:
    timeout = max(0.01, timeout_s)
    if address.scheme == "https":
        return http.client.HTTPSConnection(address.host, address.port, timeout=timeout)
    return PortConnection(address.host, address.port, timeout=timeout)


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    received = bytearray()
    while part := response.read1(65536):
        received += part
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(received) > _BODY_MAX:
            raise ValueError("the answer is too long")
    if response.length:  # it was cut
        raise http.client.IncompleteRead(bytes(received), response.length)
    return bytes(received)


def _judge(status: int, phrase: str, body: bytes, seconds: float) -> HealthAnswer:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict) and content.get("status") in ("pass", "warn", "fail"):
        return HealthAnswer(document=content, seconds=seconds)
    said = content.get("detail") if isinstance(content, dict) else None
    number = f"{status} {phrase}".strip()
    if status < 400:
        return HealthAnswer(problem=f"answers {number}, but no health document", seconds=seconds)
    text = f"answers {number}: {said}" if isinstance(said, str) else f"answers {number}"
    return HealthAnswer(problem=" ".join(text.split())[:_WORDS_MAX], seconds=seconds)
