"""Fixtures for the tests on a real systemd, which run as root of a throw-away machine:

    tests/systemd/with-systemd -- .venv/bin/python -m pytest tests/systemd/inside

`tests/systemd/test_on_systemd.py` does that, with the packages that the installation needs at hand.
"""

import os
from collections.abc import Iterator

import pytest

INSIDE = "WITH_SYSTEMD_PID" in os.environ  # set by with-systemd
collect_ignore_glob = [] if INSIDE else ["test_*.py"]

if INSIDE:
    from machine import Machine

    @pytest.fixture(scope="session")
    def fresh() -> Iterator[Machine]:
        """A machine on which the one command of the README has run, once."""
        made = Machine()
        made.install()
        yield made
        made.forget_load()

    @pytest.fixture
    def machine(fresh: Machine) -> Machine:
        """The machine with the service as it was installed, all of it running."""
        fresh.reset()
        return fresh
