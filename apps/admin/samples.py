"""What the charts show: samples of the last hour, taken by a thread of this process.

They are kept in memory, and at the end of the process in one small file, so that a reload of the
admin app loses none; nothing is written meanwhile.
"""

import atexit
import contextlib
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.admin.fields import count, level, mappings, seconds
from apps.data_folder import prepared_by_one, write_whole
from supervisor.client import Client, ControlError

INTERVAL_S = 15.0
KEPT_S = 3600.0
_COUNT = int(KEPT_S / INTERVAL_S)
_SIZE_MAX = 4 * 2**20  # bytes of the file


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at an app; None stands for what was not known. ``at_s`` is monotonic."""

    at_s: float
    level: str | None
    requests: int | None
    latency_ms: float | None
    memory_mb: float | None


class Samples:
    """The samples of every app, oldest first; threads may share it."""

    def __init__(self) -> None:
        self._by_app: dict[str, deque[Sample]] = {}
        self._lock = threading.Lock()

    def add(self, snapshot: Mapping[str, Any], now: float) -> None:
        """Add a look at all apps; those that are gone are forgotten."""
        apps = mappings(snapshot.get("apps"))
        with self._lock:
            for name, raw in apps:
                self._by_app.setdefault(name, deque(maxlen=_COUNT)).append(_sample(raw, now))
            for name in self._by_app.keys() - {name for name, _ in apps}:
                del self._by_app[name]

    def of(self, app: str, now: float) -> list[Sample]:
        """Return the samples of an app of the last hour."""
        with self._lock:
            found = list(self._by_app.get(app, ()))
        return [one for one in found if now - one.at_s <= KEPT_S]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `load` reads."""
        with self._lock:
            return {
                app: [[s.at_s, s.level, s.requests, s.latency_ms, s.memory_mb] for s in samples]
                for app, samples in self._by_app.items()
            }

    def load(self, content: Any) -> None:
        """Begin with samples of the process before; raises ValueError for anything else."""
        try:
            found = {
                str(app): deque((Sample(*one) for one in samples), maxlen=_COUNT)
                for app, samples in content.items()
            }
        except (TypeError, AttributeError) as error:
            raise ValueError(f"these are no samples: {error}") from error
        with self._lock:
            self._by_app = found


def rates(samples: list[Sample]) -> list[float | None]:
    """Return the requests a second between each sample and the one before; None if unknown."""
    found: list[float | None] = []
    for before, after in itertools.pairwise(samples):
        length_s = after.at_s - before.at_s
        if before.requests is None or after.requests is None or length_s <= 0:
            found.append(None)
        else:  # a supervisor that was started anew counts from 0
            found.append(max(0, after.requests - before.requests) / length_s)
    return found


def _sample(raw: Mapping[str, Any], now: float) -> Sample:
    requests = raw.get("requests")
    requests = requests if isinstance(requests, dict) else {}
    latency = requests.get("latency_ms")
    return Sample(
        at_s=now,
        level=level(raw.get("status")),
        requests=count(requests.get("total")),
        latency_ms=seconds(latency.get("p50")) if isinstance(latency, dict) else None,
        memory_mb=seconds(raw.get("memory_mb")),
    )


class Sampler(threading.Thread):
    """Looks every `INTERVAL_S`; keeps the samples in ``file`` over a reload of this app."""

    def __init__(self, samples: Samples, client: Client, file: Path) -> None:
        super().__init__(name="samples", daemon=True)
        self._samples = samples
        self._client = client
        self._file = file
        self._ended = threading.Event()

    def begin(self) -> None:
        """Load what the process before has kept, and start."""
        # without such a file the charts begin now
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            with self._file.open("rb") as stream:
                kept = json.loads(stream.read(_SIZE_MAX))
            if kept["boot"] == _boot_id():  # else its times are of another clock
                self._samples.load(kept["apps"])
        atexit.register(self.end)
        self.start()

    def end(self) -> None:
        """Stop, and keep the samples."""
        self._ended.set()
        content = json.dumps({"boot": _boot_id(), "apps": self._samples.to_json()})
        with (
            contextlib.suppress(OSError),  # a full disk: the charts begin anew
            prepared_by_one(self._file.parent),
        ):
            write_whole(self._file, content)

    def run(self) -> None:
        """Look, until the end of the process."""
        while not self._ended.is_set():
            with contextlib.suppress(ControlError):  # a gap in the charts says so
                snapshot = self._client.call("snapshot")
                if isinstance(snapshot, dict):
                    self._samples.add(snapshot, time.monotonic())
            self._ended.wait(INTERVAL_S)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
