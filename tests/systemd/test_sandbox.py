"""Errors that the unit's sandbox causes are recognised, and their hint names the key to set."""

import errno
import os
from pathlib import Path

import pytest
from harness import REPOSITORY

from supervisor.systemd import sandbox
from supervisor.worker.importing import import_app

READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS), "/srv/x/file")


def under_unit(folder: Path) -> dict[str, str]:
    """Return the environment of an app under the unit."""
    return {"INVOCATION_ID": "1", sandbox.DATA_VARIABLE: str(folder)}


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (READ_ONLY, True),
        (PermissionError(errno.EACCES, "Permission denied", "/home/pi/x"), True),
        (PermissionError(errno.EACCES, "Permission denied", "/root/.config"), True),
        (PermissionError(errno.EACCES, "Permission denied", "/srv/x"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (OSError(errno.ENOSPC, "No space left on device", "/srv/x"), False),
    ],
)
def test_which_errors_may_be_the_sandboxs(tmp_path: Path, error: OSError, named: bool) -> None:
    """Read-only folders, and homes that are hidden, are the sandbox's doing."""
    assert (sandbox.hint(error, under_unit(tmp_path)) is not None) is named


def test_without_a_unit_it_is_not_the_sandbox(tmp_path: Path) -> None:
    """Without a unit, or with a data folder that is not writable either, the cause is another."""
    assert sandbox.hint(READ_ONLY, {sandbox.DATA_VARIABLE: str(tmp_path)}) is None
    assert sandbox.hint(READ_ONLY, {"INVOCATION_ID": "1"}) is None
    assert sandbox.hint(READ_ONLY, under_unit(tmp_path / "gone")) is None


def test_the_hint_is_in_the_report_of_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app that writes to a read-only folder during its import gets the key to set as hint."""
    (tmp_path / "writer.py").write_text(
        "import errno\nraise OSError(errno.EROFS, 'Read-only file system', '/srv/x/log')\n"
    )
    for name, value in under_unit(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    app, report = import_app("writer:app", tmp_path, timeout_s=10)
    assert app is None
    assert report is not None
    assert report.hint is not None
    assert "`writable`" in report.hint
    assert "/srv" not in report.hint + report.message  # it is public


def test_paths_in_printed_errors() -> None:
    """Refused paths are found in tracebacks and in apps' own messages, each once."""
    lines = [
        "OSError: [Errno 30] Read-only file system: '/srv/x/log'",
        "could not save: [Errno 30] Read-only file system: '/srv/x/log'!",
        "PermissionError: [Errno 13] Permission denied: '/home/pi/a b'",
        "PermissionError: [Errno 13] Permission denied: '/etc/shadow'",
        'OSError: [Errno 30] Read-only file system: "/srv/it\'s"',
        "FileNotFoundError: [Errno 2] No such file or directory: '/srv/y'",
        "[Errno 30] without a path",
    ]
    assert sandbox.forbidden_paths(lines) == ["/srv/x/log", "/home/pi/a b", "/srv/it's"]


@pytest.mark.parametrize(
    ("path", "folder"), [("/srv/x/log", "/srv/x"), ("/data", "/data"), ("/a/b", "/a")]
)
def test_the_folder_to_allow(path: str, folder: str) -> None:
    """The folder to allow is that of the file, but never the root folder."""
    assert sandbox.folder_to_allow(path) == Path(folder)


def row(rule: sandbox.Rule) -> str:
    """Return the row of a rule in the documentation."""
    settings = " ".join(f"`{setting}`" for setting in rule.settings)
    allow = f"set {rule.key}, then `service install`" if rule.key else settings
    directives = ", ".join(f"`{directive}`" for directive in rule.directives)
    return f"| {rule.name} | {directives} | `{rule.shown}` | {allow} |"


@pytest.mark.parametrize("rule", sandbox.RULES, ids=lambda rule: rule.name)
def test_the_documentation_has_the_same_table(rule: sandbox.Rule) -> None:
    """Each rule is a row; the hint says where to look, or which key to set."""
    text = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")
    assert row(rule) in text
    assert rule.name in rule.hint
    assert (rule.key or "docs/operating.md") in rule.hint


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ('sudo: The "no new privileges" flag is set, which prevents sudo', "sudo"),
        ("sudo: effective uid is not 0, is /usr/bin/sudo on a file system", "sudo"),
        ("ping: socktype: SOCK_RAW\nping: socket: Operation not permitted", "raw sockets"),
        ("PermissionError: [Errno 1] Operation not permitted: '/usr/bin/ping'", "raw sockets"),
        ("    s = socket(AF_INET, SOCK_RAW, 1)\nPermissionError: [Errno 1] Operation", "raw"),
        ("    bus = can.Bus('can0')\n  File x\n    y()\nOSError: [Errno 97] Address", "CAN"),
        ("  sock = bluetooth.BluetoothSocket()\nOSError: [Errno 97] Address", "Bluetooth"),
        ("    os.nice(-5)\n    ~~~~^^^\nPermissionError: [Errno 1] Operation", "nice"),
        ("nice: cannot set niceness: Permission denied", "nice"),
        ("chrt: failed to set pid 0's policy: Operation not permitted", "real-time"),
        ("sqlite3.OperationalError: attempt to write a readonly database", "SQLite"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/dev/i2c-1'", "devices"),
        ("serial: could not open port /dev/ttyUSB0: [Errno 2]", "devices"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/dev/mapper'", None),
        ("    os.kill(1, 9)\nPermissionError: [Errno 1] Operation not permitted", None),
        ("OSError: [Errno 97] Address family not supported by protocol", None),
    ],
)
def test_symptoms_are_recognised(printed: str, name: str | None) -> None:
    """Each symptom has its rule, and an ordinary error has none."""
    rules = sandbox.rules_for(f"before\n{printed}\nafter")
    assert [rule.name[: len(name or "")] for rule in rules] == ([name] if name else [])
