"""What the status worker is told each second: the whole picture, or that the last one holds."""

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.pushing import Pushing

PICTURE = {"type": "picture"}


class Told(SimpleNamespace):
    """A worker that only remembers what it was sent."""

    def __init__(self, *, unsent: bytes = b"") -> None:
        super().__init__(channel=SimpleNamespace(unsent=unsent), sent=[])

    def send(self, message: dict[str, Any]) -> None:
        """Remember it."""
        self.sent.append(message["type"])


def test_while_nothing_happens_it_is_said_that_the_picture_holds() -> None:
    """It is made once, and again after five seconds."""
    pushing, worker = Pushing(), Told()
    pushing.push([worker], lambda: PICTURE, figures=7, now=100.0)
    said = [pushing.push_nothing_new([worker], figures=7, now=100.0 + s) for s in range(1, 7)]
    assert said == [True, True, True, True, False, False]
    assert worker.sent == ["picture", "alive", "alive", "alive", "alive"]


@pytest.mark.parametrize("what", ["news", "figures", "another worker", "never made"])
def test_what_makes_a_new_picture(what: str) -> None:
    """Anything that happened, other figures, and a worker that has not seen this picture."""
    pushing, worker, other = Pushing(), Told(), Told()
    if what != "never made":
        pushing.push([worker], lambda: PICTURE, figures=7, now=100.0)
    if what == "news":
        pushing.news()
    workers = [worker, other] if what == "another worker" else [worker]
    figures = 8 if what == "figures" else 7
    assert not pushing.push_nothing_new(workers, figures=figures, now=101.0)
    assert "alive" not in worker.sent + other.sent
    pushing.push(workers, lambda: PICTURE, figures=figures, now=101.0)
    assert pushing.push_nothing_new(workers, figures=figures, now=102.0)


def test_one_that_does_not_read_is_told_nothing_and_gets_the_whole_later() -> None:
    """What it has not read yet is not added to."""
    pushing, slow, worker = Pushing(), Told(unsent=b"x"), Told()
    pushing.push([slow, worker], lambda: PICTURE, figures=0, now=100.0)
    assert (slow.sent, worker.sent) == ([], ["picture"])
    slow.channel.unsent = b""
    assert not pushing.push_nothing_new([slow, worker], figures=0, now=101.0)


def test_without_a_status_worker_no_picture_is_made() -> None:
    """It would be work for nothing."""

    def make() -> dict[str, Any]:
        raise AssertionError("nobody is there")

    Pushing().push([], make, figures=0, now=100.0)
