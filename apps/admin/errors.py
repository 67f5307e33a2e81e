"""Errors as pages, and for the API as problem documents (RFC 9457)."""

import time
from typing import Any

from flask import Flask, jsonify, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from apps.admin import link
from apps.admin.overview import overview_of
from apps.admin.rendering import browser_host, charts
from apps.web import WORDS
from supervisor.client import ControlError

# what an error of the supervisor is as an HTTP status; the others are 422
_STATUS = {
    "unknown_app": 404,
    "disabled": 404,
    "bad_params": 400,
    "busy": 409,
    "changed": 409,
    "blocked": 409,
    "unknown_method": 503,
    "internal": 503,
    "not_written": 507,
    **dict.fromkeys(link.UNREACHABLE, 503),
}
_RETRY_AFTER_S = "2"


def add_errors(app: Flask) -> None:
    """Answer every error of ``app``, and of the supervisor."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ControlError, _control_error)


def problem(status: int, title: str, detail: str | None, **members: Any) -> Response:
    """Return a problem document."""
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    response = jsonify({**content, **{key: v for key, v in members.items() if v is not None}})
    response.status_code = status
    response.mimetype = "application/problem+json"
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="flask-supervisor"'
    return response


def is_api() -> bool:
    """Return whether the request is for the API."""
    return f"{request.path}/".startswith("/api/")


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    if error.response is not None or code < 400:  # a redirect
        return error.get_response()
    if is_api():
        answer = problem(code, error.name, error.description)
    else:
        own = error.description if error.description != type(error).description else None
        text = WORDS.get(code) if own is None or code in (400, 413) else None
        page = render_template("error.html", title=error.name, text=text or own)
        answer = Response(page, status=code, mimetype="text/html")
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value  # such as Allow
    return answer


def _control_error(error: ControlError) -> Response:
    status = _STATUS.get(error.code, 422)
    if is_api():
        answer = problem(status, error.message, error.message, code=error.code, hint=error.hint)
    elif error.code in link.UNREACHABLE:
        answer = Response(_unreachable(error), status=status, mimetype="text/html")
    else:
        page = render_template(
            "error.html", title=_sentence(error.message), text=error.hint or "Nothing was changed."
        )
        answer = Response(page, status=status, mimetype="text/html")
    if status == 503:
        answer.headers["Retry-After"] = _RETRY_AFTER_S
    return answer


def _unreachable(error: ControlError) -> str:
    """Return the page for a supervisor that doesn't answer, with the last picture of it."""
    last = link.last_snapshot()
    return render_template(
        "unreachable.html",
        error=error,
        age_s=last[0] if last else None,
        overview=overview_of(last[1], browser_host(), charts(), time.monotonic()) if last else None,
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
