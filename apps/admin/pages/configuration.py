"""The configuration: the values in effect, the file with a check before it counts, its history."""

import difflib
import re
from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from apps.admin import actions, link
from apps.admin.access.guard import Right, needs
from supervisor.client import ControlError

Setting = dict[str, Any]

_REFUSED = ("bad_config", "changed", "failed", "bad_params")

configuration = Blueprint("configuration", __name__, url_prefix="/configuration")


@configuration.get("")
def index() -> str:
    """Show every value in effect, and where it came from; those that are set come first."""
    settings = link.ask("config.show")["settings"]
    return render_template(
        "configuration.html",
        chosen=[one for one in settings if one["origin"] != "default"],
        defaults=_once([one for one in settings if one["origin"] == "default"]),
    )


def _once(defaults: list[Setting]) -> list[Setting]:
    """Return what all apps have in common only once, as ``apps.NAME.key``."""
    found = {}
    for one in defaults:
        path = re.sub(r"^apps\.\w+\.", "apps.NAME.", one["path"])
        found[path, repr(one["value"])] = {**one, "path": path}
    return list(found.values())


@configuration.get("/edit")
@needs(Right.OPERATE)  # the text may contain secrets, which the values in effect don't show
def edit() -> str:
    """Show the file to change it, and its history."""
    found = link.configuration()
    return render_template("configuration_edit.html", file=found, text=found["text"])


@configuration.post("/edit")
def change() -> str | tuple[str, int] | Response:
    """Check the text, or apply it; what was typed is never lost."""
    text = _lines(request.form.get("text", ""))
    digest = request.form.get("digest", "")
    file = {**link.configuration(), "digest": digest}
    checked = link.ask_long("config.check", text=text or "\n")
    if request.form.get("do") != "apply" or checked["problems"]:
        status = 422 if checked["problems"] else 200
        return _edit(file, text, checked), status
    try:
        changes = actions.apply_configuration(text, digest)["changes"]
    except ControlError as error:
        if error.code not in _REFUSED:
            raise
        return _edit(file, text, {"problems": [error.message], "hint": error.hint}), 409
    flash(f"The new configuration is in effect: {changes}.")
    return redirect(url_for("configuration.index"))


@configuration.get("/history/<name>")
@needs(Right.OPERATE)
def kept(name: str) -> str:
    """Show how an earlier configuration differs from the present one."""
    present, found = link.configuration(), link.ask_long("config.kept", name=name)
    return render_template(
        "configuration_kept.html",
        name=found["name"],
        digest=present["digest"],
        lines=difference(present["text"], found["text"]),
    )


@configuration.post("/history/<name>/restore")
def restore(name: str) -> Response:
    """Put an earlier configuration back into the file, and into effect."""
    digest = request.form.get("digest")
    if not digest:
        abort(400)
    changes = actions.restore_configuration(name, digest)["changes"]
    flash(f"Restored {name}: {changes}.")
    return redirect(url_for("configuration.index"))


@configuration.post("/reload")
def read_again() -> Response:
    """Read the file again, as after an edit on the machine."""
    changes = actions.reload_configuration()["changes"]
    flash(f"The configuration was read again: {changes}.")
    return redirect(url_for("configuration.index"))


def difference(old: str, new: str) -> list[tuple[str, str]]:
    """Return the lines that differ, with those around them: "+", "-", " " or "@", and the line."""
    found = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2)
    return [(line[:1], line[1:]) for line in list(found)[2:]]


def _edit(file: dict[str, object], text: str, checked: dict[str, object]) -> str:
    return render_template("configuration_edit.html", file=file, text=text, checked=checked)


def _lines(text: str) -> str:
    """Return a text of a form with the line ends of a file; browsers send CR LF."""
    return text.replace("\r\n", "\n")
