"""When a worker is started again: the delays, the limits, and what clears them."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.policy.backoff import (
    CHANGES_MAX,
    CLEAR_S,
    FAILED_DELAY_S,
    FAILURES_MAX,
    RESTARTS_MAX,
    STABLE_S,
    WINDOW_S,
    History,
)

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
APART_S = 100.0  # failures this far apart never fill the window
NOW = 1000.0


def lowest() -> float:
    """Be a random source that always gives its lowest value."""
    return 0.0


def highest() -> float:
    """Be a random source that always gives (nearly) its highest value."""
    return 1.0 - 2**-53


def after_failures(count: int, *, every_s: float = APART_S) -> History:
    """Return the history of ``count`` failures, the last one at `NOW`."""
    history = History()
    for left in reversed(range(count)):
        history = history.after_failure(NOW - left * every_s)
    return history


def after_restarts(count: int, *, every_s: float, ready_s: float = STABLE_S) -> History:
    """Return the history of ``count`` stable lives, the last one ended at `NOW`."""
    history = History()
    for left in reversed(range(count)):
        history = history.after_stable_exit(NOW - left * every_s, ready_s=ready_s)
    return history


# ---- delays


@pytest.mark.parametrize(
    ("failures", "delay_s"),
    [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 2), (5, 4), (6, 8), (7, 16), (8, 30), (9, 30), (50, 30)],
)
def test_each_failure_in_a_row_waits_longer(failures: int, delay_s: float) -> None:
    """The delays are 0, 0.5, 1, 2 ... 30 s, and stay at 30."""
    assert after_failures(failures).delay_s(highest) == pytest.approx(delay_s)


@pytest.mark.parametrize(("failures", "delay_s"), [(0, 0.0), (1, 0.0), (2, 0.5)])
def test_the_first_delays_have_no_jitter(failures: int, delay_s: float) -> None:
    """Up to the second failure the delay is exact, whatever the random source says."""
    history = after_failures(failures)
    assert history.delay_s(lowest) == history.delay_s(highest) == delay_s


@pytest.mark.parametrize("failures", range(3, 12))
def test_later_delays_have_jitter(failures: int) -> None:
    """From the third failure on the random source shortens the delay, by a fifth at most."""
    history = after_failures(failures)
    shortest, longest = history.delay_s(lowest), history.delay_s(highest)
    assert 0.79 * longest < shortest < 0.9 * longest
    assert longest <= 30


# ---- failing often


def test_failing_often_is_more_than_five_in_a_minute() -> None:
    """Five failures within 60 s are not enough, the sixth is."""
    five = after_failures(FAILURES_MAX, every_s=1)
    assert not five.failed
    six = five.after_failure(NOW + 1)
    assert six.failed
    assert six.delay_s(lowest) == six.delay_s(highest) == FAILED_DELAY_S == 60


@pytest.mark.parametrize(
    ("every_s", "failed"), [(11.9, True), (WINDOW_S / FAILURES_MAX, False), (13.0, False)]
)
def test_only_failures_of_the_last_minute_count(every_s: float, failed: bool) -> None:
    """Six failures count when they lie within less than 60 s."""
    assert after_failures(FAILURES_MAX + 1, every_s=every_s).failed is failed


def test_failed_sticks() -> None:
    """A try a minute later that fails too is still `failed`, though it's alone in its window."""
    history = after_failures(FAILURES_MAX + 1, every_s=1)
    for attempt in range(1, 5):
        history = history.after_failure(NOW + attempt * 2 * WINDOW_S)
        assert history.failed
        assert history.delay_s(lowest) == FAILED_DELAY_S


def test_half_a_minute_of_ready_clears_the_count() -> None:
    """After 30 s of ready the next failures start at the beginning of the table."""
    history = after_failures(FAILURES_MAX + 1, every_s=1)
    history = history.after_stable_exit(NOW + CLEAR_S, ready_s=CLEAR_S)
    assert history.delay_s(highest) == 0
    for number, delay_s in enumerate((0.0, 0.5, 1.0, 2.0, 4.0)):
        history = history.after_failure(NOW + CLEAR_S + number)
        assert not history.failed
        assert history.delay_s(highest) == pytest.approx(delay_s)


@pytest.mark.parametrize("ready_s", [STABLE_S, CLEAR_S - 0.1])
def test_a_shorter_life_keeps_the_failures_of_the_window(ready_s: float) -> None:
    """A worker that was ready for less than 30 s is restarted at once, its past still counts."""
    history = after_failures(FAILURES_MAX, every_s=1)
    history = history.after_stable_exit(NOW + ready_s, ready_s=ready_s)
    assert not history.failed
    assert history.delay_s(highest) == 0
    assert history.after_failure(NOW + ready_s).failed


# ---- stable lives


@pytest.mark.parametrize("count", [1, 2, RESTARTS_MAX])
def test_a_worker_that_lived_is_restarted_at_once(count: int) -> None:
    """Up to ten stable lives in 60 s cost no delay."""
    history = after_restarts(count, every_s=2)
    assert history.delay_s(highest) == 0
    assert not history.failed


def test_too_many_stable_lives_count_as_failures() -> None:
    """From the eleventh within 60 s on, stable lives wait as failures do, and then are `failed`."""
    history = after_restarts(RESTARTS_MAX, every_s=1)
    delays = []
    for number in range(FAILURES_MAX + 1):
        history = history.after_stable_exit(NOW + number, ready_s=STABLE_S)
        delays.append(history.delay_s(highest))
    assert delays == pytest.approx([0, 0.5, 1, 2, 4, FAILED_DELAY_S])
    assert history.failed


@pytest.mark.parametrize(("every_s", "delayed"), [(5.9, True), (6.0, False), (20.0, False)])
def test_only_restarts_of_the_last_minute_count(every_s: float, delayed: bool) -> None:
    """Twelve stable lives count as failing when eleven of them ended within 60 s."""
    history = after_restarts(RESTARTS_MAX + 2, every_s=every_s)
    assert bool(history.delay_s(highest)) is delayed


def test_long_lives_never_count() -> None:
    """Workers that were ready for 30 s each are restarted at once, for ever."""
    history = after_restarts(200, every_s=CLEAR_S, ready_s=CLEAR_S)
    assert history.delay_s(highest) == 0
    assert not history.failed


# ---- changed files


def test_changed_files_are_a_new_beginning() -> None:
    """A change of the files forgets what failed before."""
    history = after_failures(FAILURES_MAX + 1, every_s=1).after_change(NOW)
    assert history is not None
    assert history.delay_s(highest) == 0
    assert not history.after_failure(NOW).failed


def test_files_that_change_all_the_time_say_nothing() -> None:
    """After 20 changes within 60 s a further one is refused; a minute later one counts again."""
    history: History | None = History()
    for number in range(CHANGES_MAX):
        assert history is not None
        history = history.after_change(NOW + number)
    assert history is not None
    assert history.after_change(NOW + CHANGES_MAX) is None
    assert history.after_change(NOW + WINDOW_S + CHANGES_MAX) is not None


# ---- properties

Past = Callable[[History, float], History]

FAILURE = st.just(lambda history, now: history.after_failure(now))
STABLE = st.floats(STABLE_S, 1000).map(
    lambda ready_s: lambda history, now: history.after_stable_exit(now, ready_s=ready_s)
)
CHANGE = st.just(lambda history, now: history.after_change(now) or history)
STEPS = st.lists(st.tuples(st.floats(0, 120), FAILURE | STABLE | CHANGE), max_size=60)
RANDOM = st.floats(0, 1, exclude_max=True)


def replay(
    steps: list[tuple[float, Past]], history: History | None = None
) -> tuple[History, float]:
    """Return the history after ``steps``, pairs of (seconds since the last one, what happened)."""
    history, now = history or History(), NOW
    for later_s, happens in steps:
        now += later_s
        history = happens(history, now)
    return history, now


@PROPERTY
@given(STEPS, RANDOM)
def test_a_delay_is_never_negative_nor_above_a_minute(
    steps: list[tuple[float, Past]], drawn: float
) -> None:
    """Whatever happened before, the next start is 0 to 60 s away, and 60 only when `failed`."""
    history, _ = replay(steps)
    delay_s = history.delay_s(lambda: drawn)
    assert 0 <= delay_s <= FAILED_DELAY_S
    assert history.failed == (delay_s > 30)


@PROPERTY
@given(st.lists(st.tuples(st.floats(0, 1000), FAILURE), max_size=30))
def test_failed_sticks_until_it_is_cleared(failures: list[tuple[float, Past]]) -> None:
    """No number of failures, at whatever times, makes `failed` go away."""
    history, _ = replay(failures, after_failures(FAILURES_MAX + 1, every_s=1))
    assert history.failed


@PROPERTY
@given(STEPS, st.floats(STABLE_S, 1000))
def test_a_stable_life_that_is_rare_costs_no_delay(
    steps: list[tuple[float, Past]], ready_s: float
) -> None:
    """A worker that served for long after a calm minute is started again at once."""
    history, now = replay(steps)
    history = history.after_stable_exit(now + WINDOW_S, ready_s=ready_s)
    assert history.delay_s(highest) == 0
    assert not history.failed


@PROPERTY
@given(STEPS)
def test_a_history_stays_small(steps: list[tuple[float, Past]]) -> None:
    """Only the last minute is remembered, at every step that counts something."""
    history, now = replay([*steps, (1.0, lambda history, now: history.after_failure(now))])
    assert all(now - at < WINDOW_S for at in history.failures)
    assert len(history.changes) <= CHANGES_MAX
