"""``flask-supervisor releases`` and ``compare``: the kept versions of an app's code."""

from collections.abc import Callable
from typing import Any

import click

from supervisor.cli.options import (
    app_names,
    client,
    config_option,
    json_option,
    load,
    load_or_none,
    no_such_app,
)
from supervisor.cli.output import local_time, print_json, print_wrapped
from supervisor.deploy import steps
from supervisor.releases import versions
from supervisor.releases.operations import PROVEN
from supervisor.values.errors import NotRunning, SupervisorError

_TIMEOUT_S = 150.0  # the supervisor reads the files of all releases
_NAME = 13  # columns of a release: 1234-1a2b3c4d
_CREATED = 22  # 2026-11-24 13:31+01:00
_COMMIT = 9
_TEXT = _NAME + _CREATED + _COMMIT + 3 * 2  # where the last column begins

_app_argument = click.argument("app", metavar="APP", shell_complete=app_names)


def release_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the releases whose names begin with ``begun``, for completion in a shell."""
    config = load_or_none(context.params.get("config_file"))
    app = context.params.get("app")
    if config is None or app not in config.apps:
        return []
    store = steps.code_of(config, {}, app).store
    names = [versions.LIVE, *(release.name for release in store.all_of(app))]
    return [name for name in names if name.startswith(begun)]


@click.command("releases", epilog="Example: flask-supervisor releases coach")
@_app_argument
@config_option
@json_option
def releases_command(app: str, config_file: str | None, as_json: bool) -> None:
    """List the releases of an app, newest first."""
    found = _query(config_file, app, "release.list", versions.listing)
    if as_json:
        print_json(found)
        return
    if not found["releases"]:
        click.echo(f"app '{app}' has no releases yet")
        return
    head = f"{'RELEASE':<{_NAME}}  {'CREATED':<{_CREATED}}  {'COMMIT':<{_COMMIT}}"
    click.echo(f"{head}  WHAT IT IS")
    for release in found["releases"]:
        _print_release(release)


def _print_release(release: dict[str, Any]) -> None:
    created = local_time(release["created"], timespec="minutes")
    git = release["git"] or {}
    commit = (git.get("commit") or "-")[:8] + ("*" if git.get("dirty") else "")
    words = [
        word
        for word, applies in (
            ("in place", release["live"]),
            ("last good", release["last_good"]),
            ("good", release["good"] and not release["last_good"]),
        )
        if applies
    ]
    text = ", ".join([*words, *([release["note"]] if release["note"] != PROVEN else [])])
    head = f"{release['name']:<{_NAME}}  {created:<{_CREATED}}  {commit:<{_COMMIT}}  "
    print_wrapped(text, head=head, indent=_TEXT)


@click.command("compare", epilog="Example: flask-supervisor compare coach 12 live")
@_app_argument
@click.argument("old", metavar="A", shell_complete=release_names)
@click.argument("new", metavar="B", shell_complete=release_names)
@config_option
@json_option
def compare_command(app: str, old: str, new: str, config_file: str | None, as_json: bool) -> None:
    """List the files that differ between two releases.

    A and B are releases, or "live" for the files in place. Each line is a file: + only B has it,
    - only A has it, ~ it differs.
    """
    found = _query(config_file, app, "release.compare", versions.difference, old=old, new=new)
    if as_json:
        print_json(found)
        return
    signs = [("added", "+", "green"), ("removed", "-", "red"), ("changed", "~", "yellow")]
    lines = [(path, sign, colour) for kind, sign, colour in signs for path in found[kind]]
    for path, sign, colour in sorted(lines):
        click.secho(f"{sign} {path}", fg=colour)
    if not lines:
        click.echo(f"{old} and {new} are identical")


def _query(
    config_file: str | None,
    app: str,
    method: str,
    function: Callable[..., dict[str, Any]],
    **params: str,
) -> dict[str, Any]:
    """Ask the supervisor, which knows the app's imports; if none is running, call ``function``."""
    try:
        found: dict[str, Any] = client(config_file, timeout_s=_TIMEOUT_S).call(
            method, app=app, **params
        )
    except NotRunning:
        config = load(config_file)
        if app not in config.apps:
            raise SupervisorError(no_such_app(app, config.apps)) from None
        code = steps.known(config, steps.code_of(config, {}, app))
        return {"app": app, **function(code, *params.values())}
    return found
