"""Commands for the versions of an app's code: deploy, rollback, releases, compare."""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from supervisor.cli.output import (
    app_names,
    client,
    config_option,
    json_option,
    load,
    load_or_none,
    print_error,
    print_indented,
)
from supervisor.client import Client
from supervisor.deploy import steps
from supervisor.policy import rollout
from supervisor.releases import versions
from supervisor.releases.operations import PROVEN
from supervisor.values.errors import ControlError, NotRunning, SupervisorError

_POLL_S = 0.1
_LONGEST_S = 6 * 3600.0  # the supervisor has limits of its own for each step
_LOOK_S = 150.0
_NAME = 13  # of a release: 1234-1a2b3c4d
_TEXT = _NAME + 2 + 16 + 2 + 9 + 2  # where the last column begins

_app_argument = click.argument("app", metavar="APP", shell_complete=app_names)


def release_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete the name of a release of the app named before, for the shell."""
    config = load_or_none(context.params.get("config_file"))
    app = context.params.get("app")
    if config is None or app not in config.apps:
        return []
    store = steps.code_of(config, {}, app).store
    names = [versions.LIVE, *(release.name for release in store.all_of(app))]
    return [name for name in names if name.startswith(begun)]


# ---- deploy and rollback


@click.command(epilog="Example: flask-supervisor deploy coach coach.tar.gz")
@_app_argument
@click.argument(
    "source", metavar="SOURCE", type=click.Path(exists=True, readable=True, path_type=Path)
)
@config_option
@json_option
def deploy(app: str, source: Path, config_file: str | None, as_json: bool) -> None:
    """Put a new version of an app in place: SOURCE is a folder, .tar.gz, .tar or .zip.

    It is imported beside the app first; what it requires is looked at; the present files are kept
    as a release. Then they are replaced, the app is reloaded, and watched: if it doesn't stay
    ready, or doesn't answer, the old files come back. Ctrl-C undoes it too.
    """
    _change(config_file, as_json, "release.deploy", app=app, source=os.path.abspath(source))


@click.command(epilog="Example: flask-supervisor rollback coach 12")
@_app_argument
@click.argument("release", metavar="[RELEASE]", required=False, shell_complete=release_names)
@config_option
@json_option
def rollback(app: str, release: str | None, config_file: str | None, as_json: bool) -> None:
    """Put a release of an app back in place, by the same steps as a deploy.

    RELEASE is its number, its name, or the beginning of its digest; without it, it is the last one
    that has proven good and isn't in place. What is in place now is kept as a release.
    """
    _change(config_file, as_json, "release.rollback", app=app, release=release)


def _change(config_file: str | None, as_json: bool, method: str, **params: Any) -> None:
    """Ask for it, show its progress until it is over, and exit."""
    key = os.urandom(8).hex()  # so that it isn't taken for another operator's
    asking = _Asking(client(config_file, timeout_s=_LONGEST_S), method, {**params, "key": key})
    progress = _Progress(client(config_file), key, as_json=as_json)
    interrupts = 0
    is_over = False
    while not is_over:
        try:
            is_over = asking.is_over(_POLL_S)
            progress.show()
            if interrupts and not is_over:
                progress.interrupt()
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 1:
                raise  # nobody waits for it any more: the supervisor undoes it all the same
            click.echo("interrupted: putting everything back", err=True)
    outcome = asking.result()
    _show_end(outcome, as_json=as_json)
    sys.exit(0 if outcome["ok"] else 1)


class _Asking:
    """A call that takes long, in a thread. When this process ends, the supervisor notices."""

    def __init__(self, client: Client, method: str, params: dict[str, Any]) -> None:
        self._outcome: dict[str, Any] = {}
        self._error: SupervisorError | None = None
        self._over = threading.Event()  # join() of a thread doesn't survive an interrupt
        threading.Thread(target=self._call, args=(client, method, params), daemon=True).start()

    def _call(self, client: Client, method: str, params: dict[str, Any]) -> None:
        try:
            self._outcome = client.call(method, **params)
        except SupervisorError as error:
            self._error = error
        finally:
            self._over.set()

    def is_over(self, wait_s: float) -> bool:
        """Wait for the end, for a moment; says whether it has come."""
        return self._over.wait(wait_s)

    def result(self) -> dict[str, Any]:
        """Give what was answered; raises `SupervisorError`."""
        if isinstance(self._error, ControlError) and self._error.code in ("protocol", "io"):
            raise ControlError(
                "the supervisor has ended in the middle of it",
                code=self._error.code,
                hint="whatever was not finished is undone when it starts the next time",
            ) from self._error
        if self._error is not None:
            raise self._error
        return self._outcome


class _Progress:
    """Shows what a deploy does, a line for each phase."""

    def __init__(self, client: Client, key: str, *, as_json: bool) -> None:
        self._client = client
        self._key = key
        self._as_json = as_json
        self._seen = 0

    def show(self) -> None:
        """Print what is new."""
        with contextlib.suppress(ControlError):  # it ends: whoever waits for the answer says so
            found = self._client.call("release.progress", after=self._seen, key=self._key)
            self._seen = found["last"]
            for line in found["lines"]:
                if line["phase"] not in rollout.ENDED:  # that is said by the answer
                    self._print(line)

    def _print(self, line: dict[str, Any]) -> None:
        if self._as_json:
            click.echo(json.dumps(line, ensure_ascii=False))
            return
        click.secho(f"{line['seconds']:6.1f} s  ", dim=True, nl=False)
        click.echo(line["text"])

    def interrupt(self) -> None:
        """Have it undone."""
        with contextlib.suppress(ControlError):
            self._client.call("release.interrupt", key=self._key)


def _show_end(outcome: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(outcome, ensure_ascii=False))
    if not outcome["ok"]:
        print_error(SupervisorError(outcome["reason"], hint=outcome["hint"]))
        return
    if as_json:
        return
    click.secho(f"{outcome['seconds']:6.1f} s  ", dim=True, nl=False)
    click.secho(outcome["reason"], fg="green")
    if outcome["release"]:
        click.echo(f"release {outcome['release']} is in place")
    if outcome["kept"]:
        click.echo(f"what was in place before is release {outcome['kept']}")


# ---- looking


@click.command(epilog="Example: flask-supervisor releases coach")
@_app_argument
@config_option
@json_option
def releases(app: str, config_file: str | None, as_json: bool) -> None:
    """List the kept versions of an app's code, newest first, and which of them is in place."""
    found = _look(config_file, app, "release.list", versions.listing)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    if not found["releases"]:
        click.echo(f"no version of app '{app}' has been kept yet")
        return
    click.echo(f"{'RELEASE':<{_NAME}}  {'CREATED':<16}  {'COMMIT':<9}  WHAT IT IS")
    for release in found["releases"]:
        _print_release(release)


def _print_release(release: dict[str, Any]) -> None:
    created = release["created"].replace("T", " ")[:16]
    git = release["git"] or {}
    commit = (git.get("commit") or "-")[:8] + ("*" if git.get("dirty") else "")
    click.echo(f"{release['name']:<{_NAME}}  {created:<16}  {commit:<9}  ", nl=False)
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
    print_indented(text, _TEXT, begun=_TEXT)


@click.command(epilog="Example: flask-supervisor compare coach 12 live")
@_app_argument
@click.argument("old", metavar="A", shell_complete=release_names)
@click.argument("new", metavar="B", shell_complete=release_names)
@config_option
@json_option
def compare(app: str, old: str, new: str, config_file: str | None, as_json: bool) -> None:
    """Say which files differ from A to B: releases, or "live" for the files in place.

    A line each: + for one that B adds, - for one that it lacks, ~ for one that has changed.
    """
    found = _look(config_file, app, "release.compare", versions.difference, old=old, new=new)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    signs = [("added", "+", "green"), ("removed", "-", "red"), ("changed", "~", "yellow")]
    lines = [(path, sign, colour) for kind, sign, colour in signs for path in found[kind]]
    for path, sign, colour in sorted(lines):
        click.secho(f"{sign} {path}", fg=colour)
    if not lines:
        click.echo(f"{old} and {new} are the same")


def _look(
    config_file: str | None,
    app: str,
    method: str,
    function: Callable[..., dict[str, Any]],
    **params: str,
) -> dict[str, Any]:
    """Ask the supervisor, which knows what the app has imported; without one look directly."""
    try:
        found: dict[str, Any] = client(config_file, timeout_s=_LOOK_S).call(
            method, app=app, **params
        )
    except NotRunning:
        config = load(config_file)
        if app not in config.apps:
            known = ", ".join(config.apps)
            raise SupervisorError(f"there is no app {app!r}; known: {known}") from None
        code = steps.known(config, steps.code_of(config, {}, app))
        return {"app": app, **function(code, *params.values())}
    return found


COMMANDS = {"deploy": deploy, "rollback": rollback, "releases": releases, "compare": compare}
