"""Many machines: how each is, and how an app's files differ from those of another one."""

from flask import Blueprint, current_app, render_template, request

from apps.admin import link, peers
from apps.admin.access.guard import Right, needs
from apps.admin.fields import mappings
from apps.admin.fleet import Fleet
from supervisor.client import ControlError

machines = Blueprint("machines", __name__, url_prefix="/machines")


@machines.get("")
def index() -> str:
    """Show the machines of ``hosts.toml``, and the form to compare files."""
    return _page()


@machines.post("/compare")
@needs(Right.OPERATE)  # it sends a request, with a token, to an address of the visitor's choice
def compare() -> str | tuple[str, int]:
    """Compare the files of an app with those on another machine."""
    app, address = request.form.get("app", ""), request.form.get("address", "").strip()
    try:
        found = peers.compare(app, address, request.form.get("token", "").strip())
    except peers.PeerError as error:
        return _page(problem=str(error)), 422
    return _page(difference=found)


def _page(problem: str | None = None, difference: peers.Difference | None = None) -> str:
    names = [name for name, _ in mappings(link.snapshot().get("apps"))]
    fleet: Fleet = current_app.extensions["fleet"]
    client = link.client(current_app.config["FILES_TIMEOUT_S"])
    age_s, found = fleet.last(client) or (None, None)
    return render_template(
        "machines.html",
        age_s=age_s,
        error=found if isinstance(found, ControlError) else None,
        fleet=None if isinstance(found, ControlError) else found,
        apps=names,
        problem=problem,
        difference=difference,
    )
