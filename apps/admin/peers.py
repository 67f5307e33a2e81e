"""Asks the admin app of another machine which files one of its apps has."""

import http.client
import json
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from apps.admin import link

_TIMEOUT_S = 10.0
_BODY_MAX = 16 * 2**20  # bytes
_PORT = 5000
_TOKEN = re.compile(r"[\w.~+/=-]{1,200}", re.ASCII)


class PeerError(Exception):
    """The other machine can't be asked, or gives no useful answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How the files of ``app`` differ: from this machine to the other."""

    app: str
    address: str
    same: int
    changed: tuple[str, ...]
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]


def compare(app: str, address: str, token: str) -> Difference:
    """Return how the live files of ``app`` here differ from those at ``address``.

    Raises `PeerError`, and `ControlError` where the supervisor here doesn't know the app.
    """
    here: dict[str, str] = link.ask_long("release.files", app=app)["files"]
    there = _files_at(app, address, token)
    both = here.keys() & there.keys()
    changed = sorted(path for path in both if here[path] != there[path])
    return Difference(
        app=app,
        address=address,
        same=len(both) - len(changed),
        changed=tuple(changed),
        only_here=tuple(sorted(here.keys() - there.keys())),
        only_there=tuple(sorted(there.keys() - here.keys())),
    )


def _files_at(app: str, address: str, token: str) -> dict[str, str]:
    connection = _connection(address)
    if not _TOKEN.fullmatch(token):
        raise PeerError("Give an API token of the other machine: its Settings page creates one.")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    try:
        connection.request("GET", f"/api/v1/apps/{quote(app, safe='')}/files", headers=headers)
        response = connection.getresponse()
        body = _body(response)
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise PeerError(f"{address} gives no answer: {why}") from error
    finally:
        connection.close()
    content = _json(body)
    if response.status == 200 and isinstance(content.get("files"), dict):
        return {str(path): str(what) for path, what in content["files"].items()}
    if response.status in (401, 403):
        raise PeerError(f"{address} does not accept this token.")
    detail = content.get("detail")
    said = f": {detail[:200]}" if isinstance(detail, str) else ""
    raise PeerError(f"{address} answers {response.status}{said}")


def _connection(address: str) -> http.client.HTTPConnection:
    parts = urlsplit(address if "//" in address else f"//{address}", scheme="http")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host or parts.username:
        raise PeerError(
            "An address is pi.local, 192.168.4.20:5000 or https://pi.example.org: that of the "
            "other machine's admin app."
        )
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port or 443, timeout=_TIMEOUT_S)
    return http.client.HTTPConnection(host, port or _PORT, timeout=_TIMEOUT_S)


def _body(response: http.client.HTTPResponse) -> bytes:
    deadline = time.monotonic() + _TIMEOUT_S
    received = bytearray()
    while part := response.read1(65536):
        received += part
        if len(received) > _BODY_MAX or time.monotonic() > deadline:
            raise ValueError("the answer is too long")
    return bytes(received)


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}
