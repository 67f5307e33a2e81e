"""What a worker is told about the apps that it hosts, and about the place of their code.

These values are made in the main process. Needs the standard library alone.
"""

from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Self

from supervisor.values.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedApp:
    """One app of a worker; ``own_port`` is the port that a self-bound app binds."""

    name: str
    target: str
    threads: int
    max_threads: int
    options: dict[str, Any]
    import_timeout_s: float
    before_start: list[list[str]]
    after_import: list[str]
    own_port: int | None = None
    access_log: bool = False
    environment: dict[str, str] = field(repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)  # hidden in reports

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return {**asdict(self), "secrets": sorted(self.secrets)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Return the app that `to_json` described."""
        return cls(**{**fields, "secrets": frozenset(fields["secrets"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeLocation:
    """Where the code of a worker lies: in ``path``, its working folder, or in a release.

    ``include`` names what belongs to the app, by the configuration; ``skip`` are folders that never
    belong to it.
    """

    path: Path
    release: Path | None = None
    include: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The folder that modules are imported from first."""
        return self.release or self.path

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return {
            "path": str(self.path),
            "release": None if self.release is None else str(self.release),
            "include": list(self.include),
            "skip": list(self.skip),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Return the location that `to_json` described."""
        release = fields["release"]
        return cls(
            path=Path(fields["path"]),
            release=None if release is None else Path(release),
            include=tuple(fields["include"]),
            skip=tuple(fields["skip"]),
        )
