"""What a new configuration changes, by the old one and the new one."""

from pathlib import Path

import pytest

from supervisor.config import reader
from supervisor.policy.config_changes import Changes, compare

OLD = """
[supervisor]
shutdown_timeout_s = 2
[status]
port = 6001
[apps.admin]
target = "admin:app"
port = 5002
[apps.coach]
target = "coach:app"
port = 5003
[apps.off]
target = "off:app"
port = 5004
enabled = false
"""
# what is written in place of what, and what that changes
CASES = [
    ("", "", Changes(), "nothing has changed"),
    (
        "[apps.off]",
        '[apps.third]\ntarget = "third:app"\nport = 5005\n[apps.off]',
        Changes(added=("third",)),
        "added: third",
    ),
    ("enabled = false", "", Changes(added=("off",)), "added: off"),
    ("port = 5003", "port = 5003\nenabled = false", Changes(removed=("coach",)), "removed: coach"),
    (
        "port = 5003",
        "port = 5006",
        Changes(moved=("coach",)),
        "on other ports, or with other apps: coach",
    ),
    (
        "port = 5003",
        'port = 5003\nhost = "127.0.0.1"',
        Changes(moved=("coach",)),
        "on other ports, or with other apps: coach",
    ),
    ("port = 5003", "port = 5003\nthreads = 9", Changes(changed=("coach",)), "changed: coach"),
    ("port = 5003", 'port = 5003\nenv = { A = "b" }', Changes(changed=("coach",)), None),
    ("port = 5003", 'port = 5003\npath = "elsewhere"', Changes(changed=("coach",)), None),
    ("port = 5003", "port = 5006\nthreads = 9", Changes(moved=("coach",)), None),
    ("port = 5004", "port = 5007", Changes(), "nothing has changed"),
    ("port = 6001", "port = 6002", Changes(status_moved=True), "the status port moved"),
    (
        "[supervisor]",
        '[supervisor]\nhost = "127.0.0.1"',
        Changes(moved=("admin", "coach"), status_moved=True),
        "on other ports, or with other apps: admin, coach; the status port moved",
    ),
    (
        "[supervisor]",
        '[supervisor]\nlog_level = "debug"\nstate_dir = "there"',
        Changes(fixed=("supervisor.state_dir", "supervisor.log_level")),
        "in effect after a restart of the supervisor: supervisor.state_dir, supervisor.log_level",
    ),
    (
        "shutdown_timeout_s = 2",
        "shutdown_timeout_s = 3\n[bind]\nfactor = 3",
        Changes(taken=("supervisor.shutdown_timeout_s", "bind.factor")),
        "in effect now: supervisor.shutdown_timeout_s, bind.factor",
    ),
]


def load(folder: Path, text: str) -> reader.Config:
    """Return the configuration of ``text``."""
    file = folder / "supervisor.toml"
    file.write_text(text)
    return reader.load(file)


@pytest.mark.parametrize(("written", "replaced", "changes", "text"), CASES)
def test_what_has_changed(
    tmp_path: Path, written: str, replaced: str, changes: Changes, text: str | None
) -> None:
    """Exactly what differs is named, and said in one line."""
    assert written in OLD
    found = compare(load(tmp_path, OLD), load(tmp_path, OLD.replace(written, replaced, 1)))
    assert found == changes
    assert text in (None, str(found))


def test_all_at_once(tmp_path: Path) -> None:
    """Apps that come, go, move and change are in different lists."""
    new = """
[status]
port = 6001
[apps.third]
target = "third:app"
port = 5003
[apps.admin]
target = "admin:create()"
port = 5002
"""
    found = compare(load(tmp_path, OLD), load(tmp_path, new))
    assert found == Changes(added=("third",), removed=("coach",), changed=("admin",))
    assert str(found) == "added: third; removed: coach; changed: admin"


def test_an_environment_file_counts(tmp_path: Path) -> None:
    """Its content is part of the configuration, though the configuration is the same."""
    file, text = tmp_path / "coach.env", OLD.replace("5003", '5003\nenv_file = "coach.env"')
    file.write_text("A=1\n")
    old = load(tmp_path, text)
    assert compare(old, load(tmp_path, text)) == Changes()
    file.write_text("A=2\n")
    assert compare(old, load(tmp_path, text)) == Changes(changed=("coach",))
