"""Waiting for a condition: it ends with the change that makes it true, or at its deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from supervisor.supervision.changes import ChangeSignal

T = TypeVar("T")
LONG_S = 60.0


def run(case: Callable[[ChangeSignal], Awaitable[T]]) -> T:
    """Run ``case`` on a loop of its own; a wait that doesn't end fails it."""

    async def limited() -> T:
        async with asyncio.timeout(10):
            return await case(ChangeSignal())

    return asyncio.run(limited())


def test_what_is_true_already_is_not_waited_for() -> None:
    """Even with no time at all."""
    assert run(lambda signal: signal.wait_for(lambda: "now", timeout_s=0)) == "now"


def test_a_wait_ends_with_the_change_that_makes_it_true() -> None:
    """Changes before that check the condition, and nothing else does."""
    values = iter([None, None, None, "there"])
    checks = []

    async def case(signal: ChangeSignal) -> str | None:
        def condition() -> str | None:
            checks.append(next(values))
            return checks[-1]

        waiting = asyncio.create_task(signal.wait_for(condition, timeout_s=LONG_S))
        for expected in (1, 2, 3):
            for _ in range(5):  # whatever could run, runs
                await asyncio.sleep(0)
            assert len(checks) == expected
            signal.notify()
        return await waiting

    assert run(case) == "there"
    assert len(checks) == 4


def test_a_wait_ends_at_its_deadline() -> None:
    """With None, after the condition was checked once more."""
    checks = []

    async def case(signal: ChangeSignal) -> bool | None:
        return await signal.wait_for(lambda: bool(checks.append(1)), timeout_s=0.05)

    assert run(case) is None
    assert len(checks) == 2


def test_a_change_without_anybody_who_waits() -> None:
    """Listeners are called, and the next snapshot has something new."""

    async def case(signal: ChangeSignal) -> list[int]:
        heard: list[int] = []
        signal.subscribe(lambda: heard.append(1))
        signal.unseen = False
        signal.notify()
        assert signal.unseen
        signal.unseen = False
        signal.mark()
        assert signal.unseen
        return heard

    assert run(case) == [1]


def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    """A client that disconnects ends its wait; later changes find nobody."""

    async def case(signal: ChangeSignal) -> int:
        waiting = asyncio.create_task(signal.wait_for(lambda: False, timeout_s=LONG_S))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        signal.notify()
        return len(signal._waiters)

    assert run(case) == 0
