"""How many threads a pool should have: a decision that gets the time as an argument."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.server.pool_size import (
    CPU_SHARE_MAX,
    GROW_AFTER_S,
    SHRINK_AFTER_S,
    Load,
    PoolState,
    resized,
)

NOW = 1000.0
STUCK = Load(threads=4, busy=4, queue=3, head_wait_s=GROW_AFTER_S, answered=0, cpu_share=None)
IDLE = Load(threads=16, busy=0, queue=0, head_wait_s=0.0, answered=0, cpu_share=None)
POOL = PoolState(minimum=4, maximum=32)


@pytest.mark.parametrize(
    ("load", "expected", "why"),
    [
        (STUCK, 7, "as many more as wait"),
        (replace(STUCK, queue=100), 8, "at most twice as many at a time"),
        (replace(STUCK, queue=0, head_wait_s=0.0), 4, "nobody waits"),
        (replace(STUCK, head_wait_s=0.019), 4, "not long enough"),
        (replace(STUCK, threads=7), 7, "idle threads are about to take what waits"),
        (replace(STUCK, threads=6), 7, "one of them finds no thread"),
        (replace(STUCK, threads=32, busy=32), 32, "the limit is reached"),
        (replace(STUCK, threads=30, busy=30, queue=9), 32, "no more than the limit"),
        (replace(STUCK, threads=32, busy=32, long=2), 34, "streams have threads of their own"),
        (replace(STUCK, threads=232, busy=232, long=220), 232, "but no more than LONG_MAX"),
        (replace(STUCK, threads=0, busy=0, queue=1, head_wait_s=0.0), 1, "there is none"),
        (replace(STUCK, answered=3), 7, "not even one answer a thread"),
        (replace(STUCK, answered=9), 4, "the queue moves, and the reason is not known"),
        (replace(STUCK, answered=9, cpu_share=0.1), 7, "threads wait for something"),
        (replace(STUCK, answered=9, cpu_share=CPU_SHARE_MAX), 4, "more threads don't help"),
        (replace(STUCK, answered=3, cpu_share=1.0), 7, "some are stuck, some compute"),
    ],
)
def test_a_pool_grows_when_its_queue_stands_still(load: Load, expected: int, why: str) -> None:
    """Threads are added while requests wait, unless the interpreter is the limit."""
    assert resized(POOL, load, NOW)[1] == expected, why


def test_a_pool_of_a_fixed_size_never_grows() -> None:
    """Its app may not stand more threads, however many of them are held by streams."""
    fixed = PoolState(minimum=4, maximum=4)
    assert resized(fixed, replace(STUCK, long=4), NOW)[1] == 4


def test_a_pool_grows_step_by_step() -> None:
    """The next step waits until the last one had time to take effect."""
    pool, threads = resized(POOL, replace(STUCK, queue=100), NOW)
    grown = replace(STUCK, threads=threads, busy=threads, queue=96)
    assert resized(pool, grown, NOW + GROW_AFTER_S / 2)[1] == 8
    assert resized(pool, grown, NOW + 1.1 * GROW_AFTER_S)[1] == 16


def test_a_pool_shrinks_to_what_it_needed() -> None:
    """After a while it has as many threads as were busy at the same time."""
    pool = PoolState(minimum=4, maximum=32, peak_since=NOW)
    pool, threads = resized(pool, replace(IDLE, busy=9), NOW + 1)
    assert threads == 16
    pool, threads = resized(pool, IDLE, NOW + SHRINK_AFTER_S - 1)
    assert threads == 16
    pool, threads = resized(pool, IDLE, NOW + SHRINK_AFTER_S)
    assert threads == 9
    pool, threads = resized(pool, replace(IDLE, threads=9), NOW + SHRINK_AFTER_S + 1)
    assert threads == 9
    pool, threads = resized(pool, replace(IDLE, threads=9), NOW + 2 * SHRINK_AFTER_S)
    assert threads == 4


def test_bursts_keep_the_threads_that_they_need() -> None:
    """A burst every 20 s keeps the threads that it needs."""
    pool, now = PoolState(minimum=4, maximum=32, peak_since=NOW), NOW
    for _ in range(20):
        pool, threads = resized(pool, replace(IDLE, busy=16), now)
        assert threads == 16
        for _ in range(20):
            now += 1
            pool, threads = resized(pool, IDLE, now)
            assert threads == 16


LOADS = st.builds(
    Load,
    threads=st.just(0),  # put in below
    busy=st.integers(0, 100),
    queue=st.integers(0, 100),
    head_wait_s=st.floats(0, 10),
    answered=st.integers(0, 100),
    cpu_share=st.none() | st.floats(0, 2),
)


@given(
    st.integers(0, 8), st.integers(0, 40), st.lists(st.tuples(LOADS, st.floats(0, 40)), max_size=60)
)
def test_a_pool_keeps_its_limits(
    minimum: int, more: int, history: list[tuple[Load, float]]
) -> None:
    """The number of threads stays within the limits, and busy threads are not ended."""
    pool, threads, now = PoolState(minimum=minimum, maximum=minimum + more), minimum, NOW
    for load, passed_s in history:
        now += passed_s
        busy = min(load.busy, threads)
        pool, wanted = resized(pool, replace(load, threads=threads, busy=busy), now)
        assert minimum <= wanted <= minimum + more
        assert wanted >= min(threads, busy + load.queue)
        if wanted > threads:
            assert wanted <= busy + load.queue
        threads = wanted


@given(st.integers(1, 8), st.integers(1, 200))
def test_streams_never_take_all_threads_of_a_pool(minimum: int, streams: int) -> None:
    """Endless requests get a thread each within half a second, and one more request is served."""
    pool, threads, now = PoolState(minimum=minimum, maximum=256), minimum, NOW
    while threads <= streams:
        now += GROW_AFTER_S
        queue = streams + 1 - threads
        load = replace(STUCK, threads=threads, busy=threads, queue=queue)
        pool, threads = resized(pool, load, now)
        assert now - NOW < 0.5
