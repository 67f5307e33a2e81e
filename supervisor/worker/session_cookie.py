"""Tells which session cookie a Flask app uses: browsers share it between all ports of a host.

RFC 6265, section 8.5: cookies are not isolated by port. Needs the standard library alone, because
a check may run on the interpreter of the app's own virtual environment.
"""

import hashlib
from typing import Any


def session_cookie(app: Any) -> dict[str, str] | None:
    """Return the cookie of a Flask app that has a secret key, None for any other app.

    ``scope`` tells the cookie apart from others of the host, ``key`` the secret keys.
    """
    config = app.config if hasattr(type(app), "wsgi_app") else None
    if not isinstance(config, dict) or not config.get("SECRET_KEY"):
        return None
    names = ("SESSION_COOKIE_NAME", "SESSION_COOKIE_DOMAIN", "SESSION_COOKIE_PATH")
    scope = repr([config.get(name) for name in names])
    key = hashlib.sha256(repr(config["SECRET_KEY"]).encode()).hexdigest()
    return {"name": str(config.get(names[0])), "scope": scope, "key": key}
