"""``flask-supervisor deploy`` and ``rollback``: they show the progress until the outcome."""

import contextlib
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import click

from supervisor.cli.options import app_names, client, config_option, json_option
from supervisor.cli.output import print_error, print_json, print_note
from supervisor.cli.releases import release_names
from supervisor.client import Client
from supervisor.policy import rollout
from supervisor.values.errors import ControlError, SupervisorError

_POLL_S = 0.1
_BAR_COLUMNS, _BAR_INDENT = 40, 10  # below the text of a line of progress
_LONGEST_S = 6 * 3600.0  # the supervisor limits each step itself

_app_argument = click.argument("app", metavar="APP", shell_complete=app_names)


@click.command("deploy", epilog="Example: flask-supervisor deploy coach coach.tar.gz")
@_app_argument
@click.argument(
    "source", metavar="SOURCE", type=click.Path(exists=True, readable=True, path_type=Path)
)
@click.option("--only", is_flag=True, help="Replace what SOURCE has, and remove nothing.")
@click.option("--delete", is_flag=True, help="Remove the app's files that SOURCE lacks.")
@config_option
@json_option
def deploy_command(
    app: str, source: Path, only: bool, delete: bool, config_file: str | None, as_json: bool
) -> None:
    """Deploy a new version of an app; undo it if it fails.

    SOURCE is a folder, .tar.gz, .tar or .zip, or a single file, which replaces the one with its
    name. The supervisor imports the new version beside the app, checks its requirements, keeps the
    present files as a release, replaces them, reloads the app and watches it. If the app doesn't
    stay ready, or doesn't answer, the old files come back. Ctrl-C undoes the deploy too.

    If SOURCE lacks files that the app has, nothing changes without --delete or --only. Files that
    the app has written itself always stay.
    """
    if only and delete:
        raise click.UsageError("--only removes nothing, --delete does: choose one")
    params = {"app": app, "source": os.path.abspath(source), "only": only, "delete": delete}
    outcome = _change(config_file, as_json, "release.deploy", **params)
    paths = outcome.get("would_remove") or []
    if paths and not as_json and sys.stdin.isatty() and _may_remove(paths):
        params["delete"] = True
        outcome = _change(config_file, as_json, "release.deploy", **params)
    _exit_with(outcome, as_json=as_json)


def _may_remove(paths: list[str]) -> bool:
    click.echo(f"SOURCE lacks {'1 file' if len(paths) == 1 else f'{len(paths)} files'} of the app:")
    for path in paths:
        click.echo(f"  {path}")
    return click.confirm("Remove them?", default=False)


@click.command("rollback", epilog="Example: flask-supervisor rollback coach 12")
@_app_argument
@click.argument("release", metavar="[RELEASE]", required=False, shell_complete=release_names)
@config_option
@json_option
def rollback_command(app: str, release: str | None, config_file: str | None, as_json: bool) -> None:
    """Put an earlier release of an app back in place.

    It takes the same steps as a deploy. RELEASE is a number, a name, or the beginning of a digest;
    by default, the newest release that has proven good and is not in place. The present files are
    kept as a release.
    """
    outcome = _change(config_file, as_json, "release.rollback", app=app, release=release)
    _exit_with(outcome, as_json=as_json)


def _change(config_file: str | None, as_json: bool, method: str, **params: Any) -> dict[str, Any]:
    """Call ``method``, show its progress until it is complete, and return the outcome."""
    key = os.urandom(8).hex()  # distinguishes this call from another operator's
    call = _BackgroundCall(
        client(config_file, timeout_s=_LONGEST_S), method, {**params, "key": key}
    )
    interrupts = 0
    complete = False
    with contextlib.closing(_Progress(client(config_file), key, as_json=as_json)) as progress:
        while not complete:
            try:
                complete = call.wait(_POLL_S)
                progress.show()
                if interrupts and not complete:
                    progress.interrupt()
            except KeyboardInterrupt:
                interrupts += 1
                if interrupts > 1:
                    raise  # the supervisor undoes it even if this command has gone
                progress.close()
                click.echo("interrupted: undoing it", err=True)
    return call.result()


def _exit_with(outcome: dict[str, Any], *, as_json: bool) -> NoReturn:
    _print_outcome(outcome, as_json=as_json)
    sys.exit(0 if outcome["ok"] else 1)


class _BackgroundCall:
    """A long call in a thread. The supervisor notices when this process exits."""

    def __init__(self, client: Client, method: str, params: dict[str, Any]) -> None:
        self._outcome: dict[str, Any] = {}
        self._error: SupervisorError | None = None
        self._complete = threading.Event()  # Thread.join() is not reliable after an interrupt
        threading.Thread(target=self._call, args=(client, method, params), daemon=True).start()

    def _call(self, client: Client, method: str, params: dict[str, Any]) -> None:
        try:
            self._outcome = client.call(method, **params)
        except SupervisorError as error:
            self._error = error
        finally:
            self._complete.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for up to ``timeout_s``; return whether the call is complete."""
        return self._complete.wait(timeout_s)

    def result(self) -> dict[str, Any]:
        """Return the answer; raise `SupervisorError` if there is none."""
        if isinstance(self._error, ControlError) and self._error.code in ("protocol", "io"):
            raise ControlError(
                "the supervisor exited before this was complete",
                code=self._error.code,
                hint="its next start undoes what was not complete",
            ) from self._error
        if self._error is not None:
            raise self._error
        return self._outcome


class _Progress:
    """Shows the progress of a deploy: a line for each phase, and a bar on a terminal."""

    def __init__(self, client: Client, key: str, *, as_json: bool) -> None:
        self._client = client
        self._key = key
        self._as_json = as_json
        self._seen = 0
        self._bar: _Bar | None = None

    def show(self) -> None:
        """Print the new lines, and let the bar of the last one grow."""
        with contextlib.suppress(ControlError):  # the supervisor exits: `result` reports it
            found = self._client.call("release.progress", after=self._seen, key=self._key)
            self._seen = found["last"]
            for line in found["lines"]:
                self.close()
                if line["phase"] not in rollout.ENDED:  # the outcome reports these
                    self._print(line)
        if self._bar is not None:
            self._bar.grow()

    def close(self) -> None:
        """End the bar, if there is one: what is printed next begins a new line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print(self, line: dict[str, Any]) -> None:
        if self._as_json:
            print_json(line, one_line=True)
        else:
            _print_step(line["seconds"], line["text"])
            if line["lasts_s"] and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
                self._bar = _Bar(line["lasts_s"])

    def interrupt(self) -> None:
        """Ask the supervisor to undo the deploy."""
        with contextlib.suppress(ControlError):
            self._client.call("release.interrupt", key=self._key)


class _Bar:
    """A bar on the terminal that is full after ``lasts_s``; it hides the cursor until `close`."""

    def __init__(self, lasts_s: float) -> None:
        self._began = time.monotonic()
        width = min(_BAR_COLUMNS, max(shutil.get_terminal_size().columns - 2 * _BAR_INDENT, 1))
        template = f"{' ' * _BAR_INDENT}[%(bar)s]"
        length = max(round(lasts_s / _POLL_S), 1)
        self._bar = click.progressbar(length=length, width=width, bar_template=template)
        self._bar.render_progress()

    def grow(self) -> None:
        """Draw as much of it as time has passed."""
        passed = round((time.monotonic() - self._began) / _POLL_S)
        self._bar.update(min(passed, self._bar.length or passed) - self._bar.pos)

    def close(self) -> None:
        """End the line, and show the cursor again."""
        self._bar.render_finish()


def _print_step(seconds: float, text: str, colour: str | None = None) -> None:
    click.secho(f"{seconds:6.1f} s  ", dim=True, nl=False)
    click.secho(text, fg=colour)


def _print_outcome(outcome: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(outcome, one_line=True)
    if not outcome["ok"]:
        print_error(SupervisorError(outcome["reason"], hint=outcome["hint"]))
        return
    if as_json:
        return
    _print_step(outcome["seconds"], outcome["reason"], "green")
    if outcome["release"]:
        click.echo(f"release {outcome['release']} is in place")
    if outcome["kept"]:
        click.echo(f"the previous files are release {outcome['kept']}")
    for note in outcome["notes"]:
        print_note(note)
