"""The stand-in: answers every port whose app doesn't serve, with 503 and the reason.

One worker for all of them. It inherits the listeners and is told, for each, whether to answer
and what to say. Answers are RFC 9457 problem documents, or a small page for browsers; both
close the connection, since the next one may meet the app itself.
"""

import html
import json
import socket
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from waitress.parser import HTTPRequestParser

from supervisor.process.channel import Channel
from supervisor.server.server import Listener, Server, ServerChannel
from supervisor.worker.entry import serve

_LINGER_S = 2.0  # a client that sends nothing for this long has had the time to read the answer
_LINGER_MAX_S = 30.0
_DISCARD_MAX = 64 * 1024 * 1024
RETRY_AFTER_MAX_S = 60

Snapshot = dict[str, Any]


class _HeaderParser(HTTPRequestParser):
    """Takes a request as complete after its header: the body changes nothing."""

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        self.body_rcv = None
        self.content_length = 0
        self.expect_continue = False


class _LingeringChannel(ServerChannel):
    """Reads on for a moment after the answer.

    Closing a socket with unread data resets the connection, and the client would lose the
    answer: the lingering close of RFC 9112, section 9.6.
    """

    parser_class = _HeaderParser
    closes_always = True
    will_close: bool
    _lingers_until: float | None = None
    _lingers_at_most = 0.0
    _discarded = 0

    def handle_write(self) -> None:
        """Send; instead of closing afterwards, stop sending and read on."""
        if self._lingers_until is not None:
            self._finish_lingering()
            return
        super().handle_write()

    def handle_close(self) -> None:
        """Close, or begin to linger when the answer has just been sent."""
        if self._lingers_until is None and self.will_close and self.connected and self.has_received:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                super().handle_close()
                return
            now = time.monotonic()
            self._lingers_until, self._lingers_at_most = now + _LINGER_S, now + _LINGER_MAX_S
            self.will_close = False
            return
        super().handle_close()

    def handle_read(self) -> None:
        """Take a request, or throw away what comes after the answer."""
        if self._lingers_until is None:
            super().handle_read()
            return
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._discarded += len(data)
        self._lingers_until = min(time.monotonic() + _LINGER_S, self._lingers_at_most)
        if not data or self._discarded > _DISCARD_MAX:
            super().handle_close()

    def readable(self) -> bool:
        """Return whether to read: also while lingering, until its time is over."""
        if self._lingers_until is None:
            return bool(super().readable())
        self._finish_lingering()
        return self.socket is not None

    @property
    def busy(self) -> bool:
        """Whether the client is still being served; it is while the channel lingers."""
        return super().busy or self._lingers_until is not None

    def _finish_lingering(self) -> None:
        if self._lingers_until is not None and time.monotonic() >= self._lingers_until:
            super().handle_close()


class StandIn:
    """The WSGI side: what each port answers now; replaced as a whole by each message."""

    def __init__(self) -> None:
        self.snapshot: Snapshot = {"apps": {}}

    def app_for(self, name: str, *, control: bool) -> Any:
        """Make the WSGI app that speaks for the app ``name``."""

        def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            apps = self.snapshot["apps"]
            app = apps.get(name) or {"reason": None, "hint": None, "state": "starting"}
            others = apps if control else {}
            if _prefers_html(environ.get("HTTP_ACCEPT", "")):
                content_type, body = "text/html; charset=utf-8", _page(name, app, others)
            else:
                content_type = "application/problem+json"
                body = _problem(name, app, others, _path_as_sent(environ))
            payload = body.encode("utf-8", "backslashreplace")
            headers = [
                ("Content-Type", content_type),
                ("Content-Length", str(len(payload))),
                ("Retry-After", str(_retry_after_s(app))),
                ("Cache-Control", "no-store"),
            ]
            start_response("503 Service Unavailable", headers)
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [payload]

        return application


def run_stand_in(
    connection: socket.socket,
    listeners: dict[str, tuple[socket.socket, bool]],
    *,
    shutdown_timeout_s: float,
) -> int:
    """Be the stand-in of ``listeners``: by app name, the socket and whether it has control."""
    server = Server()
    stand_in = StandIn()
    ports: dict[str, Listener] = {}
    for name, (listener, control) in listeners.items():
        app = stand_in.app_for(name, control=control)
        # a thread that comes with the first request: most ports never need one
        ports[name] = server.add(
            listener, app, name=name, threads=0, max_threads=1, channel_class=_LingeringChannel
        )
        ports[name].accepting = False

    def tell(message: dict[str, Any]) -> None:
        stand_in.snapshot = message["snapshot"]
        answered = set(message["answer"])
        for name, port in ports.items():
            port.accepting = name in answered

    serve(server, Channel(connection), shutdown_timeout_s=shutdown_timeout_s, on_message=tell)
    return 0


def _path_as_sent(environ: dict[str, Any]) -> str:
    """Return the path of the request as a URI reference."""
    path = environ["REQUEST_URI"].partition("?")[0]
    return quote(path.encode("latin-1", "replace"), safe="/%:@!$&'()*+,;=~-._")


def _retry_after_s(app: Snapshot) -> int:
    return max(1, min(RETRY_AFTER_MAX_S, round(app.get("retry_in_s") or 1)))


def _prefers_html(accept: str) -> bool:
    """Return whether a client wants a page: browsers name text/html, programs don't."""
    quality = {"text/html": 0.0, "application/json": 0.0, "application/problem+json": 0.0}
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind in quality:
            quality[kind] = _quality(parameters)
    page = quality.pop("text/html")
    return page > 0 and page >= max(quality.values())


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _title(name: str, app: Snapshot) -> str:
    words = {
        "starting": "is starting",
        "blocked": "has no port yet",
        "stopped": "has been stopped by an operator",
    }
    default = "can't be served"
    return f"{name} {default if app.get('reason') else words.get(app['state'], default)}"


def _problem(name: str, app: Snapshot, others: Snapshot, path: str) -> str:
    """Write the answer of RFC 9457, with our own members beside the standard ones."""
    problem = {
        "type": "about:blank",
        "title": _title(name, app),
        "status": 503,
        "detail": app.get("reason") or _title(name, app),
        "instance": path,
        "app": name,
        "state": app["state"],
        "hint": app.get("hint"),
        "retry_after_s": _retry_after_s(app),
    }
    if others:
        problem["apps"] = {
            other: {key: state.get(key) for key in ("status", "state", "port", "reason")}
            for other, state in others.items()
        }
    return json.dumps(problem, ensure_ascii=False) + "\n"


def _page(name: str, app: Snapshot, others: Snapshot) -> str:
    """Write a page that needs nothing but itself, and looks again by itself."""
    reason = html.escape(app.get("reason") or "It will answer here in a moment.")
    hint = f"<p>{html.escape(app['hint'])}</p>" if app.get("hint") else ""
    return _PAGE.format(
        title=html.escape(_title(name, app)),
        refresh=min(5, _retry_after_s(app)),
        reason=reason,
        hint=hint,
        others=_table(others) if others else "",
    )


def _table(apps: Snapshot) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(app.get('port') or ''))}</td>"
        f"<td class={html.escape(app.get('status', 'fail'))}>{html.escape(app['state'])}</td></tr>"
        + (f"<tr class=why><td colspan=3>{html.escape(reason)}</td></tr>" if reason else "")
        for name, app in apps.items()
        for reason in [app.get("reason")]
    )
    return f"<h2>All apps</h2><table>{rows}</table>"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{refresh}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
 :root {{ color-scheme: light dark }}
 body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto;
        padding: 0 1rem; overflow-wrap: anywhere }}
 h1 {{ font-size: 1.4rem }} h2 {{ font-size: 1.1rem; margin-top: 2rem }}
 pre {{ white-space: pre-wrap; padding: .8rem 1rem; border-left: 4px solid #c33;
       background: #8882; font-size: .95rem }}
 table {{ border-collapse: collapse; width: 100% }}
 th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
          border-top: 1px solid #8886 }}
 .why td {{ border: 0; padding-top: 0; font-size: .95rem }}
 .pass {{ color: #2a7d2a }} .warn {{ color: #a66a00 }} .fail {{ color: #c33 }}
 footer {{ margin-top: 2rem; opacity: .7; font-size: .9rem }}
</style>
<h1>{title}</h1>
<pre>{reason}</pre>
{hint}
{others}
<footer>flask-supervisor answers for this app. This page looks again by itself.</footer>
</html>
"""
