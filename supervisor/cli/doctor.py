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
from supervisor.doctor.diagnosis import Diagnosis
from supervisor.doctor.machine import diagnose, diagnose_without_config
from supervisor.values.errors import ConfigError, SupervisorError
from supervisor.values.redaction import Redaction
from supervisor.values.states import Status

_MARKS = {Status.PASS: "ok  ", Status.WARN: "warn", Status.FAIL: "FAIL"}


@click.command(epilog="Example: flask-supervisor doctor --report report.tar.gz")
@config_option
@json_option
@click.option("--report", metavar="FILE", help="Write an archive for a bug report; no secrets.")
def doctor(config_file: str | None, as_json: bool, report: str | None) -> None:
    """Look for everything that commonly keeps a supervisor from working. It changes nothing.

    Exit code 1 for any finding that would keep an app or a port from working.
    """
    config, diagnoses = None, []
    try:
        config = load(config_file)
    except ConfigError as error:
        diagnoses = list(diagnose_without_config(error, _state_dir(config_file)))
    else:
        from supervisor.doctor.service import diagnose_service

        diagnoses = [*diagnose(config), *diagnose_service(config)]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(f) for f in diagnoses], indent=2))
    else:
        _print(diagnoses)
    if report is not None:
        _write_report(Path(report), config_file, config, diagnoses)
        click.echo(f"wrote {report}", err=as_json)
    sys.exit(1 if any(diagnosis.status is Status.FAIL for diagnosis in diagnoses) else 0)


def _state_dir(config_file: str | None) -> Path | None:
    try:
        return state_dir(config_file)
    except ConfigError:
        return None


def _print(diagnoses: list[Diagnosis]) -> None:
    width = max(len(diagnosis.topic) for diagnosis in diagnoses)
    for diagnosis in diagnoses:
        click.secho(f"{_MARKS[diagnosis.status]} ", fg=COLOURS[diagnosis.status], nl=False)
        click.echo(f"{diagnosis.topic:<{width}}", nl=False)
        print_indented(diagnosis.text, width + 7, begun=width + 5)
        if diagnosis.hint:
            print_indented(diagnosis.hint, width + 7)


def _write_report(
    file: Path, config_file: str | None, config: Config | None, diagnoses: list[Diagnosis]
) -> None:
    """Write the archive; raises `SupervisorError` when that can't be done."""
    parts: dict[str, Any] = {
        "doctor.json": [dataclasses.asdict(diagnosis) for diagnosis in diagnoses],
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
