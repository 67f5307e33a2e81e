"""The unit and its drop-ins: their settings, and systemd's verdict on them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY

from supervisor.config import installed, locate
from supervisor.config import reader as configuration
from supervisor.config.settings import Config
from supervisor.systemd import installation, unit_file
from supervisor.systemd.unit_file import (
    DROP_INS,
    FOLDER,
    INSTALLATION,
    RESTART_STEPS,
    UNIT,
    Machine,
)

needs_systemd = pytest.mark.debian("systemd", program="systemd-analyze")

MACHINE = Machine(
    user="flask-supervisor",
    group="flask-supervisor",
    login=False,
    command=("/bin/true",),
    code=(Path("/opt/flask-supervisor/venv"),),
    systemd_version=252,
)


def config(*, file: str = "/etc/flask-supervisor/supervisor.toml", **tables: Any) -> Config:
    """Return a configuration with one app."""
    app = {"target": "coach:app", "port": 5001, "path": "/opt/flask-supervisor/apps"}
    raw = {
        "supervisor": {"state_dir": "/var/lib/flask-supervisor"},
        "apps": {"coach": {**app, **tables.pop("app", {})}},
        **tables,
    }
    return configuration.parse(raw, Path(file))


def drop_in(found: Config, machine: Machine = MACHINE) -> list[str]:
    """Return the drop-in's settings of the service, without its comments."""
    lines = unit_file.installation(found, machine).splitlines()
    return [line for line in lines[lines.index("[Service]") :] if not line.startswith("#")]


def test_the_usual_drop_in() -> None:
    """For apps in /opt it names the command, the user and the code that deploys replace."""
    assert drop_in(config()) == [
        "[Service]",
        "ExecStart=",
        "ExecStart=/bin/true run --last-good-config --config /etc/flask-supervisor/supervisor.toml",
        "ExecReload=",
        "ExecReload=/bin/true reload --config /etc/flask-supervisor/supervisor.toml",
        "User=flask-supervisor",
        "Group=flask-supervisor",
        "ReadWritePaths=-/opt/flask-supervisor/apps",
    ]


def test_writable_folders_are_listed_once() -> None:
    """Folders of `writable` and the state folder are writable, relative ones by the file's."""
    found = config(
        supervisor={"state_dir": "/srv/state"},
        app={"writable": ["/srv/photos", "uploads", "/srv/photos"]},
    )
    assert [line for line in drop_in(found) if "ReadWritePaths" in line] == [
        "ReadWritePaths=-/srv/state",
        "ReadWritePaths=-/srv/photos",
        "ReadWritePaths=-/etc/flask-supervisor/uploads",
        "ReadWritePaths=-/opt/flask-supervisor/apps",
    ]


def test_what_lies_in_the_state_folder_is_writable_anyway() -> None:
    """Folders in the state folder, and /, are not listed."""
    found = config(app={"path": "/", "writable": ["/var/lib/flask-supervisor/x"]})
    assert "ReadWritePaths" not in unit_file.installation(found, MACHINE)


@pytest.mark.parametrize(
    ("found", "machine"),
    [
        (config(app={"path": "/home/pi/field"}), MACHINE),
        (config(file="/home/pi/supervisor.toml"), MACHINE),
        (config(app={"writable": ["/root/x"]}), MACHINE),
        (config(app={"python": "/home/pi/field/.venv/bin/python"}), MACHINE),
        (config(), replace(MACHINE, code=(Path("/opt/v"), Path("/home/pi/.pyenv")))),
    ],
)
def test_homes_are_shown_only_where_needed(found: Config, machine: Machine) -> None:
    """Code, configuration or data in a home folder relaxes ProtectHome, with the reason."""
    text = unit_file.installation(found, machine)
    assert "ProtectHome=read-only" in text
    assert "# Relaxed: /" in text
    assert "ProtectHome" not in unit_file.installation(config(), MACHINE)


def test_ports_of_root_need_a_capability() -> None:
    """A port below 1024 brings exactly the capability to bind it."""
    capability = "AmbientCapabilities=CAP_NET_BIND_SERVICE"
    assert capability in drop_in(config(app={"port": 80}))
    assert capability in drop_in(config(status={"port": 600}))
    assert capability not in drop_in(config())


def test_a_persons_account_may_use_its_devices() -> None:
    """Apps of pi reach GPIO and serial ports; the system user reaches none."""
    assert "PrivateDevices=no" in drop_in(config(), replace(MACHINE, user="pi", login=True))
    assert "PrivateDevices=no" not in drop_in(config())


def test_hardware_opens_its_devices_and_groups_only() -> None:
    """The system user reaches what `hardware` names; a group that is missing is left out."""
    machine = replace(MACHINE, groups=frozenset({"gpio", "dialout", "video"}))
    found = drop_in(config(app={"hardware": ["gpio", "i2c", "can"]}), machine)
    assert [line for line in found if "Device" in line or "Group" in line or "Famil" in line] == [
        "Group=flask-supervisor",
        "PrivateDevices=no",
        "DevicePolicy=closed",
        "DeviceAllow=char-gpiochip rw",
        "DeviceAllow=char-*gpiomem* rw",
        "DeviceAllow=char-i2c rw",
        "SupplementaryGroups=gpio",
        "RestrictAddressFamilies=AF_CAN",
    ]
    assert "Device" not in "".join(drop_in(config(app={"hardware": ["can"]}), machine))
    person = replace(machine, user="pi", login=True, uid=1000)
    found = drop_in(config(app={"hardware": ["serial"]}), person)
    assert "SupplementaryGroups=dialout" in found
    assert not any(line.startswith("Device") for line in found)  # it may use all of its own
    assert "Environment=XDG_RUNTIME_DIR=/run/user/1000" in found


def test_it_waits_for_every_mount() -> None:
    """Mounts of all folders are wanted, and none is required: a missing disk stops no port."""
    requires = [{"kind": "directory", "path": "/mnt/tftp"}]
    found = config(app={"writable": ["/srv/my photos"], "requires": requires})
    text = unit_file.installation(found, MACHINE)
    unit = text[: text.index("[Service]")]
    wanted = next(line for line in unit.splitlines() if line.startswith("Wants="))
    assert wanted.replace("Wants", "After") in unit
    for mount in (r"srv-my\x20photos.mount", "srv.mount", "mnt-tftp.mount", "var-lib.mount"):
        assert f" {mount}" in wanted
    assert "\nRequires" not in unit
    newer = unit_file.installation(found, replace(MACHINE, systemd_version=257))
    assert "WantsMountsFor=/etc/flask-supervisor /var/lib/flask-supervisor" in newer
    assert ' "/srv/my photos" /mnt/tftp' in newer


def test_folders_of_unix_sockets() -> None:
    """One in /run is made at each start; another one may be written to."""
    found = drop_in(config(app={"host": "unix:/run/field/coach.sock"}))
    assert "RuntimeDirectory=field" in found
    assert "RuntimeDirectoryPreserve=restart" in found
    assert "ReadWritePaths=-/srv/s" in drop_in(config(app={"host": "unix:/srv/s/coach.sock"}))
    assert not any("Runtime" in line for line in drop_in(config()))


@needs_systemd
def test_names_of_mounts_are_those_of_systemd() -> None:
    """The same as systemd-escape makes."""
    for path in ("/srv/photos", "/home/pi/my apps", "/.hidden/x.y", "/srv/50%/a-b", "/mnt/ü"):
        done = subprocess.run(
            ["systemd-escape", "--path", "--suffix=mount", path],
            capture_output=True,
            text=True,
            check=True,
        )
        assert unit_file.mount_unit(Path(path)) == done.stdout.strip()


def test_odd_paths_are_quoted() -> None:
    """Spaces, quotes, percent and dollar signs mean themselves."""
    found = config(
        file='/srv/a "b"/100%/$x.toml',
        app={"path": "/srv/my apps", "writable": ["/srv/50%"]},
    )
    lines = drop_in(found)
    assert (
        r'ExecStart=/bin/true run --last-good-config --config "/srv/a \"b\"/100%%/$$x.toml"'
        in lines
    )
    assert 'ReadWritePaths=-"/srv/my apps"' in lines
    assert "ReadWritePaths=-/srv/50%%" in lines


def test_growing_steps_where_systemd_has_them() -> None:
    """systemd before 254 doesn't know RestartSteps=: no file for it has the key."""
    old = unit_file.files(config(), MACHINE)
    new = unit_file.files(config(), replace(MACHINE, systemd_version=254))
    assert set(new) - set(old) == {RESTART_STEPS}
    assert "RestartSteps=" in new[RESTART_STEPS]
    assert not any("RestartSteps=" in text for text in old.values())


def test_the_unit_is_the_one_that_ships() -> None:
    """The unit is copied as it is."""
    shipped = (REPOSITORY / "systemd" / UNIT).read_text(encoding="utf-8")
    assert unit_file.files(config(), MACHINE)[FOLDER / UNIT] == shipped


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "NotifyAccess=main",
        "KillMode=process",
        "Restart=always",
        "RestartSec=100ms",
        "StartLimitIntervalSec=0",
        "OOMPolicy=continue",
    ],
)
def test_what_the_main_process_relies_on(line: str) -> None:
    """The unit has the settings that hand-over and endless restarts need."""
    assert line in unit_file.shipped().splitlines()


def written(folder: Path, found: Config, machine: Machine) -> Path:
    """Write the files of an installation into ``folder``, and return the unit's."""
    for path, text in unit_file.files(found, machine).items():
        if path == RESTART_STEPS:
            continue  # for a newer systemd than the tests may have
        target = folder / path.relative_to(FOLDER)
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder / UNIT


ODD = config(
    file='/srv/a "b"/100%/$x.toml',
    app={
        "path": "/home/pi/my apps",
        "host": "unix:/run/field/coach.sock",
        "writable": ["/srv/50%"],
        "hardware": ["gpio", "i2c", "spi", "serial", "camera", "audio", "can"],
    },
    status={"port": 80},
)


@needs_systemd
@pytest.mark.parametrize(
    ("found", "machine"),
    [(config(), MACHINE), (ODD, replace(MACHINE, user="root", group="root", login=True))],
)
def test_systemd_finds_nothing_to_complain_about(
    tmp_path: Path, found: Config, machine: Machine
) -> None:
    """`systemd-analyze verify` prints nothing: its exit code is 0 for unknown keys too."""
    unit = written(tmp_path, found, machine)
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_these_tests_would_see_a_mistake(tmp_path: Path) -> None:
    """An unknown key in a drop-in is a line of `systemd-analyze verify`."""
    unit = written(tmp_path, config(), MACHINE)
    drop = tmp_path / DROP_INS.name / INSTALLATION.name
    drop.write_text(drop.read_text() + "RestartStep=3\n")
    assert "RestartStep" in analyze("verify", str(unit)).stderr


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with the systemd of Debian 13, which is that of Raspberry Pi OS 13."""
    root = tmp_path_factory.mktemp("trixie")
    words = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--include=systemd"]
    words += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "trixie", str(root)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (root / "run").mkdir(exist_ok=True)
    for name in ("true", "kill"):  # the programs that the units start have to exist
        (root / "usr" / "bin" / name).write_text("#!/bin/sh\n")
        (root / "usr" / "bin" / name).chmod(0o755)
    return root


@pytest.mark.root
@pytest.mark.debian("mmdebstrap")
@pytest.mark.timeout(320)
def test_a_newer_systemd_finds_nothing_either(newer: Path) -> None:
    """systemd 257 knows every key, those of the drop-in for 254 and later too."""
    folder = newer / "units"
    for path, text in unit_file.files(config(), replace(MACHINE, systemd_version=257)).items():
        target = folder / path.relative_to(FOLDER)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    (folder / unit_file.SOCKET).write_text(unit_file.shipped(unit_file.SOCKET), encoding="utf-8")
    assert (folder / DROP_INS.name / RESTART_STEPS.name).exists()
    chroot = ["chroot", str(newer), "systemd-analyze"]
    done = subprocess.run(
        [*chroot, "verify", f"/units/{UNIT}", f"/units/{unit_file.SOCKET}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    words = ["security", "--offline=yes", "--no-pager", "--threshold=18", f"/units/{UNIT}"]
    done = subprocess.run([*chroot, *words], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0


@needs_systemd
def test_the_sandbox_is_tight() -> None:
    """`systemd-analyze security` rates the unit at 1.8 or less: "OK"."""
    unit = REPOSITORY / "systemd" / UNIT
    done = analyze("security", "--offline=yes", "--no-pager", "--threshold=18", str(unit))
    assert done.returncode == 0, done.stdout[-200:]


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze, which needs no running systemd for this."""
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_every_relaxation_is_explained() -> None:
    """The unit's comments name what the sandbox allows, with the reason."""
    text = unit_file.shipped()
    for key in (
        "PrivateNetwork",
        "IPAddressDeny",
        "PrivateUsers",
        "PrivateTmp",
        "ProcSubset",
        "MemoryDenyWriteExecute",
        "RemoveIPC",
        "AF_NETLINK",
    ):
        assert any(key in line for line in text.splitlines() if line.startswith("#")), key


# ---- its own command, and the installed files


def test_it_runs_this_very_installation() -> None:
    """The command is the script beside the interpreter, which needs no variable to be found."""
    command = unit_file.own_command()
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("flask-supervisor ")
    assert str(Path(sys.executable).parent) in command[0]


def test_what_differs_from_what_would_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing and changed files are named, others not."""
    same, changed, missing = (tmp_path / name for name in ("same", "changed", "missing"))
    same.write_text("text")
    changed.write_text("text, and more")
    wanted = dict.fromkeys((same, changed, missing), "text")
    assert installation.outdated_files(wanted) == [changed, missing]


def installing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Let the unit's files lie in ``folder``; return what writes the unit and a drop-in."""
    monkeypatch.setattr(installed, "UNIT", folder / UNIT)

    def write(drop_in: str) -> None:
        installed.UNIT.write_text(unit_file.shipped())
        folder.joinpath(f"{UNIT}.d").mkdir(exist_ok=True)
        folder.joinpath(f"{UNIT}.d", INSTALLATION.name).write_text(drop_in)

    return write


def test_the_user_of_an_installation_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade keeps the user that was chosen at first."""
    install = installing(tmp_path, monkeypatch)
    assert installed.installed_value("User") is None
    install(unit_file.installation(config(), replace(MACHINE, user="pi")))
    assert installed.installed_value("User") == "pi"
    assert installed.installed_value("ExecStart") == unit_file.exec_start(config(), MACHINE)
    assert installed.installed_command() == list(MACHINE.command)


@pytest.mark.parametrize("file", ["/etc/flask-supervisor/supervisor.toml", '/srv/a "b"/5%/$x.toml'])
def test_the_configuration_of_an_installation_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """An upgrade keeps the configuration, whatever lies in the current folder."""
    install = installing(tmp_path, monkeypatch)
    assert installed.installed_config() is None
    install(unit_file.installation(config(file=file), MACHINE))
    assert installed.installed_config() == Path(file)
    monkeypatch.chdir(tmp_path)
    assert locate.find(None, {"HOME": "/"}) == Path(file)
    installed.UNIT.unlink()
    assert installed.installed_config() is None, "what is left in a drop-in has no effect"
