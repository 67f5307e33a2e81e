"""Decides before every view who asks, and whether they may.

A view needs `Right.READ` to look and `Right.OPERATE` for everything else, unless `needs` says
otherwise: what nobody thought of stays closed.
"""

import os
import secrets
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask, abort, current_app, flash, g, redirect, request, session, url_for
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response

from apps.admin import errors, link
from apps.admin.access.store import Store
from apps.admin.access.throttle import WINDOW_S, Throttle
from supervisor.client import SOCKET_VARIABLE, ControlError

_View = TypeVar("_View", bound=Callable[..., Any])
_BEGUN_WITH = "password"  # in a session: the id of the password then
_NUMBER = "number"  # its own, which ends with it
_DEVICE = "device"  # that of a browser which has been logged in; it survives the session


class Right(IntEnum):
    """What somebody may do; a higher one includes the lower ones.

    ``GLANCE``: the state of the apps and the machine, where ``[admin] anonymous`` allows it.
    ``READ``: also logs, tracebacks, files and the values in effect.
    """

    NONE = 0
    GLANCE = 1
    READ = 2
    OPERATE = 3


class Visitor:
    """Who asks: a name for the audit trail, and a right."""

    def __init__(
        self, name: str, right: Right, *, has_token: bool = False, must_change: bool = False
    ) -> None:
        self.name = name
        self.right = right
        self.has_token = has_token
        self.must_change = must_change

    @property
    def is_known(self) -> bool:
        """Whether they have logged in, or shown a token."""
        return self.right >= Right.READ

    @property
    def may_operate(self) -> bool:
        """Whether they may change something."""
        return self.right >= Right.OPERATE


NOBODY = Visitor("nobody", Right.NONE)


def needs(right: Right) -> Callable[[_View], _View]:
    """Declare which right a view needs, whatever the method."""

    def mark(view: _View) -> _View:
        view.needs = right  # type: ignore[attr-defined]
        return view

    return mark


def add_guard(app: Flask) -> None:
    """Guard every view of ``app``; without a supervisor's state folder nobody can log in."""
    socket_path = os.environ.get(SOCKET_VARIABLE)
    store = Store(Path(socket_path).parent / "admin") if socket_path else None
    app.extensions["access"] = store
    app.extensions["throttle"] = Throttle()
    app.secret_key = store.secret_key if store else os.urandom(32)
    app.before_request(_guard)
    app.context_processor(lambda: {"visitor": visitor()})


def store() -> Store | None:
    """Return where the password is; None outside of a supervisor."""
    found: Store | None = current_app.extensions["access"]
    return found


def visitor() -> Visitor:
    """Return who asks."""
    if "visitor" not in g:
        g.visitor = _visitor()
    found: Visitor = g.visitor
    return found


def begin_session() -> None:
    """Log in whoever asks: for as long as the password stays the same."""
    known = store()
    password = known.password() if known else None
    session.clear()
    session.permanent = True
    session[_BEGUN_WITH] = password.id if password else ""
    session[_NUMBER], session[_DEVICE] = secrets.token_hex(16), secrets.token_hex(16)
    g.pop("visitor", None)


def end_session() -> None:
    """Log out whoever asks: its cookie is worth nothing from now on, wherever a copy of it is."""
    known, number, device = store(), session.get(_NUMBER), session.get(_DEVICE)
    if known is not None and number:
        known.end_session(number)
    session.clear()
    if device:
        session.permanent, session[_DEVICE] = True, device
    g.pop("visitor", None)


def is_password(given: str) -> bool:
    """Return whether that is the password; aborts with 429 where it is tried too often.

    A browser that has been logged in counts by itself: who guesses from the owner's address, as
    behind one reverse proxy, can't keep the owner out.
    """
    known, throttle = store(), current_app.extensions["throttle"]
    who = visitor().name if visitor().has_token else session.get(_DEVICE) or address()
    wait_s = throttle.attempt(who)
    if wait_s > 0:
        text = f"Too many wrong passwords from your address: try again in {wait_s:.0f} s."
        raise TooManyRequests(text, retry_after=int(wait_s) + 1)
    if known is not None and known.is_password(given):
        throttle.succeed(who)
        return True
    if throttle.is_last(who):  # one event, not one for each
        try:
            audit(f"several wrong passwords: the next attempt is in {WINDOW_S:.0f} s")
        except ControlError as error:  # the supervisor doesn't answer
            current_app.logger.warning("wrong passwords, not recorded: %s", error.message)
    return False


def audit(text: str, app: str | None = None) -> None:
    """Record as an event what is about to be done, by whom and from where."""
    link.ask("admin.audit", text=text, by=f"{visitor().name} from {address()}", app=app)


def events(after: int = 0, app: str | None = None) -> dict[str, Any]:
    """Return what happened (to ``app``); who did it, and from where, is for the known only."""
    return dict(link.ask("events", after=after, app=app, public=not visitor().is_known))


def address() -> str:
    """Return the address of the client."""
    return request.remote_addr or "a socket"


def _visitor() -> Visitor:
    known = store()
    if known is None:
        return NOBODY
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        token = known.token_of(secret.strip())
        if token is None:
            return NOBODY  # not what anybody may see: whoever shows a token wants to know
        right = Right.OPERATE if token.right == "operate" else Right.READ
        return Visitor(f"token {token.name}", right, has_token=True)
    password = known.password()
    if (
        password is not None
        and session.get(_BEGUN_WITH) == password.id
        and not known.has_ended(session.get(_NUMBER))
    ):
        return Visitor("the operator", Right.OPERATE, must_change=password.one_time)
    return Visitor("anybody", Right.GLANCE) if _anybody_may_look() else NOBODY


def _anybody_may_look() -> bool:
    try:
        return bool(link.settings()["anonymous"] == "read")
    except (ControlError, KeyError, TypeError):
        return False


def _guard() -> Response | None:
    if request.endpoint in ("releases.deploy", "api.deploy"):
        request.max_content_length = current_app.config["UPLOAD_MAX"]
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None:
        return None  # 404 or 405
    looks = request.method in ("GET", "HEAD", "OPTIONS")
    if request.endpoint == "static" or (request.endpoint or "").endswith(".static"):
        return None
    needed: Right = getattr(view, "needs", Right.READ if looks else Right.OPERATE)
    if needed is Right.NONE:
        return None
    who = visitor()
    if errors.is_api() and not looks and not who.has_token:
        who = g.visitor = NOBODY  # a session is for pages, which have a CSRF token
    if who.right < needed:
        return _refuse(who)
    if who.must_change and request.endpoint not in ("settings.password", "login.logout"):
        if errors.is_api():
            abort(403, "set a password first, in the admin app's settings")
        flash("Choose a password of your own: the first one works only once.")
        return redirect(url_for("settings.password"))
    return None


def _refuse(who: Visitor) -> Response | None:
    if who.is_known:
        abort(403, "this token may only read")
    if errors.is_api():
        abort(401, "show an API token: Authorization: Bearer ...")
    if "X-Live" in request.headers:
        abort(401, "log in again")  # the script loads the page anew
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("login.form", next=wanted if wanted != "/" else None))
