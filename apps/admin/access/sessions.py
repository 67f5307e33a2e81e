"""Sessions that no clock ends: that of a Raspberry Pi starts in the past, and jumps."""

from datetime import UTC, datetime

from flask import Flask, Request, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import BadSignature

# Browsers keep a cookie for 400 days at most. Counted from the time of a machine whose clock is not
# set yet, it would be over before it came.
_EXPIRES = datetime(2100, 1, 1, tzinfo=UTC)


class TimelessSessions(SecureCookieSessionInterface):
    """Signed cookies, as Flask's own, whose age doesn't matter: a new password ends them."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the session in the cookie, an empty one without a valid signature."""
        serializer = self.get_signing_serializer(app)
        if serializer is None:
            return None
        try:
            cookie = request.cookies.get(self.get_cookie_name(app), "")
            return self.session_class(serializer.loads(cookie))
        except BadSignature:
            return self.session_class()

    def get_cookie_secure(self, app: Flask) -> bool:
        """Return whether the browser may send it by HTTPS only: it came so, by a reverse proxy."""
        return request.is_secure

    def get_expiration_time(self, app: Flask, session: SessionMixin) -> datetime | None:
        """Return when the browser forgets it, None for a session that ends with the browser."""
        return _EXPIRES if session.permanent else None
