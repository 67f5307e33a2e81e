"""What both apps share: security headers, and error pages."""

from flask import Flask, Response, render_template
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

# Bootstrap's style sheet embeds its icons as data: addresses.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)

WORDS = {
    400: "The form was incomplete or has expired: nothing was saved. Open the page and try again.",
    404: "This page does not exist, or it was removed meanwhile.",
    405: "This address can't be used like that. Use the links and buttons of the pages.",
    413: "The form is too large: nothing was saved.",
    500: "This app failed. Its log has the details.",
}


def add_common(app: Flask) -> None:
    """Add the security headers to ``app``, and error pages from its template ``error.html``."""
    app.after_request(_add_headers)
    app.register_error_handler(HTTPException, _error_page)


def _add_headers(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"  # for browsers that ignore frame-ancestors
    response.headers["Referrer-Policy"] = "same-origin"
    if response.mimetype == "text/html":
        response.headers["Cache-Control"] = "no-store"
    return response


def _error_page(error: HTTPException) -> AnyResponse:
    response = error.get_response()  # carries the error's own headers, such as Allow
    text = WORDS.get(error.code or 500, error.description)
    response.set_data(render_template("error.html", title=error.name, text=text))
    return response
