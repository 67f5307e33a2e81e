"""A coach's page: teams and their players, in a small SQLite database.

Two processes may run the app at once, as they do during a reload. One process can use one data
folder at a time.
"""

import os
from pathlib import Path

from flask import Flask
from flask_bootstrap import Bootstrap5
from flask_wtf.csrf import CSRFProtect

from apps import data_folder
from apps.coach import failures, folder, models
from apps.coach.teams import teams
from apps.web import add_common


def create_app() -> Flask:
    """Return the app on the folder ``FLASK_SUPERVISOR_DATA_DIR``, else on its instance folder.

    Blocks while another process prepares the same folder. Raises `OSError` or
    `peewee.DatabaseError` if the folder can't be used.
    """
    app = Flask(__name__)
    data = Path(os.environ.get("FLASK_SUPERVISOR_DATA_DIR") or app.instance_path)
    with data_folder.prepared_by_one(data):
        secret_key = data_folder.secret_key(data)
        set_aside = folder.set_aside_if_damaged(data / models.FILE_NAME)
        models.open_database(data / models.FILE_NAME)
    if set_aside:
        app.logger.error("%s was damaged: set aside as %s", models.FILE_NAME, set_aside.name)
    app.config.update(
        BOOTSTRAP_SERVE_LOCAL=True,  # the field has no internet
        DATA_FOLDER=data,
        MAX_CONTENT_LENGTH=16 * 1024,
        SECRET_KEY=secret_key,
        SESSION_COOKIE_NAME="coach_session",  # all ports of a host share cookies
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,  # a page may stay open for hours, and a Pi's clock may jump
    )
    Bootstrap5(app)
    CSRFProtect(app)
    add_common(app)
    failures.add_pages(app)
    app.register_blueprint(teams)
    app.teardown_request(models.close_database)
    return app
