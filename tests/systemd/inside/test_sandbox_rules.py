"""What the unit's sandbox forbids: each symptom has its hint, and what the table allows works."""

import contextlib
import json
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from harness import ask, eventually
from machine import (
    CONFIG,
    DROP_INS,
    INSTALLATION,
    STATE,
    Machine,
    app_health,
    properties,
    run,
    systemctl,
    write_app,
    write_config,
)

from supervisor.systemd.sandbox import RULES

SUID_ID, DATABASE, DEVICE = Path("/srv/suid/id"), Path("/srv/db/x.db"), Path("/dev/gpiochip0")

# By the rule: what an app does. Where the kernel has no such sockets, the filter is what counts.
TRIES = {
    "sudo and other set-user-ID programs": f"""
    if subprocess.check_output(["{SUID_ID}", "-u"]) != b"0\\n":
        raise PermissionError("sudo: effective uid is not 0")""",
    "raw sockets (ping)": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()",
    "CAN sockets": "socket.socket(socket.AF_CAN, socket.SOCK_RAW, 1).close()",
    "Bluetooth sockets": "socket.socket(AF_BLUETOOTH, socket.SOCK_STREAM, 3).close()",
    "nice": "os.nice(-1)",
    "real-time scheduling": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    "SQLite in a read-only folder": f"""
    with sqlite3.connect("{DATABASE}") as database:
        database.execute("insert into x values (1)")""",
    "devices": f'open("{DEVICE}").close()',
}
NEEDS_KERNEL = ("CAN sockets", "Bluetooth sockets")
APP = """
import os, socket, sqlite3, subprocess, traceback
from flask import Flask
app = Flask(__name__)
AF_BLUETOOTH = 31
TRIES = {tries}

@app.get("/<int:number>")
def try_it(number):
    file = __file__ + ".tried"
    try:
        exec(compile(TRIES[number], file, "exec"))
    except Exception as error:
        print("    " + TRIES[number].strip().splitlines()[-1])
        print("{{}}: {{}}".format(type(error).__name__, error), flush=True)
        return repr(error)
    return "ok"
"""


def tries(port: int = 5001) -> dict[str, str]:
    """Let the app try everything; return what it says, by the rule."""
    eventually(lambda: ask(port, "/4").status == 200, timeout_s=30)
    return {name: ask(port, f"/{number}").text for number, name in enumerate(TRIES)}


def prepare() -> None:
    """Make a set-user-ID program, a database, and a device of the group gpio."""
    SUID_ID.parent.mkdir(exist_ok=True)
    shutil.copy("/usr/bin/id", SUID_ID)
    SUID_ID.chmod(0o4755)
    DATABASE.parent.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(DATABASE)) as database:
        database.execute("create table x (y)")
    run("chown", "-R", "flask-supervisor:", DATABASE.parent)
    run("groupadd", "--system", "gpio")
    if not DEVICE.exists():
        os.mknod(DEVICE, stat.S_IFCHR | 0o660, os.makedev(1, 3))
    shutil.chown(DEVICE, "root", "gpio")


def ask_until_ready(name: str) -> None:
    """Wait until an app is ready; say why it is not."""

    def is_ready() -> bool:
        found = app_health(name)
        assert found.get("state") == "ready", found
        return True

    eventually(is_ready, timeout_s=30)


def settings(machine: Machine, lines: list[str]) -> None:
    """Put settings into a drop-in of the operator, and start the service anew."""
    (DROP_INS / "90-test.conf").write_text("\n".join(["[Service]", *lines]) + "\n")
    systemctl("daemon-reload")
    machine.start_anew()


@pytest.mark.timeout(300)
def test_the_table(machine: Machine) -> None:
    """Everything in it is forbidden and explained, and works with what the table says."""
    assert list(TRIES) == [rule.name for rule in RULES]
    prepare()
    body = [f"if True:{code}" if code.startswith("\n") else code for code in TRIES.values()]
    write_app("trier", APP.format(tries=body))
    write_app("early", "import os\nos.nice(-1)\n")
    both = {"trier": {"port": 5001}, "early": {"port": 5002}}
    write_config(both)
    machine.start_anew()
    refused = tries()
    assert [name for name, answer in refused.items() if answer == "ok"] == []
    assert "forbids nice" in eventually(lambda: app_health("early")["hint"])
    found = {one["hint"] for one in json.loads(machine.command("doctor", "--json").stdout)}
    assert [rule.name for rule in RULES if rule.hint not in found] == []

    opened = {"hardware": ["gpio", "can"], "writable": [str(DATABASE.parent)]}
    write_config({**both, "trier": {"port": 5001, **opened}})
    done = machine.command("service", "install")
    assert done.returncode == 0, done.stderr
    sudo, *others = RULES
    settings(machine, [setting for rule in others for setting in rule.settings])
    allowed = tries()
    wrong = {
        name: answer
        for name, answer in allowed.items()
        if answer != "ok" and name != sudo.name and name not in NEEDS_KERNEL
    }
    assert wrong == {}
    shown = properties()
    assert "AF_CAN" in shown["RestrictAddressFamilies"]
    assert "AF_BLUETOOTH" in shown["RestrictAddressFamilies"]
    assert shown["SupplementaryGroups"] == "gpio"
    assert shown["DevicePolicy"] == "closed"
    assert "gpio" in shown["DeviceAllow"] and "i2c" not in shown["DeviceAllow"]
    eventually(lambda: app_health("early")["reason"] != app_health("early")["hint"])

    settings(machine, list(sudo.settings))
    assert tries()[sudo.name] == "ok"


def test_a_socket_in_run_for_a_reverse_proxy(machine: Machine) -> None:
    """Its folder is made at each start, and another user can connect."""
    write_app("good")
    write_config({"good": {"host": "unix:/run/field/good.sock"}})
    done = machine.command("service", "install")
    assert done.returncode == 0, done.stderr
    code = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/field/good.sock')"

    def connects() -> bool:
        user = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        done = run("setpriv", *user, "/usr/bin/python3", "-c", code)
        assert done.returncode == 0, done.stderr + str(app_health("good"))
        return True

    eventually(connects)
    machine.start_anew()
    eventually(connects)


def test_a_missing_folder_is_said(machine: Machine) -> None:
    """`service install` names a folder of `writable` that is not there, and starts anyway."""
    write_app("good")
    write_config({"good": {"port": 5001, "writable": ["/srv/not-there"]}})
    done = machine.command("service", "install")
    assert done.returncode == 0, done.stderr
    assert "/srv/not-there of `writable` does not exist" in " ".join(done.stdout.split())
    assert f"# As RequiresMountsFor={CONFIG.parent} " in INSTALLATION.read_text()


def test_what_apps_write_others_may_read(machine: Machine) -> None:
    """The umask of the unit is for the supervisor's files: an app has that of a login."""
    source = "import os, pathlib\nfolder = pathlib.Path(os.environ['FLASK_SUPERVISOR_DATA_DIR'])\n"
    app = "(folder / 'out').write_text('x')\nfrom flask import Flask\napp = Flask(__name__)\n"
    write_app("writer", source + app)
    write_config({"writer": {"port": 5001}})
    machine.start_anew()
    ask_until_ready("writer")
    assert stat.S_IMODE((STATE / "data" / "writer" / "out").stat().st_mode) == 0o644
