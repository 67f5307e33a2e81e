"""The answers of many machines as one overview: who is not well, and who runs other code. Pure.

A machine has drifted where an app's release, or the version of the supervisor, is not what most of
the machines that have it run. Of two equally common ones the first machine's counts.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from supervisor.policy.health_document import not_ready
from supervisor.values.records import dataclass

_TEXT_MAX = 300  # characters
_SHORT = 8  # characters of a digest that people compare


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine of a fleet.

    ``status`` is that of its health document, or ``unreachable``. ``troubles`` are what isn't as it
    should be, as "name: reason", what keeps it from being ready first. ``drift`` names where it
    runs other code than most. None is what the machine didn't report.
    """

    name: str
    status: str
    is_ready: bool
    apps_ready: int | None = None
    apps: int | None = None
    version: str | None = None
    model: str | None = None
    temperature_c: float | None = None
    age_s: float | None = None
    releases: Mapping[str, str]
    troubles: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether nobody has to look: it is ready, and runs what the others run."""
        return self.is_ready and not self.drift


def overview(
    answers: Mapping[str, Mapping[str, Any] | None], problems: Mapping[str, str]
) -> list[Machine]:
    """Return the machines by name, in the order of ``answers``.

    ``answers`` has health documents, None for who has given none; then ``problems`` says why.
    """
    machines = [_machine(name, answer, problems.get(name)) for name, answer in answers.items()]
    return _with_drift(machines)


def _machine(name: str, document: Mapping[str, Any] | None, problem: str | None) -> Machine:
    if document is None:
        troubles = (problem,) if problem else ()
        return Machine(
            name=name, status="unreachable", is_ready=False, releases={}, troubles=troubles
        )
    try:
        return _understood(name, document)
    except (KeyError, TypeError, ValueError, AttributeError):
        return Machine(
            name=name,
            status="unreachable",
            is_ready=False,
            releases={},
            troubles=("answers a document that isn't understood",),
        )


def _understood(name: str, document: Mapping[str, Any]) -> Machine:
    apps, host = document["apps"], document.get("host", {})
    missing = not_ready(dict(document))
    return Machine(
        name=name,
        status=_printable(str(document["status"])),
        is_ready=not missing,
        apps_ready=sum(app["state"] == "ready" for app in apps.values()),
        apps=len(apps),
        version=_text(document.get("version")),
        model=_text(host.get("model")),
        temperature_c=_number(host.get("temperature_c")),
        age_s=_number(document.get("age_s")),
        releases={
            app: _printable(str(one["release"]["digest"]))
            for app, one in apps.items()
            if one["release"] and one["release"].get("digest")
        },
        troubles=tuple(_printable(text) for text in _troubles(document, missing)),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _text(value: Any) -> str | None:
    return None if value is None else _printable(str(value))


def _printable(text: str) -> str:
    """Return a text of another machine in one line that no terminal takes for a command."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:_TEXT_MAX]


def _troubles(document: Mapping[str, Any], missing: Mapping[str, str]) -> Iterable[str]:
    for name, reason in missing.items():
        yield f"{name}: {reason}"
    for name, one in {**document["apps"], **document["checks"]}.items():
        if name not in missing and one["status"] != "pass" and one["reason"]:
            yield f"{name}: {one['reason']}"


def _with_drift(machines: list[Machine]) -> list[Machine]:
    usual_version = _most_common(machine.version for machine in machines)
    apps = {app for machine in machines for app in machine.releases}
    usual = {app: _most_common(machine.releases.get(app) for machine in machines) for app in apps}
    return [_drifted(machine, usual_version, usual) for machine in machines]


def _drifted(
    machine: Machine, usual_version: str | None, usual: Mapping[str, str | None]
) -> Machine:
    found = []
    if machine.version is not None and machine.version != usual_version:
        found.append(f"flask-supervisor {machine.version}, most run {usual_version}")
    for app, digest in sorted(machine.releases.items()):
        most = usual[app]
        if most is not None and digest != most:
            found.append(f"{_printable(app)} {digest[:_SHORT]}, most run {most[:_SHORT]}")
    values = {name: getattr(machine, name) for name in _FIELDS}
    return Machine(**{**values, "drift": tuple(found)})


def _most_common(values: Iterable[str | None]) -> str | None:
    """Return the most common value, of equally common ones the first; None where there is none."""
    counts = Counter(value for value in values if value is not None)
    return counts.most_common(1)[0][0] if counts else None


_FIELDS = (
    *("name", "status", "is_ready", "apps_ready", "apps", "version", "model", "temperature_c"),
    *("age_s", "releases", "troubles"),
)


def machine_document(machine: Machine) -> dict[str, Any]:
    """Return a machine for a program."""
    return {
        **{name: getattr(machine, name) for name in _FIELDS},
        "releases": dict(machine.releases),
        "troubles": list(machine.troubles),
        "drift": list(machine.drift),
    }
