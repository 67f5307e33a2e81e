"""What the apps require, and whether it is there."""

from flask import Blueprint, render_template

from apps.admin import link
from apps.admin.access.guard import Right, needs
from apps.admin.overview import checks_of

checks = Blueprint("checks", __name__)


@checks.get("/checks")
@needs(Right.GLANCE)
def index() -> str:
    """Show all checks, the failing ones first."""
    return render_template("checks.html", checks=checks_of(link.snapshot().get("checks")))
