"""The admin's page: every app's state in words, for a phone in the field."""

from flask import Flask
from flask_bootstrap import Bootstrap5

from apps.admin.pages import pages
from apps.web import furnish


def create_app() -> Flask:
    """Make the app; its supervisor is asked anew for every page."""
    app = Flask(__name__)
    app.config["BOOTSTRAP_SERVE_LOCAL"] = True  # the field has no internet
    app.config["CONTROL_TIMEOUT_S"] = 3.0  # shorter than admin.js waits for the page
    Bootstrap5(app)
    furnish(app)
    app.register_blueprint(pages)
    return app
