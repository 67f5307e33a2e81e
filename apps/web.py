"""What both apps do alike: security headers, and error pages in words."""

from flask import Flask, Response, render_template
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

# Bootstrap's style sheet holds its small pictures as data: addresses.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)

_WORDS = {
    400: "The form was incomplete, or too old: nothing was saved. Open the page again and repeat.",
    404: "There is nothing here, or it was removed meanwhile.",
    405: "This address can't be opened like that. Use the page's own links and buttons.",
    413: "That is far more than fits into one form: nothing was saved.",
    500: "This app made a mistake. Its log has the details.",
}


def furnish(app: Flask) -> None:
    """Give ``app`` the security headers, and error pages made with its ``error.html``."""
    app.after_request(_add_headers)
    app.register_error_handler(HTTPException, _show)


def _add_headers(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if response.mimetype == "text/html":
        response.headers["Cache-Control"] = "no-store"
    return response


def _show(error: HTTPException) -> AnyResponse:
    response = error.get_response()  # carries the error's own headers, such as Allow
    text = _WORDS.get(error.code or 500, error.description)
    response.set_data(render_template("error.html", title=error.name, text=text))
    return response
