"""The threads that tell people of changes: one for each destination of the configuration."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from supervisor.policy.check_documents import warning_documents
from supervisor.values.states import Status

if TYPE_CHECKING:
    from supervisor.health.notifier import AnnouncedFile, Destination, Look, Notifier

FILE = "notified"  # in the state folder


class Notifiers:
    """Runs a notifier for each destination that `follow` names."""

    def __init__(self, look: "Look") -> None:
        self._look = look
        self._running: dict[Destination, Notifier] = {}
        self._file: AnnouncedFile | None = None

    def follow(self, settings: dict[str, Any]) -> None:
        """Tell exactly the destinations of ``settings`` (`check_settings`)."""
        if not settings["notify"] and not self._running:
            return
        from supervisor.health.notifier import AnnouncedFile, Destination, Notifier

        wanted = [
            Destination(url=one["url"], least=Status(one["on"]), apps=frozenset(one["apps"]))
            for one in settings["notify"]
        ]
        for gone in self._running.keys() - set(wanted):
            self._running.pop(gone).stop()
        file = self._file = self._file or AnnouncedFile(Path(settings["state_dir"]) / FILE)
        before = self._running
        self._running = {}
        for one in wanted:
            self._running[one] = before.get(one) or Notifier(one, self._look, file)
            if one not in before:
                self._running[one].start()

    def documents(self) -> dict[str, dict[str, Any]]:
        """Return the health documents of checks that messages are delivered, by name."""
        return warning_documents(
            {
                f"notify[{number}]": notifier.problem
                for number, notifier in enumerate(list(self._running.values()))
            }
        )
