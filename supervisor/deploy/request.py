"""What an operator asks of a deploy, and what one reports while it runs."""

from dataclasses import dataclass
from pathlib import Path

from supervisor.config.settings import Config
from supervisor.policy.rollout import RolloutPhase
from supervisor.releases.replacement import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployRequest:
    """A request to deploy ``source``, or to put a release back (None: the last good one)."""

    app: str
    source: Path | None = None
    release: str | None = None
    key: str | None = None  # the client's own name for it
    only: bool = False  # replace what SOURCE has, remove nothing
    delete: bool = False  # remove what SOURCE lacks

    @property
    def mode(self) -> Mode:
        """How the new version takes the place of the old one."""
        return Mode(only=self.only, delete=self.delete, is_rollback=self.source is None)

    @property
    def what(self) -> str:
        """What it is called in messages."""
        if self.source is not None:
            return f"the deploy of {self.source.name} to app '{self.app}'"
        return f"the rollback of app '{self.app}'" + (f" to {self.release}" if self.release else "")

    @property
    def note(self) -> str:
        """The note that is kept with the release of the files that it replaces."""
        if self.source is not None:
            return f"before the deploy of {self.source.name}"
        return "before a rollback"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of progress; ``after_s`` is the time since the beginning."""

    phase: RolloutPhase
    text: str
    after_s: float


def without_paths(text: str, config: Config) -> str:
    """Return ``text`` with the folders of apps as they are configured: events are public."""
    for name, app in config.apps.items():
        text = text.replace(str(config.app_path(name)), app.path)
    return text.replace(str(config.state_dir), "the state folder")
