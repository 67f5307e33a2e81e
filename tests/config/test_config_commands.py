"""The commands config check and config show."""

import json
from pathlib import Path

from operating_case import run_command

APP = '[apps.coach]\ntarget = "coach:app"\nport = 5001\n'
OVERRIDE = "FLASK_SUPERVISOR__"


def test_config_check_reports_all_mistakes_at_once(tmp_path: Path) -> None:
    """Thirteen mistakes give thirteen lines, also in JSON, and exit code 1."""
    (tmp_path / "supervisor.toml").write_text(
        '[supervisor]\nhost = "pi.local"\nlog_format = "xml"\nshutdown_timeout_s = "2"\n'
        "[bind]\nattempts = 0\n[status]\nport = 5001\n"
        '[apps.admin]\ntarget = "apps.admin"\nport = 5000\ncontrol = "yes"\nprot = 1\n'
        '[apps.coach]\ntarget = "a:b"\nport = 5001\nthreads = 4.5\nenv_file = "missing.env"\n'
        'env = { DEBUG = true }\n[apps.Display]\ntarget = "a:b"\nport = 70000\n',
        encoding="utf-8",
    )
    result = run_command(tmp_path, "config", "check")
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 13, result.stderr
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())
    as_json = run_command(tmp_path, "config", "check", "--json")
    assert as_json.returncode == 1
    document = json.loads(as_json.stdout)
    assert document["ok"] is False
    assert [f"error: {problem}" for problem in document["problems"]] == result.stderr.splitlines()


def test_config_check_of_a_good_file(tmp_path: Path) -> None:
    """Exit code 0, and no problems."""
    (tmp_path / "supervisor.toml").write_text(APP, encoding="utf-8")
    result = run_command(tmp_path, "config", "check")
    assert result.returncode == 0, result.stderr
    assert "is valid" in result.stdout
    as_json = run_command(tmp_path, "config", "check", "--json")
    assert as_json.returncode == 0
    assert json.loads(as_json.stdout) == {"ok": True, "problems": []}


def test_config_show_prints_lines_that_can_be_searched(tmp_path: Path) -> None:
    """One line a value, with its origin; the same in JSON."""
    requires = '[[requires]]\nkind = "file"\npath = "games.json"\n'
    (tmp_path / "supervisor.toml").write_text(APP + requires, encoding="utf-8")
    env = {OVERRIDE + "APPS__COACH__PORT": "5051"}
    lines = run_command(tmp_path, "config", "show", env=env).stdout.splitlines()
    [line] = [line for line in lines if line.startswith("apps.coach.port")]
    assert line.split() == ["apps.coach.port", "=", "5051", "#", f"{OVERRIDE}APPS__COACH__PORT"]
    document = json.loads(run_command(tmp_path, "config", "show", "--json", env=env).stdout)
    assert document["apps.coach.port"] == {"value": 5051, "origin": f"{OVERRIDE}APPS__COACH__PORT"}
    assert document["requires"]["value"] == [{"kind": "file", "path": "games.json"}]
    assert [line.split(" = ")[0] for line in lines] == list(document)
