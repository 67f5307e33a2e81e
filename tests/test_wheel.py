"""The wheel has every file that an installation needs."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from harness import REPOSITORY

_NOT_SOURCES = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "docs")
SHARED = "data/share/flask-supervisor/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in a wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(REPOSITORY, folder / "source", ignore=_NOT_SOURCES)
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, folder / "source"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return archive.namelist()


@pytest.mark.parametrize("package", ["supervisor", "apps"])
def test_it_has_every_file_of_a_package(wheel: list[str], package: str) -> None:
    """Modules, templates and static files are all in it, and nothing else of the package."""
    files = {
        str(file.relative_to(REPOSITORY))
        for file in (REPOSITORY / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith(".")
    }
    assert {name for name in wheel if name.startswith(f"{package}/")} == files


def test_it_has_the_examples_and_the_unit(wheel: list[str]) -> None:
    """After an installation they lie in share/flask-supervisor of the environment."""
    shared = {name.partition(SHARED)[2] for name in wheel if SHARED in name}
    files = {
        str(file.relative_to(REPOSITORY))
        for folder in ("systemd", "monitoring")
        for file in (REPOSITORY / folder).rglob("*")
        if file.is_file()
    }
    assert shared == {"supervisor.toml", *files}


def test_it_has_nothing_else(wheel: list[str]) -> None:
    """No tests, no state folder and no cache lands among a user's packages."""
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.startswith("flask_supervisor-")} == {
        "supervisor",
        "apps",
    }
    assert [name for name in wheel if "__pycache__" in name or "/." in name] == []
