"""The archive that ``doctor --report`` writes for a bug report."""

import json
import tarfile
from contextlib import closing
from typing import Any

from harness import Project
from operating_case import run_command, wait_until_ready


def report(project: Project, code: int, *, config: str | None = None) -> dict[str, Any]:
    """Write a report, and return the documents in it by name."""
    file = project.folder / "report.tar.gz"
    if config is None:
        result = project.command("doctor", "--report", str(file))
    else:
        result = run_command(project.folder, "doctor", "--report", str(file), config=config)
    assert (result.returncode, result.stderr) == (code, "")
    assert result.stdout.splitlines()[-1] == f"wrote {file}"
    found = {}
    with tarfile.open(file) as archive:
        for name in archive.getnames():
            part = archive.extractfile(name)
            assert part is not None
            with closing(part):
                found[name] = json.load(part)
    file.unlink()
    return {name.removeprefix("flask-supervisor-report/"): part for name, part in found.items()}


def test_a_report_of_everything(project: Project) -> None:
    """The archive holds all that others need to understand a problem, and no secret."""
    project.app("coach")
    stopped = report(project, 0)
    assert stopped["status.json"] == stopped["logs.json"] == stopped["events.json"]
    assert "no supervisor is running" in stopped["status.json"]["unavailable"]
    wait_until_ready(project.start(), "coach")
    running = report(project, 0)
    assert sorted(running) == [
        "configuration.json",
        "doctor.json",
        "events.json",
        "logs.json",
        "status.json",
        "version.json",
    ]
    assert running["configuration.json"]["apps.coach.port"] == project.port("coach")
    assert running["status.json"]["apps"]["coach"]["state"] == "ready"
    assert [line["text"] for line in running["logs.json"]["lines"]]
    assert running["events.json"]["events"]
    assert {"flask-supervisor", "python"} <= set(running["version.json"])
    assert [one["topic"] for one in running["doctor.json"]][:2] == ["python", "packages"]


def test_a_report_with_a_broken_configuration(project: Project) -> None:
    """The archive has what needs no configuration, and what the supervisor answers."""
    project.app("coach")
    wait_until_ready(project.start(), "coach")
    project.apps["coach"]["threads"] = 0
    broken = report(project, 1)
    assert "configuration.json" not in broken
    assert broken["status.json"]["apps"]["coach"]["state"] == "ready"
    findings = {one["topic"]: one for one in broken["doctor.json"]}
    assert findings["configuration"]["status"] == "fail"
    assert findings["running"]["status"] == "pass"


def test_a_report_without_a_configuration(project: Project) -> None:
    """Without a supervisor, the reason stands in place of its answers."""
    found = report(project, 1, config="nowhere.toml")
    assert "there is no such file" in found["logs.json"]["unavailable"]
    assert "there is no such file" in found["doctor.json"][2]["text"]


def test_a_report_that_cannot_be_written(project: Project) -> None:
    """The diagnoses are printed all the same; standard output stays JSON."""
    project.app("coach")
    result = project.command("doctor", "--json", "--report", "/nowhere/report.tar.gz")
    assert result.returncode == 1
    assert "cannot write /nowhere/report.tar.gz: No such file or directory" in result.stderr
    assert json.loads(result.stdout)
