"""Which files the status worker watches for the main process, and how its answers name them."""

from enum import StrEnum
from typing import Any, Self

from supervisor.values.records import dataclass


class WatchSubject(StrEnum):
    """What the watched files are to their process."""

    NEWEST = "newest"  # the newest import of live code depended on them
    SERVING = "serving"  # the generation that serves has imported them
    LISTENER = "listener"  # the file by which clients find an app's Unix socket
    APP = "app"  # the failed import of one app depended on them, while its process serves


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchKey:
    """Names a watch: by its process and subject, and by ``app`` if it concerns one app.

    ``number`` is the generation, or of an app its attempt: what comes of an older one is void.
    """

    process: str
    subject: WatchSubject
    number: int
    app: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return {
            "process": self.process,
            "subject": str(self.subject),
            "number": self.number,
            "app": self.app,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Return what `to_json` wrote; raises TypeError or ValueError for anything else."""
        return cls(**{**fields, "subject": WatchSubject(fields["subject"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRequest:
    """Files with their fingerprints (see `fingerprints.differs`), compared every ``every_s``."""

    key: WatchKey
    watch: list[Any]
    every_s: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return {"key": self.key.to_json(), "watch": self.watch, "every_s": self.every_s}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Return what `to_json` wrote; raises TypeError or ValueError for anything else."""
        return cls(**{**fields, "key": WatchKey.from_json(fields["key"])})
