"""``flask-supervisor doctor``, and the archive it writes for a bug report."""

import dataclasses
import io
import json
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import click

from supervisor import __version__
from supervisor.cli.output import (
    COLOURS,
    client,
    config_option,
    json_option,
    load,
    print_indented,
    state_dir,
)
from supervisor.config.settings import Config
from supervisor.config.show import settings
from supervisor.doctor.machine import Finding, examine, examine_without
from supervisor.values.errors import ConfigError, SupervisorError
from supervisor.values.redaction import Redaction
from supervisor.values.states import Status

_MARKS = {Status.PASS: "ok  ", Status.WARN: "note", Status.FAIL: "BAD "}


@click.command(epilog="Example: flask-supervisor doctor --report report.tar.gz")
@config_option
@json_option
@click.option("--report", metavar="FILE", help="Write an archive for a bug report; no secrets.")
def doctor(config_file: str | None, as_json: bool, report: str | None) -> None:
    """Look for everything that commonly keeps a supervisor from working. It changes nothing.

    Exit code 1 for any finding that would keep an app or a port from working.
    """
    config, findings = None, []
    try:
        config = load(config_file)
    except ConfigError as error:
        findings = list(examine_without(error, _state_dir(config_file)))
    else:
        from supervisor.doctor.service import examine_service

        findings = [*examine(config), *examine_service(config)]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(f) for f in findings], indent=2))
    else:
        _print(findings)
    if report is not None:
        _write_report(Path(report), config_file, config, findings)
        click.echo(f"wrote {report}", err=as_json)
    sys.exit(1 if any(finding.status is Status.FAIL for finding in findings) else 0)


def _state_dir(config_file: str | None) -> Path | None:
    try:
        return state_dir(config_file)
    except ConfigError:
        return None


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        click.secho(f"{_MARKS[finding.status]} ", fg=COLOURS[finding.status], nl=False)
        click.echo(f"{finding.topic:<{width}}", nl=False)
        print_indented(finding.text, width + 7, begun=width + 5)
        if finding.hint:
            print_indented(finding.hint, width + 7)


def _write_report(
    file: Path, config_file: str | None, config: Config | None, findings: list[Finding]
) -> None:
    """Write the archive; raises `SupervisorError` when that can't be done."""
    parts: dict[str, Any] = {
        "doctor.json": [dataclasses.asdict(finding) for finding in findings],
        "version.json": {"flask-supervisor": __version__, "python": sys.version},
    }
    if config is not None:
        parts["configuration.json"] = {s.path: s.value for s in settings(config)}
    for name, method in (("status", "snapshot"), ("events", "events"), ("logs", "logs")):
        try:
            parts[f"{name}.json"] = client(config_file).call(method)
        except SupervisorError as error:
            parts[f"{name}.json"] = {"unavailable": error.message}
    hide = Redaction(config.secret_values() if config is not None else ())
    try:
        with tarfile.open(file, "w:gz") as archive:
            for name, content in parts.items():
                text = json.dumps(hide.everywhere(content), ensure_ascii=False, indent=2)
                entry = tarfile.TarInfo(f"flask-supervisor-report/{name}")
                payload = text.encode("utf-8", "backslashreplace")
                entry.size, entry.mtime = len(payload), int(time.time())
                archive.addfile(entry, io.BytesIO(payload))
    except OSError as error:
        raise SupervisorError(f"cannot write {file}: {error.strerror}") from error


COMMANDS = {"doctor": doctor}
