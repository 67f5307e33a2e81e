"""The snapshot of the status worker, and whether the main process behind it is alive."""

from supervisor.health.status_worker import STALE_S, SnapshotCopy
from supervisor.values.constants import SNAPSHOT_MAX_AGE_S


class Main:
    """A main process, and the time, as the status worker sees them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alive_at = 0.0
        self.copy = SnapshotCopy(lambda: self.alive_at, lambda: self.now)

    def heartbeat_after_1_s(self) -> bool:
        """Send a heartbeat after a second; return whether the copy counts as fresh."""
        self.now += 1.0
        self.alive_at = self.now
        return self.copy.fresh


def test_heartbeats_keep_a_snapshot_fresh() -> None:
    """They do for as long as a snapshot holds; a main process that pushes no new one fails then."""
    main = Main()
    main.copy.push({"status": "pass"})
    fresh = [main.heartbeat_after_1_s() for _ in range(20)]
    assert fresh == [True] * 17 + [False] * 3
    assert SNAPSHOT_MAX_AGE_S + STALE_S == 18.0
    main.copy.push({"status": "pass"})
    assert main.heartbeat_after_1_s()


def test_without_heartbeats_a_snapshot_gets_stale() -> None:
    """Without one for three seconds it is stale, however new the snapshot is."""
    main = Main()
    main.copy.push({"status": "pass"})
    assert main.heartbeat_after_1_s()
    main.now += STALE_S - 0.1
    assert main.copy.fresh
    main.now += 0.2
    assert not main.copy.fresh
    assert main.copy.snapshot()["status"] == "fail"


def test_the_uptime_never_goes_back() -> None:
    """Though each snapshot has it rounded, and may come late."""
    main = Main()
    seen = []
    for age_s, after_s in ((0.3, 0.27), (0.5, 0.04), (0.6, 0.04), (0.6, 0.3), (1.0, 5.0)):
        main.copy.push({"status": "pass", "age_s": age_s})
        seen.append(main.copy.snapshot()["age_s"])
        main.now += after_s
        seen.append(main.copy.snapshot()["age_s"])
    assert seen == sorted(seen)
    assert seen[0] == 0.3 and seen[-1] == 6.0
