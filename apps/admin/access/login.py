"""Logging in and out."""

from urllib.parse import urlsplit

from flask import (
    Blueprint,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response

from apps.admin import link
from apps.admin.access.guard import (
    Right,
    audit,
    begin_session,
    end_session,
    is_password,
    needs,
    store,
    visitor,
)
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
    try:
        if not is_password(request.form.get("password", "")):
            return _form("That is not the password."), 403, {}
    except TooManyRequests as error:
        return _form(error.description), 429, {"Retry-After": str(error.retry_after)}
    begin_session()
    try:
        audit("logged in")
    except ControlError as error:  # the supervisor doesn't answer: logging in works all the same
        current_app.logger.warning("a login is not recorded: %s", error.message)
    return redirect(_safe(request.form.get("next")))


@login.post("/logout")
@needs(Right.NONE)
def logout() -> Response:
    """Log out on this device."""
    end_session()
    flash("You are logged out.")
    return redirect(url_for("login.form"))


def _form(problem: str | None = None) -> str:
    known = store()
    password, damage = (known.password(), known.damage()) if known else (None, None)
    wanted = request.values.get("next", "")
    return render_template(
        "login.html",
        problem=damage or problem,
        one_time=password is not None and password.one_time,
        is_supervised=known is not None,
        next=wanted if _safe(wanted) == wanted else "",
    )


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
        print(f"the admin app can't read or keep its first password: {error}", flush=True)
        return
    if password is None:
        return
    text = f"the first password of the admin app, for its owner: {password}"
    try:
        link.ask("admin.announce", text=text)
    except ControlError as error:  # what this app prints, others may read by its logs
        way = "set one on the machine: flask-supervisor password"
        print(f"the first password can't be told, {error.message}: {way}", flush=True)
