"""``flask-supervisor doctor``, and the archive that it writes for a bug report."""

import io
import json
import sys
import tarfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from supervisor import __version__
from supervisor.cli.options import client, config_option, json_option, load, state_dir
from supervisor.cli.output import COLOURS, print_json, print_wrapped
from supervisor.config.settings import Config
from supervisor.config.show import settings
from supervisor.doctor.diagnosis import Diagnosis
from supervisor.doctor.machine import diagnose, diagnose_without_config
from supervisor.values.errors import ConfigError, SupervisorError
from supervisor.values.redaction import Redaction
from supervisor.values.states import Status

_MARKS = {Status.PASS: "ok  ", Status.WARN: "warn", Status.FAIL: "FAIL"}


@click.command("doctor", epilog="Example: flask-supervisor doctor --report report.tar.gz")
@config_option
@json_option
@click.option("--report", metavar="FILE", help="Write an archive without secrets for a bug report.")
def doctor_command(config_file: str | None, as_json: bool, report: str | None) -> None:
    """Diagnose what keeps the supervisor from working.

    It changes nothing. Exit code 1 for every problem that keeps an app or a port from working.
    """
    config, diagnoses = _diagnosed(config_file)
    documents = [asdict(diagnosis) for diagnosis in diagnoses]
    if as_json:
        print_json(documents)
    else:
        _print(diagnoses)
    if report is not None:
        _write_report(Path(report), config_file, config, documents)
        click.echo(f"wrote {report}", err=as_json)
    sys.exit(1 if any(diagnosis.status is Status.FAIL for diagnosis in diagnoses) else 0)


def _diagnosed(config_file: str | None) -> tuple[Config | None, list[Diagnosis]]:
    """Return the configuration, None if it is not valid, and all diagnoses."""
    try:
        config = load(config_file)
    except ConfigError as error:
        return None, list(diagnose_without_config(error, _state_dir(config_file)))
    from supervisor.doctor.service import diagnose_service

    return config, [*diagnose(config), *diagnose_service(config)]


def _state_dir(config_file: str | None) -> Path | None:
    try:
        return state_dir(config_file)
    except ConfigError:
        return None


def _print(diagnoses: list[Diagnosis]) -> None:
    width = max(len(diagnosis.topic) for diagnosis in diagnoses)
    for diagnosis in diagnoses:
        mark = click.style(_MARKS[diagnosis.status], fg=COLOURS[diagnosis.status])
        head = f"{mark} {diagnosis.topic:<{width}}  "
        print_wrapped(diagnosis.text, head=head, indent=width + 7)
        if diagnosis.hint:
            print_wrapped(diagnosis.hint, indent=width + 7)


def _write_report(
    file: Path, config_file: str | None, config: Config | None, diagnoses: list[dict[str, Any]]
) -> None:
    """Write the archive; raise `SupervisorError` if that fails."""
    parts: dict[str, Any] = {
        "doctor.json": diagnoses,
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
                _add(archive, f"flask-supervisor-report/{name}", hide.everywhere(content))
    except OSError as error:
        raise SupervisorError(f"cannot write {file}: {error.strerror}") from error


def _add(archive: tarfile.TarFile, name: str, content: Any) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2)
    payload = text.encode("utf-8", "backslashreplace")
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(payload), int(time.time())
    archive.addfile(entry, io.BytesIO(payload))
