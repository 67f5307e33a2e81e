"""The answer of the stand-in: 503 with the reason, as problem document (RFC 9457) or as HTML page.

Pure: it turns what the main process pushed, and a request, into headers and a body.
"""

import html
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from supervisor.values.constants import STAND_IN_HEADER

RETRY_AFTER_MAX_S = 60
_REFRESH_MAX_S = 5  # of the page, which a person is looking at

Snapshot = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer 503: its headers and its body."""

    headers: list[tuple[str, str]]
    body: bytes


def answer(name: str, snapshot: Snapshot, environ: dict[str, Any], *, control: bool) -> Answer:
    """Return the answer to a request (a WSGI environ) at the port of the app ``name``.

    ``control``: the app may show the state of all apps, as the admin app does.
    """
    apps = snapshot["apps"]
    app = apps.get(name) or {"reason": None, "hint": None, "state": "starting"}
    others = apps if control else {}
    if _prefers_html(environ.get("HTTP_ACCEPT", "")):
        content_type, text = "text/html; charset=utf-8", _page(name, app, others)
    else:
        content_type = "application/problem+json"
        text = _problem(name, app, others, _path_as_sent(environ))
    body = text.encode("utf-8", "backslashreplace")
    headers = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Retry-After", str(_retry_after_s(app))),
        ("Cache-Control", "no-store"),
        (STAND_IN_HEADER, "stand-in"),
    ]
    return Answer(headers=headers, body=body)


def _path_as_sent(environ: dict[str, Any]) -> str:
    """Return the path of the request as a URI reference."""
    path = environ["REQUEST_URI"].partition("?")[0]
    return quote(path.encode("latin-1", "replace"), safe="/%:@!$&'()*+,;=~-._")


def _retry_after_s(app: Snapshot) -> int:
    return max(1, min(RETRY_AFTER_MAX_S, round(app.get("retry_in_s") or 1)))


def _prefers_html(accept: str) -> bool:
    """Return whether a client prefers HTML: browsers name text/html, programs don't."""
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
    states = {
        "starting": "is starting",
        "blocked": "has no port yet",
        "stopped": "has been stopped by an operator",
    }
    default = "can't be served"
    return f"{name} {default if app.get('reason') else states.get(app['state'], default)}"


def _problem(name: str, app: Snapshot, others: Snapshot, path: str) -> str:
    """Return a problem document of RFC 9457, with members of our own beside the standard ones."""
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
    """Return a page that needs no other file and reloads itself."""
    reason = html.escape(app.get("reason") or "The app will answer here in a moment.")
    hint = f"<p>{html.escape(app['hint'])}</p>" if app.get("hint") else ""
    return _PAGE.format(
        title=html.escape(_title(name, app)),
        refresh=min(_REFRESH_MAX_S, _retry_after_s(app)),
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
<footer>flask-supervisor answers in place of this app. This page reloads itself.</footer>
</html>
"""
