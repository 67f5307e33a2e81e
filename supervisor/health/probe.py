"""Probes an app: sends HTTP requests to its port, as a client does."""

import http.client
from collections.abc import Sequence

from supervisor.health.port_connection import PortConnection

ANSWER_S = 10.0  # the time-out of a probe
_BAD = 400
_PART = 65536
_WORDS_MAX = 100  # characters


def probe(host: str, port: int | None, paths: Sequence[str]) -> dict[str, str | None]:
    """Send a GET request for each path; return under ``reason`` the first failure, or None.

    An answer below 400 whose body begins is good. Blocks for up to `ANSWER_S` a path.
    """
    for path in paths:
        reason = _failure(host, port, path)
        if reason is not None:
            return {"reason": reason}
    return {"reason": None}


def _failure(host: str, port: int | None, path: str) -> str | None:
    connection = PortConnection(host, port, timeout=ANSWER_S)
    headers = {"Host": "localhost", "User-Agent": "flask-supervisor"}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read1(_PART)
    except TimeoutError:
        return f"{path} doesn't answer within {ANSWER_S:g} s"
    except (OSError, http.client.HTTPException) as error:
        return f"{path} doesn't answer: {_short(str(error)) or type(error).__name__}"
    finally:
        connection.close()
    if response.status >= _BAD:
        return f"{path} answers {response.status} {_short(response.reason)}"
    return None


def _short(text: str) -> str:
    """Return text of the app as one short line."""
    return " ".join(text.split())[:_WORDS_MAX]
