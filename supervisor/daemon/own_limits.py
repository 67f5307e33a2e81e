"""The limits of the main process, compared with what all apps need."""

import os

from supervisor.config.settings import Config
from supervisor.policy import capacity
from supervisor.policy.health_document import CheckFacts
from supervisor.process.limits import limits_of, raise_files_limit


class OwnLimits:
    """The limits as they are before anything is started; that of open files is raised."""

    def __init__(self) -> None:
        raise_files_limit()
        self._limits = limits_of(os.getpid())

    @property
    def tasks(self) -> int | None:
        """How many processes and threads may be started; None: any number."""
        return self._limits.tasks

    def checks(self, config: Config) -> list[CheckFacts]:
        """Return the check that warns of a limit which is too low for all apps of ``config``."""
        apps = [app for app in config.apps.values() if app.enabled]
        shortage = capacity.warning(self._limits, apps)
        if shortage is None:
            return []
        reason, hint = shortage.reason, shortage.hint
        return [CheckFacts(name="limits", reason=reason, hint=hint, critical=False)]
