"""`make` says what is missing before it does anything."""

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from harness import REPOSITORY


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run make on a copy of the Makefile, in an empty folder."""
    shutil.copy(REPOSITORY / "Makefile", folder)
    (folder / "pyproject.toml").touch()
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.debian("make")
@pytest.mark.parametrize("target", ["run", "test", "check", "bench"])
def test_a_missing_venv_module_is_named_with_its_package(tmp_path: Path, target: str) -> None:
    """If Debian's python3-venv is missing, make prints the command to install it."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "ensurepip.py").write_text("raise ModuleNotFoundError('ensurepip')\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}/blocked" exec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    result = make(tmp_path, target, f"PYTHON={python}")
    assert result.returncode == 2
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"sudo apt-get install python{version}-venv" in result.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.debian("make")
def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    """An interpreter that is too old is refused, with the way to name another one."""
    result = make(tmp_path, "run", "PYTHON=false")
    assert result.returncode == 2
    assert "Python 3.11 or newer is needed" in result.stderr
    assert "make run PYTHON=python3.13" in result.stderr


@pytest.mark.debian("make")
def test_make_alone_lists_the_targets(tmp_path: Path) -> None:
    """Without a target, make lists every target."""
    result = make(tmp_path)
    assert result.returncode == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    listed = {words[1] for words in lines if words[0] == "make"}
    phony = re.search(r"^\.PHONY: (.*)$", (tmp_path / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert listed == {*phony[1].split()}
