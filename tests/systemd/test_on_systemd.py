"""Runs tests/systemd/inside on a real systemd, all in one boot, and reports each of them."""

import ast
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from harness import REPOSITORY

WITH_SYSTEMD = REPOSITORY / "tests" / "systemd" / "with-systemd"
INNER = REPOSITORY / "tests" / "systemd" / "inside"
PYTHON = "/usr/bin/python3"  # the installation's: one that every user may run
LIMIT_S = 500
CANNOT = 77  # with-systemd: this machine can't do it

pytestmark = [
    pytest.mark.root,
    pytest.mark.debian("systemd", program="systemd-analyze"),
    pytest.mark.debian("dbus", program="dbus-daemon"),
    pytest.mark.debian("faketime"),
    pytest.mark.debian("python3-venv", program=PYTHON),
    pytest.mark.timeout(LIMIT_S + 100),
]


def names() -> list[str]:
    """Return the tests there are, without importing them: "file::function"."""
    found = []
    for file in sorted(INNER.glob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.append(f"{file.stem}::{node.name}")
    return found


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that an installation needs, since there is no network inside."""
    folder = tmp_path_factory.mktemp("wheels")
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, check=True)
    source = tmp_path_factory.mktemp("source") / "source"
    ignore = shutil.ignore_patterns(".*", "tests", "docs", "build", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, source, ignore=ignore)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run(*pip, "wheel", "--no-deps", "-w", folder, source)
    [own] = folder.glob("*.whl")
    only = ["--only-binary=:all:", "--python-version", version.stdout.strip()]
    _run(*pip, "download", *only, "-d", folder, own, "setuptools>=77")
    return folder


def _run(*words: object) -> None:
    done = subprocess.run(
        [str(word) for word in words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def outcomes(
    wheels: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, list[str]], str]:
    """The failures of each inner test, by its name, and all that was printed."""
    folder = tmp_path_factory.mktemp("outcomes")
    report = folder / "report.xml"
    inner = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", "-s"]
    words = [WITH_SYSTEMD, "--", *inner, f"--junitxml={report}", INNER]
    done = subprocess.run(
        [str(word) for word in words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=REPOSITORY,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
            "WITH_SYSTEMD_RW": f"{folder}:{wheels}",
            "WITH_SYSTEMD_TIMEOUT": str(LIMIT_S),
            "WITH_SYSTEMD_QUIET": "1",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_CONFIG_FILE": os.devnull,
        },
        check=False,
    )
    if done.returncode == CANNOT:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert report.exists(), done.stdout[-5000:]
    found: dict[str, list[str]] = {}
    for case in xml.parse(report).iter("testcase"):
        file = case.attrib["classname"].rpartition(".")[2]
        name = f"{file}::{case.attrib['name'].partition('[')[0]}"
        problems = [
            child.text or child.attrib.get("message", "")
            for child in case
            if child.tag in ("failure", "error", "skipped")
        ]
        found.setdefault(name, []).extend(problems)
    return found, done.stdout


@pytest.mark.parametrize("name", names())
def test_on_systemd(outcomes: tuple[dict[str, list[str]], str], name: str) -> None:
    """The inner test of that name has run, and has passed."""
    found, printed = outcomes
    assert name in found, printed[-5000:]
    assert not found[name], "\n".join(found[name])


def test_nobody_was_refused(
    outcomes: tuple[dict[str, list[str]], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The clients' results during restarts, crashes and upgrades are shown, without a failure."""
    lines = [line for line in outcomes[1].splitlines() if " refused, " in line]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
    assert len(lines) >= 4
    assert all(" 0 refused, 0 lost" in line for line in lines)
