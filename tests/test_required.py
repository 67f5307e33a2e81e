"""The rule of CI: a test that was skipped has not passed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = """
import pytest

@pytest.mark.skip(reason="marked")
def test_marked(): pass

def test_called(): pytest.skip("called")

@pytest.mark.xfail(reason="known", strict=True)
def test_expected(): assert False

def test_passing(): pass
"""


@pytest.mark.parametrize(
    ("require_all", "code", "closing"),
    [("", 0, "1 passed, 3 skipped, 1 xfailed"), ("1", 2, "1 error")],
)
def test_a_skip_is_a_failure_where_all_is_required(
    tmp_path: Path, require_all: str, code: int, closing: str
) -> None:
    """With REQUIRE_ALL set, skips of tests and of whole modules are failures; xfail is not."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["required"]\n')
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "test_module.py").write_text(
        'import pytest\npytest.skip("whole", allow_module_level=True)\n'
    )
    run = _pytest(tmp_path, require_all)
    assert (run.returncode, closing in run.stdout) == (code, True), run.stdout
    if require_all:
        (tmp_path / "test_module.py").unlink()
        run = _pytest(tmp_path, require_all)
        assert "1 failed, 1 passed, 1 xfailed, 1 error" in run.stdout, run.stdout
        assert "Skipped: called" in run.stdout


def _pytest(folder: Path, require_all: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", folder],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTEST_ADDOPTS": "",
            "REQUIRE_ALL": require_all,
        },
        check=False,
    )
