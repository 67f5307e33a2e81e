"""Logging in and out."""

from urllib.parse import urlsplit

from flask import (
    Blueprint,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.wrappers import Response

from apps.admin import link
from apps.admin.access.guard import Right, address, audit, begin_session, needs, store, visitor
from apps.admin.access.throttle import WINDOW_S, Throttle
from supervisor.client import ControlError

login = Blueprint("login", __name__)


@login.get("/login")
@needs(Right.NONE)
def form() -> str | Response:
    """Show the form."""
    if visitor().may_operate:
        return redirect(_safe(request.args.get("next")))
    return _form()


@login.post("/login")
@needs(Right.NONE)
def enter() -> tuple[str, int, dict[str, str]] | Response:
    """Compare the password; a client that guesses has to wait."""
    known, throttle = store(), current_app.extensions["throttle"]
    wait_s = throttle.wait_s(address())
    if wait_s > 0:
        text = f"Too many wrong passwords from your address: try again in {wait_s:.0f} s."
        return _form(text), 429, {"Retry-After": str(int(wait_s) + 1)}
    if known is None or not known.is_password(request.form.get("password", "")):
        _failed(throttle)
        return _form("That is not the password."), 403, {}
    throttle.succeed(address())
    begin_session()
    _record("logged in")
    return redirect(_safe(request.form.get("next")))


@login.post("/logout")
@needs(Right.NONE)
def logout() -> Response:
    """Log out on this device."""
    session.clear()
    flash("You are logged out.")
    return redirect(url_for("login.form"))


def _form(problem: str | None = None) -> str:
    known = store()
    password = known.password() if known else None
    wanted = request.values.get("next", "")
    return render_template(
        "login.html",
        problem=problem,
        one_time=password is not None and password.one_time,
        is_supervised=known is not None,
        next=wanted if _safe(wanted) == wanted else "",
    )


def _failed(throttle: Throttle) -> None:
    """Count a wrong password; only the one that makes a client wait becomes an event."""
    throttle.fail(address())
    if throttle.wait_s(address()) > 0:
        _record(f"several wrong passwords: the next attempt is in {WINDOW_S:.0f} s")


def _record(text: str) -> None:
    try:
        audit(text)
    except ControlError as error:  # the supervisor doesn't answer: logging in works all the same
        current_app.logger.warning("cannot record %r: %s", text, error.message)


def _safe(wanted: str | None) -> str:
    """Return a path of this app to go to: never another host."""
    home = url_for("overview.index")
    if not wanted or not wanted.startswith("/") or wanted[1:2] in ("/", "\\"):
        return home
    parts = urlsplit(wanted)
    if parts.scheme or parts.netloc or "\\" in wanted or not wanted.isprintable():
        return home
    return wanted


def announce_first_password() -> None:
    """Create the first password if there is none, and write it to the log, for the owner."""
    known = store()
    try:
        password = known.first_password() if known else None
    except OSError as error:
        print(f"the first password of the admin app can't be kept: {error}", flush=True)
        return
    if password is None:
        return
    text = f"the first password of the admin app, for its owner: {password}"
    try:
        link.ask("admin.announce", text=text)
    except ControlError:
        print(text, flush=True)
