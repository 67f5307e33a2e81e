"""Names all modules that an app lacks, by reading its files: nothing of the app is run.

An import names the first missing module only, and the next one when that is repaired. Here the
imports of the app's own files are followed from the target on, as the import system would find
them. What reading can't decide counts as found: better to miss one than to accuse a working app.

Has to run on the interpreter that runs the app, since that decides what is built in. A large
app takes seconds and memory: call it in a throw-away child.
"""

import heapq
import os
import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.machinery import FileFinder
from pathlib import Path
from typing import NamedTuple

from supervisor.source.built_in import hidden_text
from supervisor.source.import_statements import Source, Unreadable, Wanted, When, read
from supervisor.source.module_finder import FoundModule, ModuleFinder, prefixes, read_file


class Kind(StrEnum):
    """How bad an import problem is, worst first; the first two keep the app from starting."""

    MISSING = "missing"  # imported when the app starts, and not there
    BROKEN = "broken"  # a file that is imported when the app starts can't be compiled or read
    CONDITIONAL = "conditional"  # depends on what only the running app knows
    LATER = "later"  # in a function: fails when that is called
    UNREAD = "unread"  # a file that was not read
    HIDDEN = "hidden"  # an own file with the name of a module that Python has in itself


_NOTES = {
    Kind.CONDITIONAL: ", needed under a condition that isn't known",
    Kind.LATER: ", needed later",
    Kind.UNREAD: ", so it was not read",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProblem:
    """A module that is missing or a file that is broken, with the first place that needs it.

    ``file`` is relative to the app's folder, and None for the target itself; ``also`` has the
    other places, as ``file:line``.
    """

    kind: Kind
    module: str | None
    file: str | None
    line: int | None
    detail: str
    also: tuple[str, ...] = ()


class _Fault(NamedTuple):
    """What is wrong, and its kind if it matters when the app starts."""

    kind: Kind
    module: str
    text: str


class _Spot(NamedTuple):
    """A place that a fault matters to."""

    when: When = When.AT_START
    file: str = ""
    line: int = 0
    scope: str = ""


_Sources = dict[tuple[str, str], Source | Unreadable]  # by module and file


def survey(target: str, path: Path, search_path: Sequence[str]) -> list[ImportProblem]:
    """Return what the imports of ``target`` lack, by file and line, in the app below ``path``.

    ``target`` is a module, or ``module:factory()``, whose factory is called at the start too.
    ``path`` is searched first, then ``search_path``. Raises nothing, whatever the files hold.
    """
    return _traced(target, path, search_path).problems()


def own_files(target: str, path: Path, search_path: Sequence[str]) -> list[str]:
    """Return the files of the app that ``target`` imports, or may import later; as `survey`."""
    return _traced(target, path, search_path).files()


def needed(target: str, path: Path, search_path: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return `own_files`, and the names of all modules that are not there; as `survey`."""
    tracer = _traced(target, path, search_path)
    return tracer.files(), tracer.missing()


def _traced(target: str, path: Path, search_path: Sequence[str]) -> "_Tracer":
    root = os.path.abspath(path)
    folders = list(dict.fromkeys([root, *map(os.path.abspath, search_path)]))
    sources: _Sources = {}
    for finder in sys.path_importer_cache.values():  # FAT stores times to two seconds only
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
        factory, bracket, _ = attribute.partition("(")
        self._factory = factory if bracket else None
        self._finder = ModuleFinder(root, folders)
        self._sources = sources
        self._pending: list[tuple[When, str]] = []  # a heap: the surest way to a module comes first
        self._followed: set[str] = set()
        self._faults: dict[_Fault, set[_Spot]] = defaultdict(set)
        self._adds_unknown = False  # folders to the search path

    def follow_all(self) -> set[str]:
        """Follow all imports; return the folders that the app adds to its search path."""
        added: set[str | None] = set()
        self._need(Wanted(self._target), _Spot(), "")
        while self._pending:
            reached, module = heapq.heappop(self._pending)
            if module not in self._followed:
                self._followed.add(module)
                added |= self._follow(module, reached)
        self._adds_unknown = None in added
        return {folder for folder in added if folder is not None}

    def files(self) -> list[str]:
        """Return the files of the app that were followed."""
        return sorted(file for _, file in self._sources)

    def missing(self) -> list[str]:
        """Return the modules that were looked for in vain, the app's optional ones too."""
        return sorted({fault.module for fault in self._faults if fault.module})

    def problems(self) -> list[ImportProblem]:
        """Return what is wrong, without what the app itself provides or expects."""
        sources = [source for source in self._sources.values() if isinstance(source, Source)]
        found = [
            self._problem(fault, sorted(spots))
            for fault, spots in self._faults.items()
            if not any(source.may_provide(fault.module) for source in sources if fault.module)
        ]
        problems = [problem for problem in found if problem is not None]
        return sorted(problems, key=lambda p: (p.file or "", p.line or 0, p.module or ""))

    def _problem(self, fault: _Fault, spots: list[_Spot]) -> ImportProblem | None:
        """Return a fault with its places, the surest first; None if the app expects it."""
        first = spots[0]
        when = first.when
        if fault.kind is Kind.MISSING and "." not in fault.module and self._adds_unknown:
            when = max(when, When.CONDITIONAL)
        if when is When.CAUGHT:
            return None
        softened = fault.kind not in (Kind.UNREAD, Kind.HIDDEN)
        kind = (fault.kind, Kind.CONDITIONAL, Kind.LATER)[when if softened else 0]
        note = _NOTES.get(kind, "")
        if kind is Kind.LATER and first.scope:
            note = f", needed when {first.scope}() runs"
        return ImportProblem(
            kind=kind,
            module=fault.module or None,
            file=first.file or None,
            line=first.line or None,
            detail=fault.text + note,
            also=tuple(dict.fromkeys(f"{spot.file}:{spot.line}" for spot in spots))[1:],
        )

    def _follow(self, module: str, reached: When) -> set[str | None]:
        """Need what a module imports; return the folders that it adds to the search path."""
        found, source = self._finder.find(module) or FoundModule(), self._source(module)
        if source is None or found.file is None:
            return set()
        shown = os.path.relpath(found.file, self._root)
        if isinstance(source, Unreadable):
            kind = Kind.UNREAD if source.skipped else Kind.BROKEN
            spot = _Spot(reached, shown, source.line or 0)
            self._faults[_Fault(kind, module, str(source))].add(spot)
            return set()
        for wanted, line, place in source.imports:
            spot = _Spot(max(reached, place.when), shown, line, place.scope)
            self._need(wanted, spot, module)
        files = {found.file, os.path.realpath(found.file)}
        return {folder for f in files for folder in source.added_folders(f, self._root)}

    def _need(self, wanted: Wanted, spot: _Spot, importer: str) -> None:
        """Record what an import lacks, and go on with what it finds of the app."""
        if lacking := self._lacks(wanted):
            self._faults[lacking].add(spot)
        if file := self._finder.hidden_file(wanted.module):
            text = hidden_text(os.path.relpath(file, self._root))
            self._faults[_Fault(Kind.HIDDEN, wanted.module, text)].add(spot)
        for prefix in prefixes(wanted.module):
            if self._finder.find(prefix) is None:
                return
            heapq.heappush(self._pending, (spot.when, prefix))
        if wanted.name and self._finder.is_own(wanted.module):
            source = self._source(wanted.module)
            is_hidden = isinstance(source, Source) and wanted.name in source.defined
            name = f"{wanted.module}.{wanted.name}"
            if (importer == wanted.module or not is_hidden) and self._finder.find(name):
                heapq.heappush(self._pending, (spot.when, name))

    def _lacks(self, wanted: Wanted) -> _Fault | None:
        """Return the first thing that is certainly not there."""
        module, name = wanted
        if module.startswith("."):
            return _Fault(Kind.MISSING, "", f"relative import of {module!r} outside of a package")
        for prefix in prefixes(module):
            if self._finder.find(prefix) is None:
                return _Fault(Kind.MISSING, prefix, f"no module named {prefix!r}")
        if name in (None, "*") or not self._finder.is_own(module):
            return None
        source = self._source(module)
        if self._finder.find(f"{module}.{name}") or isinstance(source, Unreadable):
            return None
        if source is not None and source.may_have(str(name)):
            return None
        return _Fault(Kind.MISSING, f"{module}.{name}", f"{module} has nothing named {name!r}")

    def _source(self, module: str) -> Source | Unreadable | None:
        """Return the source of a module, and None if that is no file of the app."""
        found = self._finder.find(module) or FoundModule()
        file = found.file
        if file is None or not found.is_own:
            return None
        if (module, file) not in self._sources:
            package = module.rpartition(".")[0] if found.folders is None else module
            factory = self._factory if module == self._target else None
            try:
                source: Source | Unreadable = read(read_file(file), package, factory=factory)
            except Unreadable as error:
                source = error
            self._sources[module, file] = source
        return self._sources[module, file]
