"""The last test: uninstalling removes the files; data stays until it is deleted too."""

import pwd

import pytest
from machine import (
    CONFIG,
    DROP_INS,
    PORTS,
    STATE,
    SYSTEM,
    UNIT,
    Machine,
    properties,
    refused,
    run,
    unit_pids,
)


def test_only_data_stays(machine: Machine) -> None:
    """Unit, drop-ins, links, processes and ports are gone; data and configuration stay."""
    done = machine.command("service", "uninstall")
    assert done.returncode == 0, done.stderr
    assert unit_pids() == []
    assert all(refused(port) for port in PORTS)
    assert not (SYSTEM / UNIT).exists()
    assert not DROP_INS.exists()
    assert list(SYSTEM.rglob("*flask-supervisor*")) == []
    assert properties()["LoadState"] == "not-found"
    units = run("systemctl", "list-units", "--all", "--no-legend", "--plain").stdout.splitlines()
    assert units
    assert not [line for line in units if "flask-supervisor" in line.split()[0]]  # by their names
    assert (STATE / "data" / "coach").is_dir()
    assert CONFIG.exists()
    again = machine.command("service", "uninstall")
    assert (again.returncode, again.stdout) == (
        0,
        "nothing to do: the service is not installed\n",
    )

    CONFIG.write_text(CONFIG.read_text().replace("[apps.coach]", "[apps.coach"))
    done = machine.command("service", "uninstall", "--delete-data")
    assert done.returncode == 0, done.stderr
    assert not STATE.exists()
    with pytest.raises(KeyError):
        pwd.getpwnam("flask-supervisor")
