"""Reads a folder for `init`: its apps, their ports and devices, and the files beside them.

No source is run. `read_project` returns what it found as `Proposal`s of sections [apps.NAME].
"""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from supervisor.config.settings import is_app_name
from supervisor.source.app_scan import (
    FACTORY_NAMES,
    Device,
    FoundApp,
    Interface,
    SourceFacts,
    scan,
)
from supervisor.source.import_survey import own_files
from supervisor.worker.importing import app_search_path

_FILES_MAX = 2000
_SIZE_MAX = 1024 * 1024
_STATUS_PORT = 6000
_FIRST_PORT = 5000  # for an app whose port is unknown
_SKIPPED = frozenset(
    {"__pycache__", "node_modules", "site-packages", "tests", "test", "migrations"}
)
_SKIPPED_FILE = re.compile(r"test_.*|.*_test|conftest|setup|noxfile|fabfile")
_ANONYMOUS = frozenset(
    {"app", "application", "main", "wsgi", "server", "run", "__init__", "__main__", "manage"}
)
_ENVIRONMENTS = (".venv", "venv", "env")
_REQUIREMENTS = ("requirements*.txt", "pyproject.toml", "Pipfile", "setup.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A Python file: its module name with ``path`` as the first folder of the search path."""

    file: Path
    path: Path
    module: str
    facts: SourceFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A section [apps.NAME]; ``path``, ``python`` and ``env_file`` are relative to the project.

    ``port_from`` says where the port was read, None if it was chosen.
    """

    name: str
    target: str
    framework: str
    place: str
    port: int
    port_from: str | None
    path: str
    python: str | None
    env_file: str | None
    device: Device | None
    device_place: str | None


@dataclass(slots=True)
class Project:
    """What was found: ``skipped`` apps have a reason why they can't be served."""

    folder: Path
    files_read: int = 0
    proposals: list[Proposal] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    status_port: int = _STATUS_PORT


def read_project(folder: Path) -> Project:
    """Read ``folder``, absolute, and return what was found; raises OSError."""
    sources = list(_sources(folder))
    project = Project(folder=folder, files_read=len(sources))
    for source in sources:
        if source.facts.error is not None:
            project.unreadable.append((_shown(source.file, folder), source.facts.error))
    chosen = []
    for source, app in _apps(sources):
        problem = _problem(app)
        if problem is None:
            chosen.append((source, app))
        else:
            project.skipped.append((f"{_shown(source.file, folder)}: {_target(app)}", problem))
    _propose(project, chosen, sources)
    ports = {proposal.port for proposal in project.proposals}
    if _STATUS_PORT in ports:
        project.status_port = _free(_STATUS_PORT + 1, ports)
    project.requirements = sorted(
        _shown(file, folder)
        for place in {folder, *(folder / proposal.path for proposal in project.proposals)}
        for pattern in _REQUIREMENTS
        for file in place.glob(pattern)
    )
    return project


def _sources(folder: Path) -> Iterator[Source]:
    """Yield the Python files below ``folder``, but not those of environments and tests."""
    count = 0
    for place, folders, names in os.walk(folder):
        if "pyvenv.cfg" in names:
            folders.clear()
            continue
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in _SKIPPED)
        for name in sorted(names):
            file = Path(place) / name
            if not name.endswith(".py") or _SKIPPED_FILE.fullmatch(file.stem):
                continue
            count += 1
            if count > _FILES_MAX:
                return
            if file.is_file() and file.stat().st_size <= _SIZE_MAX:
                path, module = module_of(file, folder)
                yield Source(file=file, path=path, module=module, facts=scan(file.read_bytes()))


def module_of(file: Path, root: Path) -> tuple[Path, str]:
    """Return the folder for the search path, and the module that ``file`` is with it.

    Folders with an ``__init__.py`` are packages, up to ``root``.
    """
    parts = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    while folder != root and (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if not parts:  # the root itself is a package
        return folder.parent, folder.name
    return folder, ".".join(parts)


def _apps(sources: list[Source]) -> Iterator[tuple[Source, FoundApp]]:
    """Yield each app once: a variable, not its factory, which may be in another source."""
    factories = {
        f"{source.module}.{app.name}": app
        for source in sources
        for app in source.facts.apps
        if app.is_factory
    }
    made_by = {
        (source.module, app.name): _resolved(app.made_by, source)
        for source in sources
        for app in source.facts.apps
        if app.made_by is not None
    }
    for source in sources:
        for app in source.facts.apps:
            factory = factories.get(made_by.get((source.module, app.name), ""))
            if factory is not None:  # which knows what it returns
                yield source, replace(app, framework=factory.framework, interface=factory.interface)
            elif f"{source.module}.{app.name}" not in made_by.values():
                yield source, app


def _resolved(name: str, source: Source) -> str:
    """Return the dotted name that ``name`` means in ``source``."""
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return name if "." in name else f"{source.module}.{name}"
    is_package = source.file.stem == "__init__"
    parents = source.module.split(".")
    kept = parents[: len(parents) - dots + is_package]
    return ".".join([*kept, name.lstrip(".")])


def _problem(app: FoundApp) -> str | None:
    """Return why an app can't be served, None if it can."""
    if app.interface is Interface.ASGI:
        return f"{app.framework} is an ASGI app: serve it by `command`, see docs/programs.md"
    if app.needs_arguments:
        return "the factory needs arguments; write a function without arguments that calls it"
    return None


def _target(app: FoundApp) -> str:
    return app.name + ("()" if app.is_factory else "")


def _propose(
    project: Project, chosen: list[tuple[Source, FoundApp]], sources: list[Source]
) -> None:
    """Add a proposal for each app; every port is given once, and the status port is left free."""
    served = [_port(source, app, sources, project.folder) for source, app in chosen]
    known = {port for port, _ in served if port is not None}
    for (source, app), (port, place) in zip(chosen, served, strict=True):
        given = {proposal.port for proposal in project.proposals}
        is_free = port is not None and port not in given
        device, device_place = _device(source, app, project.folder)
        project.proposals.append(
            Proposal(
                name=_name(source, app, project),
                target=f"{source.module}:{_target(app)}",
                framework=app.framework,
                place=f"{_shown(source.file, project.folder)}, line {app.line}",
                port=port if is_free and port else _free(_FIRST_PORT, known | given),
                port_from=place if is_free else None,
                path=_shown(source.path, project.folder),
                python=_python(source.path, project.folder),
                env_file=_beside(".env", source.path, project.folder),
                device=device,
                device_place=device_place,
            )
        )


def _port(
    source: Source, app: FoundApp, sources: list[Source], folder: Path
) -> tuple[int | None, str | None]:
    """Return the port on which a call in some source serves the app, and the place of the call."""
    wanted = {f"{source.module}.{app.name}", f"{source.module}.{app.name.partition('.')[0]}"}
    if app.made_by is not None:
        wanted.add(_resolved(app.made_by, source))
    for other in sources:
        for run in other.facts.runs:
            name = run.app.removesuffix("()")
            full = _resolved(other.facts.imported.get(name, name), other)
            if full in wanted and run.port is not None:
                return run.port, f"{_shown(other.file, folder)}, line {run.line}"
    return None, None


def _device(source: Source, app: FoundApp, folder: Path) -> tuple[Device | None, str | None]:
    """Return a device that the app's own files import, and where."""
    target = f"{source.module}:{_target(app)}"
    for name in own_files(target, source.path, app_search_path(source.path)):
        file = Path(name)
        for device in scan(file.read_bytes()).devices:
            return device, f"{_shown(file, folder)}, line {device.line}"
    return None, None


def _name(source: Source, app: FoundApp, project: Project) -> str:
    """Return a name for the app: of its module, its variable or its folder; each once."""
    words = [*source.module.split("."), app.name.partition(".")[0]]
    if app.made_by is not None:  # wsgi.py calls the factory of a module that has a better name
        words = [*_resolved(app.made_by, source).split("."), *words]
    telling = [word for word in reversed(words) if word not in _ANONYMOUS | FACTORY_NAMES]
    names = map(usable_name, [*telling, source.path.name, project.folder.name, "app"])
    base = next(name for name in names if name is not None)
    used = {proposal.name for proposal in project.proposals}
    numbered = (f"{base}{number}" for number in range(2, 10_000))
    return next(name for name in (base, *numbered) if name not in used)


def usable_name(word: str) -> str | None:
    """Return ``word`` as an app may be called, None if nothing of it is left."""
    name = re.sub(r"[^a-z0-9_]", "_", word.lower()).lstrip("_0123456789")
    return name if is_app_name(name) else None


def _python(path: Path, folder: Path) -> str | None:
    """Return the interpreter of the app's own virtual environment, None for this one's."""
    for environment in _ENVIRONMENTS:
        python = _beside(f"{environment}/bin/python", path, folder)
        if python is not None:
            own = Path(sys.prefix).resolve() == (folder / python).parents[1].resolve()
            return None if own else python
    return None


def _beside(name: str, path: Path, folder: Path) -> str | None:
    """Return a file of the app's folder, else of the project's, relative to the project."""
    for place in (path, folder):
        if (place / name).is_file():
            return _shown(place / name, folder)
    return None


def _shown(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder)


def _free(first: int, taken: set[int]) -> int:
    return next(port for port in range(first, 65536) if port not in taken | {_STATUS_PORT})
