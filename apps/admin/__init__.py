"""The admin app: the state of everything, and every lever, on a phone and without internet.

It is an ordinary Flask app that talks to the supervisor by `supervisor.client`. Start with `pages`
(what people see) and `api` (what programs use); `access` decides who may do what, `link` asks the
supervisor.
"""

import os
from pathlib import Path

from flask import Flask
from flask_bootstrap import Bootstrap5
from flask_wtf.csrf import CSRFProtect

from apps.admin import errors, link, rendering
from apps.admin.access import guard
from apps.admin.access.login import announce_first_password, login
from apps.admin.access.sessions import TimelessSessions
from apps.admin.api import api
from apps.admin.charts import Charts
from apps.admin.fleet import Fleet
from apps.admin.pages import BLUEPRINTS
from apps.admin.samples import Sampler, Samples
from apps.web import add_common
from supervisor.client import SOCKET_VARIABLE, Client

_UPLOAD_MAX = 200 * 2**20  # bytes
_BODY_MAX = 500_000  # of everything else; what is asked of the supervisor has to stay below 1 MiB


def create_app(*, take_samples: bool = True) -> Flask:
    """Return the app; under a supervisor a thread takes samples for its charts.

    Its files are in ``admin`` of the supervisor's state folder. At the first start it creates a
    one-time password, and has it written to the log.
    """
    app = Flask(__name__)
    app.config.update(
        BOOTSTRAP_SERVE_LOCAL=True,  # the field has no internet
        CONTROL_TIMEOUT_S=3.0,  # shorter than admin.js waits for the page
        FILES_TIMEOUT_S=25.0,
        MAX_CONTENT_LENGTH=_BODY_MAX,
        UPLOAD_MAX=_UPLOAD_MAX,
        SESSION_COOKIE_NAME="flask_supervisor_admin",  # all ports of a host share cookies
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,  # else style sheets, which are kept, would have it
        WTF_CSRF_TIME_LIMIT=None,  # a page may stay open for hours, and a Pi's clock may jump
    )
    Bootstrap5(app)
    app.url_map.merge_slashes = False  # its redirects would name the host that the client sent
    app.session_interface = TimelessSessions()
    link.add_link(app)
    guard.add_guard(app)  # before the check of the CSRF token: it says who may not, first
    csrf = CSRFProtect(app)
    add_common(app)
    errors.add_errors(app)
    rendering.add_rendering(app)
    csrf.exempt(api)  # it takes tokens that no browser adds by itself
    for blueprint in (login, api, *BLUEPRINTS):
        app.register_blueprint(blueprint)
    samples = Samples()
    app.extensions["charts"] = Charts(samples)
    app.extensions["fleet"] = Fleet()
    socket_path = os.environ.get(SOCKET_VARIABLE)
    if socket_path and take_samples:
        folder = Path(socket_path).parent / "admin"
        Sampler(samples, Client(socket_path, timeout_s=5.0), folder / "samples").begin()
    with app.app_context():
        announce_first_password()
    return app
