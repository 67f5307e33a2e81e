"""Packages that single tests need, and the development environment doesn't."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_TIMEOUT_S = 900


def install(folder: Path, *packages: str) -> Path:
    """Install packages from the registry into ``folder`` and return it.

    Where that isn't possible the test is skipped, with the reason; in CI it fails.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--prefer-binary", "--no-compile"]
    ended = subprocess.run(
        [*command, "--target", str(folder), *packages],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if ended.returncode != 0:
        reason = f"{' '.join(packages)} can't be installed: {ended.stderr.strip()[-300:]}"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    return folder
