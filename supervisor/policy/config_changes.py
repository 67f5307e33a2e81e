"""What a new configuration changes: which processes come, go, move, or have to be reloaded.

A process is an app, or several that share one.
"""

from dataclasses import fields

from supervisor.config.settings import AdminSettings, BindSettings, Config, SupervisorSettings
from supervisor.values.records import dataclass

_FIXED = ("state_dir", "log_format", "log_level")  # of [supervisor]: read once, at the start
_TAKEN = ("shutdown_timeout_s",)  # of [supervisor]: in effect at once, as all of [bind] and [admin]

_Section = SupervisorSettings | BindSettings | AdminSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Names of processes, in the order of the new configuration; ``fixed`` are key paths.

    ``moved`` ones have other addresses or apps, ``changed`` ones anything else. What is ``fixed``
    takes effect when the supervisor is started anew, what is ``taken`` at once and for all apps.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    status_moved: bool = False
    fixed: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [
            f"{word}: {', '.join(names)}"
            for word, names in (
                ("added", self.added),
                ("removed", self.removed),
                ("on other ports, or with other apps", self.moved),
                ("changed", self.changed),
                ("in effect now", self.taken),
                ("in effect after a restart of the supervisor", self.fixed),
            )
            if names
        ]
        if self.status_moved:
            parts.append("the status port moved")
        return "; ".join(parts) or "nothing has changed"


def compare(old: Config, new: Config) -> Changes:
    """Return what ``new`` changes; processes that are the same in both are in no list."""
    before, after = old.processes(), new.processes()
    both = [process for process in after if process in before]
    moved = tuple(
        process for process in both if _addresses(old, process) != _addresses(new, process)
    )
    return Changes(
        added=tuple(process for process in after if process not in before),
        removed=tuple(process for process in before if process not in after),
        moved=moved,
        changed=tuple(
            process
            for process in both
            if process not in moved and any(_differs(old, new, name) for name in after[process])
        ),
        status_moved=old.status_address != new.status_address,
        fixed=_keys("supervisor", old.supervisor, new.supervisor, _FIXED),
        taken=(
            *_keys("supervisor", old.supervisor, new.supervisor, _TAKEN),
            *_keys("bind", old.bind, new.bind),
            *_keys("admin", old.admin, new.admin),
        ),
    )


def _addresses(config: Config, process: str) -> dict[str, object]:
    """Return where the apps of a process listen, and who binds."""
    names = config.processes()[process]
    apps = config.apps
    return {n: (config.address(n), apps[n].bind, apps[n].command is None) for n in names}


def _keys(
    section: str, old: _Section, new: _Section, among: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the paths of the keys with another value: of those ``among``, or of all."""
    names = among or [field.name for field in fields(old)]
    return tuple(f"{section}.{n}" for n in names if getattr(old, n) != getattr(new, n))


def _differs(old: Config, new: Config, name: str) -> bool:
    return (
        old.apps[name] != new.apps[name]
        or old.app_path(name) != new.app_path(name)
        or old.app_environment(name) != new.app_environment(name)
    )
