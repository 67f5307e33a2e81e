"""The password, API tokens, and notifications."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from apps.admin import actions, link
from apps.admin.access.guard import Right, begin_session, is_password, needs, store, visitor
from apps.admin.access.store import (
    PASSWORD_MIN,
    Store,
    TokenRight,
    password_problem,
    token_problem,
)

settings = Blueprint("settings", __name__, url_prefix="/settings")


@settings.get("")
@needs(Right.OPERATE)
def index() -> str:
    """Show tokens, who is told, and the way to the password."""
    return _page()


@settings.route("/password", methods=["GET", "POST"])
@needs(Right.OPERATE)
def password() -> str | tuple[str, int] | Response:
    """Show the form for a new password, or replace it; every other session ends then."""
    if request.method != "POST":
        return _password_page()
    known = _store()
    new = request.form.get("new", "")
    problem = password_problem(new)
    if problem is None and new != request.form.get("again"):
        problem = "The two new passwords differ."
    if problem is None and not (visitor().must_change or is_password(request.form.get("old", ""))):
        problem = "That is not the present password."
    if problem is not None:
        return _password_page(problem), 422
    actions.set_password(known, new)
    begin_session()
    flash("The password is changed. Other devices have to log in again.")
    return redirect(url_for("settings.index"))


@settings.post("/tokens")
def add_token() -> str | tuple[str, int]:
    """Create a token; its secret is shown once."""
    name, right = request.form.get("name", "").strip(), request.form.get("right", "")
    problem = token_problem(name, right, len(_store().tokens()))
    if problem is not None:
        return _page(problem=problem), 422
    chosen: TokenRight = "operate" if right == "operate" else "read"
    _, secret = actions.create_token(_store(), name, chosen)
    return _page(secret=secret)


@settings.post("/tokens/<number>/revoke")
def revoke_token(number: str) -> Response:
    """Revoke a token."""
    token = actions.revoke_token(_store(), number)
    if token is None:
        abort(404)
    flash(f"The token {token.name} no longer works.")
    return redirect(url_for("settings.index"))


@settings.post("/notifications/test")
def test_notifications() -> str:
    """Send a test message to each destination, and show what came of it."""
    return _page(delivered=actions.test_notifications()["problems"])


def _page(**more: object) -> str:
    known = link.settings()
    return render_template(
        "settings.html",
        tokens=_store().tokens(),
        destinations=known.get("notify", []),
        anonymous=known["anonymous"],
        **more,
    )


def _password_page(problem: str | None = None) -> str:
    return render_template(
        "password.html", problem=problem, minimum=PASSWORD_MIN, asks_old=not visitor().must_change
    )


def _store() -> Store:
    known = store()
    if known is None:
        abort(404)
    return known
