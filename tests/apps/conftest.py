"""Fixtures for tests of the admin app."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from admin_case import ScriptedSupervisor, scripted
from harness import eventually

from supervisor.client import SOCKET_VARIABLE


@pytest.fixture
def speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedSupervisor]:
    """Yield a scripted supervisor, which is started by calling it; nothing may be left of it."""
    before = _held()
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "control.sock"))
    with scripted(tmp_path / "control.sock") as made:
        yield made
    # a thread that asks for other machines has its answer, and ends
    eventually(lambda: _held() == before, what="nothing is left")


def _held() -> tuple[list[str], int]:
    return sorted(os.listdir("/proc/self/fd")), threading.active_count()
