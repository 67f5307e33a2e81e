"""From a fresh machine to a running service, again, and for another user."""

import os
import re
import shutil
from pathlib import Path

from harness import REPOSITORY, ask, eventually
from machine import (
    APPS,
    COMMAND,
    CONFIG,
    DROP_INS,
    PORTS,
    STATE,
    SYSTEM,
    UNIT,
    Machine,
    create_user,
    give,
    health,
    journal,
    main_pid,
    properties,
    run,
    systemctl,
    unit_pids,
    write_app,
    write_config,
)


def test_the_one_command(machine: Machine) -> None:
    """It prints the addresses of the apps; they answer, as the service's own user."""
    for port in PORTS:
        assert re.search(
            rf"http://\S+:{port}( \(for monitors\))?$", machine.output, re.MULTILINE
        ), machine.output
    assert "read_only" not in machine.output
    assert "note:" not in machine.output
    assert ask(5000).status == 302  # to the login
    assert "first password" in machine.output
    assert re.search(r"first password of the admin app, for its owner: [\w-]{19}", journal())
    assert ask(5001).status == 200
    owner = {Path(f"/proc/{pid}").owner() for pid in unit_pids()}
    assert owner == {"flask-supervisor"}
    assert f'path = "{APPS}"' in CONFIG.read_text()
    assert f'state_dir = "{STATE}"' in CONFIG.read_text()
    assert (STATE / "data" / "coach").is_dir()
    assert run("/usr/local/bin/flask-supervisor", "status").returncode == 0


def test_systemctl_status_shows_the_apps(machine: Machine) -> None:
    """`systemctl status` shows how many apps are ready; the unit starts at the next boot."""
    text = systemctl("status", "--no-pager", UNIT)
    assert 'Status: "2 of 2 apps ready"' in text
    assert "; enabled" in text
    assert "Active: active (running)" in text
    link = SYSTEM / "multi-user.target.wants" / UNIT
    assert link.resolve() == SYSTEM / UNIT


def test_the_log_is_in_the_journal(machine: Machine) -> None:
    """Lines carry their priority, and no time besides the journal's."""
    lines = run(
        "journalctl", "-q", "-u", UNIT, "-o", "json", "--output-fields=PRIORITY,MESSAGE"
    ).stdout.splitlines()
    ready = [line for line in lines if "ready on http" in line]
    assert ready
    assert all('"PRIORITY":"6"' in line and "timestamp" not in line for line in ready)


def files() -> dict[Path, tuple[str, float]]:
    """Return the content and age of everything that an installation writes."""
    found = [SYSTEM / UNIT, *DROP_INS.iterdir(), CONFIG]
    return {file: (file.read_text(), file.stat().st_mtime) for file in found}


def test_twice_is_once(machine: Machine) -> None:
    """Installing again writes nothing, and the service goes on."""
    before = files()
    done = machine.command("service", "install")
    assert done.returncode == 0, done.stderr
    assert "written" not in done.stdout
    assert files() == before
    assert properties()["ActiveState"] == "active"
    eventually(lambda: health()["status"] == "pass")
    other = run(COMMAND, "service", "install", cwd=REPOSITORY)  # it has a configuration too
    assert other.returncode == 0, other.stderr
    assert files() == before
    for line in machine.command("doctor").stdout.splitlines():
        assert "  service  " not in line or line.startswith("ok"), line


def test_systemd_knows_every_key(machine: Machine) -> None:
    """`systemd-analyze verify` finds no fault in the installed files."""
    done = run("systemd-analyze", "verify", SYSTEM / UNIT)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_needed_is_reported(machine: Machine) -> None:
    """A user who isn't root gets the sudo command; an unknown user is refused at once."""
    words = ["setpriv", "--reuid=65534", "--clear-groups", str(COMMAND)]
    done = run(*words, "service", "install", "--config", str(CONFIG))
    assert done.returncode == 1
    assert "only root may" in done.stderr
    assert "sudo /opt/flask-supervisor/venv/bin/flask-supervisor service install" in done.stderr
    done = machine.command("service", "install", "--user", "nobody-here")
    assert done.returncode == 1
    assert "there is no user nobody-here" in done.stderr


def test_apps_in_a_persons_folder(machine: Machine) -> None:
    """The system user can't read pi's folder, which is refused; as pi it works."""
    home = create_user("pi")
    write_app("field", folder=home)
    config = home / "supervisor.toml"
    app = {"port": 5002, "path": str(home / "field")}
    write_config({"field": app}, config, state_dir=str(home / "state"), status_port=6001)
    give(home, "pi")
    before = main_pid()
    by_hand = run("timeout", "-s", "INT", "4", COMMAND, "run", "--config", CONFIG)
    assert "already running as pid" in by_hand.stderr
    assert "stop flask-supervisor" in by_hand.stderr

    done = machine.command("service", "install", config=config)
    assert done.returncode == 1
    assert "its user flask-supervisor may not read /home/pi, which belongs to pi" in done.stderr
    assert "--user pi" in done.stderr
    assert main_pid() == before

    systemctl("stop", UNIT)  # it has another state folder
    done = machine.command("service", "install", "--user", "pi", config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ask(5002).text == "field\n"
    assert health(6001)["status"] == "pass"
    assert {Path(f"/proc/{pid}").owner() for pid in unit_pids()} == {"pi"}
    drop_in = (DROP_INS / "10-installation.conf").read_text()
    assert "# Relaxed: /home/pi is in a home folder." in drop_in
    said = re.sub(r"\s+", " ", done.stdout)
    assert f"runs {config} from now on; apps that go: admin, coach" in said
    for command in (["status"], ["logs", "field"], ["check"]):  # from any folder
        found = run(COMMAND, *command, cwd="/")
        assert found.returncode == 0, found.stdout + found.stderr
    assert "checked as user pi, as whom the supervisor runs" in found.stderr
    again = machine.command("service", "install", config=config)
    assert again.returncode == 0, again.stderr  # the user stays pi
    assert {Path(f"/proc/{pid}").owner() for pid in unit_pids()} == {"pi"}

    systemctl("stop", UNIT)
    found = run(COMMAND, "status", cwd="/")
    assert "start it with: sudo systemctl start flask-supervisor" in found.stderr
    done = machine.command("service", "install", "--user", "flask-supervisor")
    assert done.returncode == 0, done.stderr


def test_who_may_replace_what(machine: Machine) -> None:
    """Another user's code is served, with a note on what doesn't work."""
    write_app("foreign", folder=Path("/srv"))
    write_config({"foreign": {"port": 5002, "path": "/srv/foreign"}})
    done = machine.command("service", "install")
    assert done.returncode == 0, done.stderr
    assert "can't change it" in done.stdout
    assert "sudo chown -R flask-supervisor: /srv/foreign" in done.stdout
    assert ask(5002).text == "foreign\n"


def test_another_supervisor_is_named(machine: Machine) -> None:
    """A service that can't lock the state folder is not started; its holder is named."""
    systemctl("stop", UNIT)
    by_hand = f"exec {COMMAND} run --config {CONFIG}"
    systemctl_run = run("systemd-run", "--unit=by-hand", "--collect", "sh", "-c", by_hand)
    assert systemctl_run.returncode == 0, systemctl_run.stderr
    eventually(lambda: ask(6000, "/livez").status == 200)
    done = machine.command("service", "install")
    pid = properties("by-hand.service")["MainPID"]
    assert done.returncode == 1
    assert f"another supervisor runs as pid {pid}" in done.stderr
    systemctl("stop", "by-hand.service")
    for path in STATE.rglob("*"):  # that supervisor ran as root
        os.chown(path, STATE.stat().st_uid, STATE.stat().st_gid, follow_symlinks=False)


def test_an_invalid_configuration(machine: Machine) -> None:
    """Without an earlier one that worked, the reason is reported, and starts are delayed."""
    systemctl("stop", UNIT)
    shutil.rmtree(STATE / "config", ignore_errors=True)
    CONFIG.write_text(CONFIG.read_text().replace("port = 5001", "prot = 5001"))
    systemctl("start", "--no-block", UNIT)
    eventually(lambda: "prot: unknown key" in properties()["StatusText"])
    eventually(lambda: int(properties()["NRestarts"]) >= 1)
    assert "unknown key" in journal()
