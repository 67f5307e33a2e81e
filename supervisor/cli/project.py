"""Reads a folder for `init`: its apps, their ports and devices, and the files beside them.

No source is run. `read_project` returns what it found as `Proposal`s of sections [apps.NAME].
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from supervisor.cli.source_module import module_of
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
from supervisor.values.targets import is_target
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
_COPY = re.compile(r"(.+?)[ _.-]*(old|backup|bak|copy|orig|\(.*\))[ _.-]*\d*", re.IGNORECASE)
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

    ``target`` is served by ``command`` if that isn't empty. ``port_from`` says where the port was
    read, None if it was chosen.
    """

    name: str
    target: str
    command: list[str]
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
    """What was found: ``skipped`` apps have a reason why they can't be served.

    ``is_cut``: there were too many files to read all.
    """

    folder: Path
    files_read: int = 0
    proposals: list[Proposal] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    status_port: int = _STATUS_PORT
    is_cut: bool = False


def read_project(folder: Path) -> Project:
    """Read ``folder``, absolute, and return what was found; raises OSError."""
    sources = list(islice(_sources(folder), _FILES_MAX + 1))
    project = Project(folder=folder, is_cut=len(sources) > _FILES_MAX)
    del sources[_FILES_MAX:]
    project.files_read = len(sources)
    for source in sources:
        shown = _shown(source.file, folder)
        if source.facts.error is not None:
            project.unreadable.append((shown, source.facts.error))
        elif not source.facts.apps:
            project.skipped += [(f"{shown}: {what}", why) for what, why in _out_of_reach(source)]
    chosen = []
    for source, app in _apps(sources):
        problem = _problem(source, app, sources)
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
    for place, folders, names in os.walk(folder):
        if "pyvenv.cfg" in names or "conda-meta" in folders:
            folders.clear()
            continue
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in _SKIPPED)
        for name in sorted(names):
            file = Path(place) / name
            if not name.endswith(".py") or _SKIPPED_FILE.fullmatch(file.stem):
                continue
            if file.is_file() and file.stat().st_size <= _SIZE_MAX:
                facts = scan(file.read_bytes())
                path, module = module_of(file, folder, facts)
                yield Source(file=file, path=path, module=module, facts=facts)


def _apps(sources: list[Source]) -> Iterator[tuple[Source, FoundApp]]:
    """Yield each app once: a variable, not its factory, which may be in another source."""
    shared = _shared(sources)
    factories = {
        _known_as(source.path, f"{source.module}.{app.name}", shared): app
        for source in sources
        for app in source.facts.apps
        if app.is_factory
    }
    made_by = {
        (source.file, app.name): _known_as(source.path, _resolved(app.made_by, source), shared)
        for source in sources
        for app in source.facts.apps
        if app.made_by is not None
    }
    for source in sources:
        for app in source.facts.apps:
            made = made_by.get((source.file, app.name))
            factory = None if made is None else factories.get(made)
            if factory is not None:  # which knows what it returns
                yield source, replace(app, framework=factory.framework, interface=factory.interface)
            elif _known_as(source.path, f"{source.module}.{app.name}", shared) not in (
                made_by.values()
            ):
                yield source, app


def _shared(sources: list[Source]) -> set[str]:
    """Return the modules that several folders have, as ``app``."""
    counts = Counter(source.module for source in sources)
    return {module for module, count in counts.items() if count > 1}


def _known_as(path: Path, name: str, shared: set[str]) -> str:
    """Return a name that is the same for one object alone, in whatever source it is used."""
    return f"{path}:{name}" if name.rpartition(".")[0] in shared else name


def _resolved(name: str, source: Source) -> str:
    """Return the dotted name that ``name`` means in ``source``."""
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return name if "." in name else f"{source.module}.{name}"
    is_package = source.file.stem == "__init__"
    parents = source.module.split(".")
    kept = parents[: len(parents) - dots + is_package]
    return ".".join([*kept, name.lstrip(".")])


def _out_of_reach(source: Source) -> Iterator[tuple[str, str]]:
    """Yield the apps that an import of the source does not make, with what to do."""
    for name in source.facts.guarded:
        yield name, 'it is made under if __name__ == "__main__": make it above'
    for name, function in source.facts.local.items():
        yield name, f"it is made inside of {function}(): make it outside, or return it"


def _problem(source: Source, app: FoundApp, sources: list[Source]) -> str | None:
    """Return why an app can't be served, None if it can."""
    target = f"{source.module}:{_target(app)}"
    if app.interface is Interface.ASGI and app.framework == "Django":
        others = [one for other in sources for one in other.facts.apps if other is not source]
        if any((one.framework, one.interface) == ("Django", Interface.WSGI) for one in others):
            return "the WSGI app of this Django project is served in its place"
    original = _COPY.fullmatch(source.file.stem)
    if original is not None and source.file.with_stem(original[1]).is_file():
        return f"it looks like a copy of {original[1]}.py"
    if not is_target(target):
        return "Python can't import it: rename the file, to letters, digits and _"
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
                command=_command(source, app),
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


def _command(source: Source, app: FoundApp) -> list[str]:
    """Return the command that serves an ASGI app, an empty one for a WSGI app."""
    if app.interface is Interface.WSGI:
        return []
    factory = ["--factory"] if app.is_factory else []
    return ["uvicorn", "--fd", "{fd}", *factory, f"{source.module}:{app.name}"]


def _port(
    source: Source, app: FoundApp, sources: list[Source], folder: Path
) -> tuple[int | None, str | None]:
    """Return the port on which a call in some source serves the app, and the place of the call."""
    names = {f"{source.module}.{app.name}", f"{source.module}.{app.name.partition('.')[0]}"}
    if app.made_by is not None:
        names.add(_resolved(app.made_by, source))
    shared = _shared(sources)
    wanted = {_known_as(source.path, name, shared) for name in names}
    for other in sources:
        for run in other.facts.runs:
            name = run.app.removesuffix("()")
            full = _resolved(other.facts.imported.get(name, name), other)
            if _known_as(other.path, full, shared) in wanted and run.port is not None:
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
