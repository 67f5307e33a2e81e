"""The admin page: the state of every app in plain words, readable on a phone."""

from flask import Flask
from flask_bootstrap import Bootstrap5

from apps.admin.pages import pages
from apps.web import add_common


def create_app() -> Flask:
    """Return the app; it asks the supervisor for a snapshot for every page."""
    app = Flask(__name__)
    app.config["BOOTSTRAP_SERVE_LOCAL"] = True  # the field has no internet
    app.config["CONTROL_TIMEOUT_S"] = 3.0  # shorter than admin.js waits for the page
    Bootstrap5(app)
    add_common(app)
    app.register_blueprint(pages)
    return app
