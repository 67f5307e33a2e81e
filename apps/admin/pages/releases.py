"""Versions of an app: deploy by upload, progress, roll back, compare."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from apps.admin import actions, link, uploads

LIVE = "live"

releases = Blueprint("releases", __name__)


@releases.get("/apps/<name>/releases")
def index(name: str) -> str:
    """List the releases, and what differs between two of them."""
    old, new = request.args.get("old"), request.args.get("new")
    compared = {"old": old, "new": new} if old and new else {}
    found = link.ask_long("release.list", app=name, **compared)
    progress = link.ask("release.progress")
    return render_template(
        "releases.html",
        name=name,
        releases=found["releases"],
        names=[LIVE, *(one["name"] for one in found["releases"])],
        old=old,
        new=new or next((one["name"] for one in found["releases"] if not one["live"]), LIVE),
        difference=found.get("difference"),
        is_running=progress["running"],
        suffixes=uploads.SUFFIXES,
    )


@releases.post("/apps/<name>/deploy")
def deploy(name: str) -> Response:
    """Deploy the archive that was uploaded; it goes on whatever becomes of this app."""
    uploaded = request.files.get("archive")
    if uploaded is None or not uploaded.filename:
        flash("Choose an archive first.")
        return redirect(url_for("releases.index", name=name))
    mode = request.form.get("mode", "")
    if mode not in uploads.MODES:
        abort(400)
    actions.deploy(name, uploaded, mode)
    return redirect(url_for("releases.progress"))


@releases.post("/apps/<name>/rollback")
def rollback(name: str) -> Response:
    """Put a release back in place; without a name the last good one."""
    actions.rollback(name, request.form.get("release") or None)
    return redirect(url_for("releases.progress"))


@releases.get("/deploy")
def progress() -> str:
    """Show the deploy that is under way, or was last, and how it ended."""
    found = link.ask("release.progress")
    if not found["running"]:
        uploads.tidy()
    ended = None
    if not found["running"] and found["what"] is None:
        # the supervisor was started anew since: its events tell
        told = [one for one in link.ask("events")["events"] if one["kind"] == "deploy"]
        ended = told[-1] if told else None
    return render_template("progress.html", progress=found, ended=ended)


@releases.post("/deploy/interrupt")
def interrupt() -> Response:
    """Have the deploy that is under way undone."""
    found = actions.interrupt_deploy()
    flash("It is being undone." if found["interrupted"] else "There was nothing to interrupt.")
    return redirect(url_for("releases.progress"))
