"""What lies between waitress and an app: headers that only a server may send, and WebSockets.

Flask's development server sends whatever headers an app sets, and apps that were developed with it
set ``Connection: keep-alive`` on event streams, or copy all headers of an upstream answer. Waitress
raises an AssertionError for them.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from waitress.task import hop_by_hop

from supervisor.server.error_log import log

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Any]

HOP_BY_HOP = hop_by_hop | {"trailer", "proxy-connection"}  # RFC 9110, section 7.6.1; PEP 3333
NO_WEBSOCKETS = (
    "WebSockets are not available here, because this app is served over WSGI: "
    "run a server that has them on its port, by `command` (recipes: docs/programs.md)"
)


class AppAdapter:
    """The WSGI app ``app`` as waitress calls it; ``name`` is for the log."""

    def __init__(self, app: WsgiApp, name: str) -> None:
        self._app = app
        self._title = f"app '{name}'" if name else "the app"
        self._logged: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Call the app; drop its hop-by-hop headers, and refuse WebSockets."""
        if "HTTP_UPGRADE" in environ and environ["HTTP_UPGRADE"].lower() == "websocket":
            return self._refuse_websocket(start_response)

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            if _has_hop_by_hop(headers):
                headers = self._end_to_end(headers)
            return start_response(status, headers, exc_info)

        return self._app(environ, start)

    def _end_to_end(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the headers that an app may send, and log the others, each name once."""
        for name in {name.title() for name, _ in headers if name.lower() in HOP_BY_HOP}:
            self._log_once(
                name,
                f"{self._title} sets the header {name}, which is dropped: "
                "it describes the connection, which the server handles",
            )
        return [header for header in headers if header[0].lower() not in HOP_BY_HOP]

    def _refuse_websocket(self, start_response: Callable[..., Any]) -> Iterable[bytes]:
        self._log_once(
            "websocket", f"a client asked {self._title} for a WebSocket: {NO_WEBSOCKETS}"
        )
        body = f"{NO_WEBSOCKETS}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
        ]
        start_response("400 Bad Request", headers)
        return [body]

    def _log_once(self, key: str, text: str) -> None:
        with self._lock:
            if key in self._logged:
                return
            self._logged.add(key)
        log.notice(text)


def _has_hop_by_hop(headers: Any) -> bool:
    try:
        for name, _ in headers:  # a loop, because `any` costs twice the time
            if name.lower() in HOP_BY_HOP:
                return True
    except (AttributeError, TypeError, ValueError):  # malformed: waitress names the mistake
        return False
    return False
