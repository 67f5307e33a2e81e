"""What the tests of releases share."""

from pathlib import Path

import pytest
from app_code_case import INCLUDE, OTHERS, files_of
from importing_case import write
from release_case import make_app

from supervisor.releases.app_code import AppCode
from supervisor.releases.store import Releases


@pytest.fixture
def code(tmp_path: Path) -> AppCode:
    """Return the code of an app, version 1, in a folder with other things."""
    live = tmp_path / "live"
    write(live, {**files_of(1), **OTHERS})
    return AppCode(app="coach", path=live, include=INCLUDE, state_dir=tmp_path / "state")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the folder of an app."""
    folder = tmp_path / "live"
    folder.mkdir()
    return make_app(folder)


@pytest.fixture
def store(tmp_path: Path) -> Releases:
    """Return a store whose folder doesn't exist yet."""
    return Releases(tmp_path / "state" / "releases")
