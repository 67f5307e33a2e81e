"""The ``http`` check: asks a server, and reports in its own words why it refused.

A server that refuses a token mostly says why, in the body (RFC 9457 problem details, or JSON with
an ``error``) or in WWW-Authenticate (RFC 6750, section 3). That is what a person has to read.
"""

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import Any, NamedTuple, Protocol

from supervisor.config.settings import Requirement
from supervisor.health.check_settings import url_without_credentials
from supervisor.values.redaction import Redaction
from supervisor.values.reports import Cause

_BODY_MAX = 64 * 1024  # bytes; a health document is smaller
_WORDS_MAX = 160  # characters of what a server says
_FOLDERS = re.compile(r"(?<![\w/:])/(?:[^\s/'\"<>:,;()]+/)+")
_TAG = re.compile(r"<[^>]*>")
_SAYING = ("detail", "error_description", "message", "reason", "error", "title", "output")
_REFUSED = {401: "authentication failed", 403: "access denied"}
_MISSING = object()


class _Answer(NamedTuple):
    """What a server answered; ``body`` is cut."""

    status: int
    phrase: str
    headers: Message
    body: bytes


class _Readable(Protocol):
    def read1(self, n: int = -1) -> bytes: ...


def check_http(wanted: Requirement) -> Cause | None:
    """Return why the server at ``wanted.url`` doesn't answer as required, or None.

    Redirects are followed; the token is sent to the first server only. Blocks for ``timeout_s``
    and a little; looking up a name may take longer.
    """
    where = url_without_credentials(wanted.url or "")
    hide = Redaction([wanted.token] if wanted.token else [])
    try:
        answer = _ask(wanted)
    except TimeoutError:
        return _silent(where, wanted.timeout_s)
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            return _silent(where, wanted.timeout_s)
        why = error.reason.strerror if isinstance(error.reason, OSError) else None
        hint = "is the server running, and are host and port of `url` right?"
        return Cause(reason=f"{where} can't be reached: {why or error.reason}", hint=hint)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Cause(
            reason=f"{where} doesn't answer as it should: {type(error).__name__}",
            hint="does a web server listen there?",
        )
    found = _unmet(wanted, answer, where)
    if found is None:
        return None
    return Cause(reason=hide(found.reason), hint=found.hint and hide(found.hint))


def _silent(where: str, timeout_s: float) -> Cause:
    hint = "the server, or the network on the way to it, is stuck"
    return Cause(reason=f"{where} doesn't answer within {timeout_s:g} s", hint=hint)


def _ask(wanted: Requirement) -> _Answer:
    deadline = time.monotonic() + wanted.timeout_s
    request = urllib.request.Request(wanted.url or "", headers={"User-Agent": "flask-supervisor"})
    if wanted.token:
        # not sent along to where a redirect leads
        request.add_unredirected_header("Authorization", f"Bearer {wanted.token}")
    try:
        with urllib.request.urlopen(request, timeout=wanted.timeout_s) as response:
            body = _read(response, deadline)
            return _Answer(response.status, response.reason, response.headers, body)
    except urllib.error.HTTPError as error:
        with error:
            body = _read(error, deadline) if error.fp else b""
            return _Answer(error.code, str(error.reason), error.headers, body)


def _read(stream: _Readable, deadline: float) -> bytes:
    """Return the first bytes of a body; raise TimeoutError when they trickle in too slowly."""
    received = bytearray()
    while len(received) < _BODY_MAX:
        part = stream.read1(_BODY_MAX - len(received))
        if not part:
            break
        received += part
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(received)


def _unmet(wanted: Requirement, answer: _Answer, where: str) -> Cause | None:
    return (
        _wrong_status(wanted, answer, where)
        or _wrong_header(wanted, answer, where)
        or _wrong_json(wanted, answer, where)
    )


def _wrong_status(wanted: Requirement, answer: _Answer, where: str) -> Cause | None:
    expected = wanted.expect_status
    if answer.status == expected or (expected is None and answer.status < 400):
        return None
    said = _said(answer)
    number = f"{answer.status} {answer.phrase}".strip()
    if answer.status in _REFUSED:
        failed = _REFUSED[answer.status]
        reason = said if failed in said.lower() else f"{failed}: {said}" if said else failed
        return Cause(reason=f"{where}: {reason} ({number})", hint=_token_hint(wanted))
    text = f"{where} answers {number}"
    if expected is not None:
        text += f", expected {expected}"
    return Cause(reason=f"{text}: {said}" if said else text, hint="see the log of that server")


def _token_hint(wanted: Requirement) -> str:
    if wanted.token:
        return "compare `token` of this check with the token that the server expects"
    return "the server wants a token: set `token` of this check"


def _said(answer: _Answer) -> str:
    """Return what the server says of an error, in a few words; "" if it says nothing."""
    found = _from_json(answer.body) or _from_challenge(answer.headers)
    if not found and "text/plain" in (answer.headers.get("Content-Type") or ""):
        found = answer.body.decode("utf-8", "replace")
    return _short(found)


def _from_json(body: bytes) -> str:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if isinstance(content, dict):
        for key in _SAYING:
            value = content.get(key)
            if isinstance(value, dict):  # {"error": {"message": ...}}
                value = next((value[k] for k in _SAYING if isinstance(value.get(k), str)), None)
            if isinstance(value, str) and value.strip():
                return value
    return ""


def _from_challenge(headers: Message) -> str:
    challenge = headers.get("WWW-Authenticate") or ""
    found = re.search(r'error_description="([^"]*)"', challenge)
    found = found or re.search(r'error="([^"]*)"', challenge)
    return found[1] if found else ""


def _short(text: str) -> str:
    """Return a text of a server in one short line, without folders: it is shown on port 6000."""
    text = " ".join(_TAG.sub(" ", text).split())
    text = "".join(c for c in text if c.isprintable())
    text = _FOLDERS.sub("", url_without_credentials(text))
    return text if len(text) <= _WORDS_MAX else text[: _WORDS_MAX - 1] + "…"


def _wrong_header(wanted: Requirement, answer: _Answer, where: str) -> Cause | None:
    if wanted.expect_header is None:
        return None
    name, colon, value = (part.strip() for part in wanted.expect_header.partition(":"))
    found = answer.headers.get(name)
    if found is not None and (not colon or found.strip() == value):
        return None
    expected = f"{name}: {value}" if colon else name
    what = "no such header" if found is None else f'"{_short(found)}"'
    return Cause(
        reason=f"{where}: expected the header {expected}, found {what}",
        hint="is it the right server, and its right version?",
    )


def _wrong_json(wanted: Requirement, answer: _Answer, where: str) -> Cause | None:
    if not wanted.expect_json:
        return None
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        start = _short(answer.body[:_WORDS_MAX].decode("utf-8", "replace"))
        reason = f'{where}: expected JSON, found "{start}"'
        return Cause(reason=reason, hint="is it the right server, and the right path?")
    for path, expected in _leaves(wanted.expect_json, ""):
        found = _at(content, path)
        if found is _MISSING or type(found) is not type(expected) or found != expected:
            what = "no such field" if found is _MISSING else _short(json.dumps(found))
            wish = json.dumps(expected, ensure_ascii=False)
            return Cause(
                reason=f"{where}: expected {path} = {wish}, found {what}",
                hint="the server is up, but not in the state that is required: see its log",
            )
    return None


def _leaves(expected: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in expected.items():
        path = f"{prefix}.{key}" if prefix else key
        found += _leaves(value, path) if isinstance(value, dict) else [(path, value)]
    return found


def _at(content: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(content, dict) or key not in content:
            return _MISSING
        content = content[key]
    return content
