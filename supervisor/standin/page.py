"""The answer of the stand-in: 503 with the reason, as problem document (RFC 9457) or as HTML page.

Pure: it turns what the main process pushed, and a request, into headers and a body.
"""

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from supervisor.values.constants import IMPORT_TAKES_LONG, STAND_IN_HEADER

RETRY_AFTER_MAX_S = 60
_STOPPED, _BY_OPERATOR = "stopped", "stopped by an operator"
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
    if app["state"] == _STOPPED:  # visitors can't do anything about it, nor about its past
        app = {**app, "reason": None, "hint": None, "retry_in_s": None}
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
        ("Content-Security-Policy", _POLICY),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
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
        _STOPPED: f"was {_BY_OPERATOR}",
    }
    default, reason = "can't be served", app.get("reason") or ""
    is_broken = reason and not reason.startswith(IMPORT_TAKES_LONG)
    return f"{name} {default if is_broken else states.get(app['state'], default)}"


def _problem(name: str, app: Snapshot, others: Snapshot, path: str) -> str:
    """Return a problem document of RFC 9457, with members of our own beside the standard ones."""
    is_stopped = app["state"] == _STOPPED
    problem = {
        "type": "about:blank",
        "title": _title(name, app),
        "status": 503,
        "detail": app.get("reason") or (_BY_OPERATOR if is_stopped else _title(name, app)),
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
    return _PAGE.format(
        title=html.escape(_title(name, app)),
        refresh=min(_REFRESH_MAX_S, _retry_after_s(app)),
        kind={"starting": "info", _STOPPED: "info"}.get(app["state"], "danger"),
        why=_why(app),
        others=_table(others) if others else "",
    )


def _why(app: Snapshot) -> str:
    """Return the reason, what to do, and when it is tried again; of a stopped app nothing."""
    reason, hint, retry_in_s = app.get("reason"), app.get("hint"), app.get("retry_in_s")
    parts = [f"<pre>{html.escape(reason)}</pre>"] if reason else []
    if hint:
        parts.append(f"<p><b>What to do:</b> {html.escape(hint)}</p>")
    if retry_in_s is not None:
        when = f"in {retry_in_s:.0f} s" if retry_in_s >= 1 else "now"
        parts.append(f"<p>The next attempt is {when}.</p>")
    if not parts and app["state"] != _STOPPED:
        parts.append("<p>It will answer here in a moment.</p>")
    return "\n".join(parts)


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
 :root {{ color-scheme: light dark; --line: #dee2e6; --soft: #5c636a; --ok: #146c43;
   --warn: #7a5700; --fail: #b02a37; --danger: #58151c; --danger-bg: #f8d7da;
   --danger-line: #f1aeb5; --info: #055160; --info-bg: #cff4fc; --info-line: #9eeaf9 }}
 @media (prefers-color-scheme: dark) {{ :root {{ --line: #495057; --soft: #adb5bd; --ok: #75b798;
   --warn: #ffda6a; --fail: #ea868f; --danger: #ea868f; --danger-bg: #2c0b0e;
   --danger-line: #842029; --info: #6edff6; --info-bg: #032830; --info-line: #087990 }}
   body {{ background: #212529; color: #dee2e6 }} }}
 body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 1rem auto;
   padding: 0 1rem; overflow-wrap: anywhere }}
 section {{ border: 1px solid; border-radius: .375rem; padding: 1rem }}
 .info {{ color: var(--info); background: var(--info-bg); border-color: var(--info-line) }}
 .danger {{ color: var(--danger); background: var(--danger-bg); border-color: var(--danger-line) }}
 h1 {{ font-size: 1.4rem; margin: 0 }} h2 {{ font-size: 1.1rem; margin-top: 2rem }}
 section p {{ margin: .5rem 0 0 }}
 pre {{ white-space: pre-wrap; margin: .5rem 0 0; font-size: .95rem }}
 table {{ border-collapse: collapse; width: 100% }}
 th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
   border-top: 1px solid var(--line) }}
 .why td {{ border: 0; padding-top: 0; font-size: .95rem }}
 .pass {{ color: var(--ok) }} .warn {{ color: var(--warn) }} .fail {{ color: var(--fail) }}
 footer {{ margin-top: 2rem; color: var(--soft); font-size: .9rem }}
</style>
<main>
<section class="{kind}">
<h1>{title}</h1>
{why}
</section>
{others}
</main>
<footer>flask-supervisor answers in place of this app. This page reloads itself.</footer>
</html>
"""

_STYLE = _PAGE.partition("<style>")[2].partition("</style>")[0].format()
_POLICY = (
    "default-src 'none'; img-src data:; frame-ancestors 'none'; style-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
