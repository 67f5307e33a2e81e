"""Fixtures and hooks for all tests."""

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Project
from hypothesis import HealthCheck, settings

# The time of an example depends more on a busy machine than on the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts background jobs so
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the commands under test need it


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A folder for apps; its supervisors are stopped, and must leave no process behind."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    yield made
    made.clean_up()


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    """Fail a test that leaves a socket or a thread in the test process, which then can't fork."""
    before, threads = _sockets(), set(threading.enumerate())
    yield
    left = _sockets() - before
    assert not left, f"sockets left open: {left}"
    running = set(threading.enumerate()) - threads
    for thread in running:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in running), f"threads left: {running}"


def _sockets() -> set[str]:
    links = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if link.startswith("socket:"):
            links.add(link)
    return links


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that can't run here, and name what is missing."""
    for mark in item.iter_markers("debian"):
        package, program = mark.args[0], mark.kwargs.get("program", mark.args[0])
        if shutil.which(program) is None:
            pytest.skip(f"needs the Debian package {package}: sudo apt-get install {package}")
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root: sudo make test")
    if item.get_closest_marker("ipv6") and not _has_ipv6():
        pytest.skip("needs a kernel with IPv6")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


pytest_plugins = ["required", "server_process"]
