"""Names all modules that an app lacks, by reading its files: nothing of the app is run.

An import shows the first missing module only, and the next one when that is repaired. Here the
imports of the app's own files are followed from the target on, as the import system would find
them. What can't be known from reading counts as found: rather a miss than a false alarm.

Has to run on the interpreter that runs the app, since that decides what is built in. A large
app takes seconds and memory: call it in a throw-away child.
"""

import contextlib
import os
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.machinery import FileFinder, FrozenImporter, PathFinder, SourceFileLoader
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.source.import_statements import (
    Source,
    Unreadable,
    Wanted,
    When,
    check,
    conjures_modules,
    read,
)

_SIZE_MAX = 2 * 1024 * 1024  # a larger file is data, or made to hurt
_ASIDE_MAX = 5000  # files that nothing imports: more aren't worth the time
_STDLIB = os.path.dirname(os.__file__) + os.sep
_FOREIGN = frozenset({"site-packages", "dist-packages", "node_modules", "__pycache__"})
_BUILT_IN = frozenset({*sys.builtin_module_names, "__main__"})


class Kind(StrEnum):
    """How bad a finding is, worst first; the first two keep the app from starting."""

    MISSING = "missing"  # imported when the app starts, and not there
    BROKEN = "broken"  # a file that is imported when the app starts can't be compiled or read
    CONDITIONAL = "conditional"  # depends on what only the running app knows
    LATER = "later"  # in a function: fails when that is called
    OPTIONAL = "optional"  # the app catches the failure and goes on
    ASIDE = "aside"  # a file that nothing imports can't be compiled or read
    UNREAD = "unread"  # a file that was not looked into


_NOTES = {
    Kind.CONDITIONAL: ", needed under a condition that isn't known",
    Kind.LATER: ", needed later",
    Kind.OPTIONAL: ", which the app catches",
    Kind.ASIDE: ", in a file that nothing imports",
    Kind.UNREAD: ", so it was not looked into",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, and the first of the worst places where it matters.

    ``file`` is relative to the app's folder, and None for the target itself; ``also`` has the
    other places, as ``file:line``.
    """

    kind: Kind
    module: str | None
    file: str | None
    line: int | None
    detail: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found, by file and line, and how many files of the app were read."""

    findings: tuple[Finding, ...]
    files: int

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object."""
        return asdict(self)


class _Module(NamedTuple):
    """A module that exists. With neither a ``file`` nor ``folders`` no more is known of it."""

    file: str | None = None
    folders: tuple[str, ...] | None = None
    is_own: bool = False  # it belongs to the app


class _Problem(NamedTuple):
    """What is wrong, and how bad that is where nothing softens it."""

    kind: Kind
    module: str
    what: str
    file: str = ""  # that can't be read


class _Spot(NamedTuple):
    """A place that has a problem."""

    when: When = When.AT_START
    file: str = ""
    line: int = 0
    scope: str = ""


_Sources = dict[tuple[str, str], Source | Unreadable]  # by module and file


def survey(target: str, path: Path, search_path: Sequence[str]) -> Survey:
    """Follow the imports of ``target`` through the files of the app below ``path``.

    ``target`` is a module, or ``module:factory()``, whose factory is called at the start too.
    ``path`` is searched first, then ``search_path``. Raises nothing, whatever the files hold.
    """
    return _follow(target, path, search_path).survey()


def own_files(target: str, path: Path, search_path: Sequence[str]) -> list[str]:
    """Give the files of the app that ``target`` imports, or may import later; as `survey`."""
    return _follow(target, path, search_path).files()


def _follow(target: str, path: Path, search_path: Sequence[str]) -> "_Tracer":
    root = os.path.abspath(path)
    folders = list(dict.fromkeys([root, *map(os.path.abspath, search_path)]))
    sources: _Sources = {}
    for finder in sys.path_importer_cache.values():  # FAT tells times to two seconds only
        if isinstance(finder, FileFinder):
            finder.invalidate_caches()
    with warnings.catch_warnings(action="ignore"):  # of odd escapes in the app's strings
        while True:
            tracer = _Tracer(root, target, folders, sources)
            added = sorted(tracer.follow_all() - {*folders})
            if not added:
                return tracer
            folders = [*folders, *added]


class _Tracer:
    """Follows the imports of one target with one search path."""

    def __init__(self, root: str, target: str, folders: list[str], sources: _Sources) -> None:
        self._root = root
        self._target, _, attribute = target.partition(":")
        self._factory = attribute.removesuffix("()") if attribute.endswith("()") else None
        self._folders = folders
        self._sources = sources
        self._found: dict[str, _Module | None] = {}
        self._reached: dict[str, list[When]] = defaultdict(list)
        self._pending: list[tuple[str, str, When]] = []  # modules, their files
        self._problems: dict[_Problem, set[_Spot]] = defaultdict(set)
        self._conjuring: dict[str, bool] = {}  # by file
        self._adds_unknown = False  # to the search path

    def follow_all(self) -> set[str]:
        """Follow all imports; give the folders that the app adds to its search path."""
        added: set[str | None] = set()
        self._need(Wanted(self._target), _Spot(), "")
        while self._pending:
            module, file, reached = self._pending.pop()
            source = self._source(module)
            if isinstance(source, Unreadable):
                self._note_unreadable(Kind.BROKEN, module, source, file, reached)
            if not isinstance(source, Source):
                continue
            for wanted, line, place in source.imports:
                when = reached | place.when
                if not all(any(map(self._lacks, group)) for group in place.instead_of):
                    when |= When.CONDITIONAL
                self._need(wanted, _Spot(when, self._shown(file), line, place.scope), module)
            for name in {file, os.path.realpath(file)}:
                added |= source.added_folders(name, self._root)
        self._adds_unknown = None in added
        return {folder for folder in added if folder is not None}

    def files(self) -> list[str]:
        """Give the files of the app that were followed."""
        return sorted(file for _, file in self._sources)

    def survey(self) -> Survey:
        """Tell what was found, also in files that nothing imports."""
        files = {file for _, file in self._sources}
        for file in islice(self._files_aside(), _ASIDE_MAX):
            if file not in files:
                files.add(file)
                try:
                    check(_text(file))
                except Unreadable as error:
                    self._note_unreadable(Kind.ASIDE, "", error, file, When.AT_START)
        sources = [source for source in self._sources.values() if isinstance(source, Source)]

        def may_provide(module: str) -> bool:
            return module != "" and any(source.may_provide(module) for source in sources)

        findings = [
            self._finding(problem, spots)
            for problem, spots in self._problems.items()
            if problem.kind is not Kind.MISSING or not may_provide(problem.module)
        ]
        findings.sort(key=lambda f: (f.file or "", f.line or 0, f.module or ""))
        return Survey(findings=tuple(findings), files=len(files))

    def _finding(self, problem: _Problem, spots: set[_Spot]) -> Finding:
        """Choose the worst place, and the first of those."""
        elsewhere = problem.kind is Kind.MISSING and "." not in problem.module
        unsure = When.CONDITIONAL if self._adds_unknown and elsewhere else When.AT_START
        order = list(Kind)
        kinds = {spot: _softened(problem.kind, spot.when | unsure) for spot in spots}
        first, *_ = ranked = sorted(spots, key=lambda s: (order.index(kinds[s]), s[1:]))
        places = dict.fromkeys(f"{spot.file}:{spot.line}" for spot in ranked)
        kind = kinds[first]
        note = _NOTES.get(kind, "")
        if kind is Kind.LATER and first.scope:
            note = f", needed when {first.scope}() runs"
        return Finding(
            kind=kind,
            module=problem.module or None,
            file=first.file or None,
            line=first.line or None,
            detail=problem.what + note,
            also=tuple(places)[1:],
        )

    def _note_unreadable(
        self, kind: Kind, module: str, error: Unreadable, file: str, when: When
    ) -> None:
        problem = _Problem(Kind.UNREAD if error.skipped else kind, module, str(error), file)
        self._problems[problem].add(_Spot(when, self._shown(file), error.line or 0))

    def _need(self, wanted: Wanted, spot: _Spot, importer: str) -> None:
        """Note what an import lacks, and go on with what it finds of the app."""
        if lacking := self._lacks(wanted):
            self._problems[lacking].add(spot)
        for prefix in _prefixes(wanted.module):
            if self._find(prefix) is None:
                return
            self._reach(prefix, spot.when)
        if wanted.name and self._is_own(wanted.module):
            source = self._source(wanted.module)
            hidden = isinstance(source, Source) and wanted.name in source.defined
            if importer == wanted.module or not hidden:
                self._reach(f"{wanted.module}.{wanted.name}", spot.when)

    def _reach(self, module: str, when: When) -> None:
        found, seen = self._find(module) or _Module(), self._reached[module]
        # a second visit in the same circumstances, or in milder ones, would find nothing new
        if found.file and found.is_own and all(old | when != when for old in seen):
            seen.append(when)
            self._pending.append((module, found.file, when))

    def _lacks(self, wanted: Wanted) -> _Problem | None:
        """Give the first thing that is certainly not there."""
        module, name = wanted
        if module.startswith("."):
            return _Problem(Kind.MISSING, "", f"relative import of {module!r} outside of a package")
        for prefix in _prefixes(module):
            if self._find(prefix) is None:
                return _Problem(Kind.MISSING, prefix, f"no module named {prefix!r}")
        if name in (None, "*") or not self._is_own(module) or self._find(f"{module}.{name}"):
            return None
        source = self._source(module)
        if isinstance(source, Unreadable) or (source and source.may_have(str(name))):
            return None
        return _Problem(Kind.MISSING, f"{module}.{name}", f"{module} has nothing named {name!r}")

    def _find(self, name: str) -> _Module | None:
        """Find a module as an import would; its parents have to be found already."""
        if name not in self._found:
            self._found[name] = self._look_for(name)
        return self._found[name]

    def _look_for(self, name: str) -> _Module | None:
        parent_name, _, tail = name.rpartition(".")
        folders: Sequence[str] | None = self._folders
        if parent_name:
            parent = self._found[parent_name] or _Module()
            folders = parent.folders
            if folders is None and not parent.is_own:
                return _Module()  # of a foreign module that isn't a package, such as os.path
        elif name in _BUILT_IN or FrozenImporter.find_spec(name):
            return _Module()
        # asked for the last part only, PathFinder doesn't look for the parent in sys.modules
        spec = PathFinder.find_spec(tail, folders) if tail and folders else None
        if spec is None:
            return _Module() if self._may_appear(name) else None
        if spec.origin is not None and not isinstance(spec.loader, SourceFileLoader):
            return _Module()  # an extension, or in an archive
        places = spec.submodule_search_locations
        inside = None if places is None else tuple(places)
        return _Module(spec.origin, inside, any(map(self._has, (spec.origin, *(inside or ())))))

    def _may_appear(self, name: str) -> bool:
        """Tell whether something may provide this module without a file at its place."""
        *parents, _ = _prefixes(name)
        if not parents:
            quoted = re.compile(rb"""['"]%s['"]""" % re.escape(os.fsencode(name)))
            return any(quoted.search(text) for text in self._hooks())
        files = [found.file for p in parents if (found := self._found[p]) and found.file]
        return any(map(self._conjures, files))

    def _conjures(self, file: str) -> bool:
        if file not in self._conjuring:
            try:
                self._conjuring[file] = conjures_modules(_text(file))
            except Unreadable:
                self._conjuring[file] = True
        return self._conjuring[file]

    def _hooks(self) -> Iterator[bytes]:
        """Give the texts of what installs importers, such as that of an editable package."""
        for folder in self._folders:
            with contextlib.suppress(OSError, Unreadable):
                for name in os.listdir(folder):
                    if name.endswith(".pth") or ("editable" in name and name.endswith(".py")):
                        yield _text(os.path.join(folder, name))

    def _has(self, file: str | None) -> bool:
        """Tell whether a file or folder belongs to the app."""
        inside = os.path.join(self._root, "")
        if file is None or not file.startswith(inside):
            return False
        if file.startswith(_STDLIB) and not inside.startswith(_STDLIB):
            return False
        return _FOREIGN.isdisjoint(file[len(self._root) :].split(os.sep))

    def _is_own(self, module: str) -> bool:
        return (self._find(module) or _Module()).is_own

    def _shown(self, file: str) -> str:
        return os.path.relpath(file, self._root)

    def _source(self, module: str) -> Source | Unreadable | None:
        """Give the source of a module, and None if that is no file of the app."""
        found = self._find(module) or _Module()
        file = found.file
        if file is None or not found.is_own:
            return None
        if (module, file) not in self._sources:
            package = module.rpartition(".")[0] if found.folders is None else module
            factory = self._factory if module == self._target else None
            try:
                source: Source | Unreadable = read(_text(file), package, factory=factory)
            except Unreadable as error:
                source = error
            self._sources[module, file] = source
        return self._sources[module, file]

    def _files_aside(self) -> Iterator[str]:
        """Give the files of the target's package, or those in the folder of its only file."""
        top = self._found[self._target.partition(".")[0]] or _Module()
        starts = top.folders or ([os.path.dirname(top.file)] if top.file else [])
        for folder, folders, names in (entry for start in starts for entry in os.walk(start)):
            if top.folders is None or "pyvenv.cfg" in names:
                folders.clear()
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files = [os.path.join(folder, name) for name in sorted(names) if name.endswith(".py")]
            yield from (file for file in files if self._has(file) and os.path.isfile(file))


def _prefixes(module: str) -> list[str]:
    """Give ``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``."""
    return list(accumulate(module.split("."), lambda parent, name: f"{parent}.{name}"))


def _softened(kind: Kind, when: When) -> Kind:
    """Tell how bad a problem is that matters in these circumstances only."""
    if kind in (Kind.ASIDE, Kind.UNREAD):
        return kind
    caught = When.CAUGHT_ALL | (When.CAUGHT_IMPORT if kind is Kind.MISSING else When.AT_START)
    if when & caught:
        return Kind.OPTIONAL
    if when & When.LATER:
        return Kind.LATER
    return Kind.CONDITIONAL if when & When.CONDITIONAL else kind


def _text(file: str) -> bytes:
    """Read a file; raises `Unreadable` where that can't or shouldn't be done."""
    try:
        with open(file, "rb") as stream:
            text = stream.read(_SIZE_MAX + 1)
    except OSError as error:
        raise Unreadable(f"{type(error).__name__}: {error.strerror}") from error
    if len(text) > _SIZE_MAX:
        raise Unreadable(f"it is larger than {_SIZE_MAX // 1024**2} MB", skipped=True)
    return text
