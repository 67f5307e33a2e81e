"""Descendants and marks: who started which process."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from children import lives, run_python
from harness import eventually

from supervisor.process import descent

PARENT = """
import subprocess, sys
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parent() -> Iterator["subprocess.Popen[str]"]:
    """A process that starts another one, in a session of its own, and prints its pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, descent.MARK: "1-2.345"},
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("has_files", [True, False])
def test_descendants(
    parent: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch, has_files: bool
) -> None:
    """Children and their children are found, also by a kernel without lists of children."""
    assert parent.stdout is not None
    grandchild = int(parent.stdout.readline())
    monkeypatch.setattr(descent, "_HAS_CHILDREN_FILES", has_files)
    assert descent.descendants(parent.pid) == [grandchild]
    assert {parent.pid, grandchild} <= set(descent.descendants(os.getpid()))
    assert descent.children_of(2**22 + 1) == []
    eventually(lambda: descent.mark_of(grandchild) == ("1-2", 345))
    descent.end_run("1-2")
    assert not lives(grandchild)
    assert descent.mark_of(grandchild) is None


@pytest.mark.parametrize("value", ["", "1-2", "1-2.", ".5", "1-2.x", "\udcff.1\udcff"])
def test_a_mark_of_somebody_else_is_none(value: str) -> None:
    """A value that is no mark of ours is ignored."""
    found = run_python(
        "import os, subprocess, sys\n"
        "from supervisor.process import descent\n"
        "print(descent.mark_of(os.getpid()))",
        **{descent.MARK: value},
    )
    assert found.stdout == "None\n", found.stderr
