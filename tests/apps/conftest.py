"""Fixtures for tests of the admin app."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from admin_case import ScriptedSupervisor, scripted

from supervisor.client import SOCKET_VARIABLE


@pytest.fixture
def speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedSupervisor]:
    """Yield a scripted supervisor, which is started by calling it; nothing may be left of it."""
    before = sorted(os.listdir("/proc/self/fd")), threading.active_count()
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "control.sock"))
    with scripted(tmp_path / "control.sock") as made:
        yield made
    assert (sorted(os.listdir("/proc/self/fd")), threading.active_count()) == before
