"""Looks at the files that make up an app: which they are, whether they changed, their hashes.

What is no part of a release: caches, virtual environments, repositories, databases and logs, and
whatever is neither a file nor a link. Links are never followed: a release holds the link.
Runs in workers too, so it needs the standard library alone.
"""

import hashlib
import itertools
import os
import stat
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from supervisor.source.manifest import Entry, Manifest
from supervisor.values.errors import SupervisorError

FILES_MAX = 20_000
SIZE_MAX = 100 * 1024 * 1024  # five releases of it fit onto the smallest SD card
BESIDE = ("templates", "static")  # Flask's own names; they are read, and never imported
_EXCLUDED = frozenset(
    {
        "__pycache__",
        "node_modules",
        "site-packages",
        "lost+found",
        ".git",
        ".hg",
        ".svn",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".hypothesis",
        ".tox",
        ".nox",
        ".eggs",
        ".ipynb_checkpoints",
        ".flask-supervisor",
        ".flask-supervisor-swap",
    }
)
# Databases and logs change while an app runs: they are its data, whatever folder they lie in.
_DATA = (".db", ".sqlite", ".sqlite3", "-wal", "-shm", "-journal", ".log", ".pid", ".sock")
_COMPILED = (".pyc", ".pyo")
_MODULES = (".py", ".so")
_LOOKED_AT = 1000  # entries of a folder, to see whether it is a package
_OWN = str(Path(__file__).resolve().parents[1]) + os.sep  # in a checkout, this may lie below `path`


class TreeError(SupervisorError):
    """The files of an app can't be made a release of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """A file, link or empty folder as it lies on the disk; ``path`` is relative to the root."""

    path: str
    mode: int
    size: int
    mtime_ns: int
    inode: int
    link: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is an empty folder."""
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files below ``root`` that belong to a release; ``include`` names where they lie."""

    root: Path
    include: tuple[str, ...]
    files: tuple[TreeFile, ...]
    fingerprints: dict[str, str]  # of each of `include`


def scan(
    root: Path,
    include: Iterable[str],
    *,
    skip: Collection[str] = (),
    files_max: int = FILES_MAX,
    size_max: int = SIZE_MAX,
) -> Tree:
    """Look at all that lies in the files and folders ``include`` below ``root``.

    What is missing is left out, and so are the folders ``skip`` (absolute paths). Raises
    `TreeError` for what can't be read, is too much, or leads out of ``root`` at the top.
    """
    root = Path(os.path.realpath(root))
    chosen = _with_link_targets(root, _outermost(include))
    files: list[TreeFile] = []
    fingerprints = {}
    size = 0
    for entry in chosen:
        digest = hashlib.blake2b(digest_size=16)
        for file in _walk(root, entry, frozenset(skip)):
            size += file.size
            files.append(file)
            if len(files) > files_max or size > size_max:
                raise _too_much(root, files, files_max, size_max)
            digest.update(_line(file))
        fingerprints[entry] = digest.hexdigest()
    return Tree(root=root, include=chosen, files=tuple(files), fingerprints=fingerprints)


def fingerprints(
    root: Path, include: Iterable[str], *, skip: Collection[str] = ()
) -> dict[str, str]:
    """Give the fingerprint of each of ``include`` that can be looked at; blocks on the disk.

    The same that `scan` gives: it changes when a file is written, added, moved or removed.
    """
    found: dict[str, str] = {}
    for entry in _outermost(include):
        try:
            found.update(scan(root, [entry], skip=skip).fingerprints)
        except TreeError:
            continue  # whoever includes it hears why from `scan`
    return found


def candidates(root: Path) -> list[str]:
    """Give the names right below ``root`` that an import may come to need."""
    try:
        names = os.listdir(root)
    except OSError:
        return []
    return sorted(name for name in names if _is_candidate(root, name))


def _is_candidate(root: Path, name: str) -> bool:
    if name in _EXCLUDED:
        return False
    if (root / name).is_dir():
        return name in BESIDE or (name.isidentifier() and _has_modules(root / name, 2))
    return name.endswith(_MODULES) and name.partition(".")[0].isidentifier()


def _has_modules(folder: Path, depth: int) -> bool:
    """Say whether a folder can be a package, without reading through one full of uploads."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            for entry in itertools.islice(entries, _LOOKED_AT):
                if entry.name.endswith(_MODULES):
                    return True
                if depth and entry.name.isidentifier() and entry.is_dir():
                    folders.append(Path(entry.path))
    except OSError:
        return True  # whoever includes it hears why it can't be read
    return any(_has_modules(inner, depth - 1) for inner in folders)


def newest_module() -> object:
    """Give the module that was loaded last in this process; for `loaded_files`."""
    return next(reversed(sys.modules.values()))


def loaded_files(after: object = None) -> set[str]:
    """Give the files of the modules that are loaded in this process, or since ``after`` was.

    A worker shares the older ones with the main process until it so much as looks at them.
    """
    try:
        modules = [
            *itertools.takewhile(lambda one: one is not after, reversed(sys.modules.values()))
        ]
    except RuntimeError:  # a thread has imported something meanwhile
        modules = list(sys.modules.values())
    files = {getattr(module, "__file__", None) for module in modules}
    return {file for file in files if isinstance(file, str) and file}


def imported(root: Path, module_files: Iterable[str]) -> list[str]:
    """Give the names right below ``root`` that the modules with these files came from.

    With them the folders `BESIDE` them. For ``include`` when the configuration has none.
    """
    root = Path(os.path.realpath(root))
    names = set()
    for file in module_files:
        real = os.path.realpath(file)
        if real.startswith(_OWN):
            continue
        # a module may have been found by way of a link: to the folder, or in it
        for path in {Path(file).absolute(), Path(real)}:
            if path.is_relative_to(root) and path != root:
                names.add(path.relative_to(root).parts[0])
    found = {name for name in names if not _is_excluded(root, name)}
    return sorted(found | {name for name in BESIDE if found and (root / name).is_dir()})


def code_among(files: Iterable[str]) -> list[str]:
    """Return those of ``files`` that may be code: no hidden file, cache, database or log."""
    return [
        file
        for file in files
        if not file.endswith((*_DATA, *_COMPILED))
        and not any(part in _EXCLUDED or part.startswith(".") for part in file.split("/"))
    ]


def manifest_of(tree: Tree) -> Manifest:
    """Read and hash every file of ``tree``; raises `TreeError` when one can't be read."""
    entries = []
    for file in tree.files:
        sha256 = None
        if file.link is None and not file.is_folder:
            sha256 = _hash(tree.root, file.path)
        entries.append(
            Entry(
                path=file.path,
                mode=stat.S_IMODE(file.mode),
                size=file.size,
                sha256=sha256,
                link=file.link,
            )
        )
    return Manifest.of(entries)


def _hash(root: Path, path: str) -> str:
    try:
        fd = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _outermost(include: Iterable[str]) -> tuple[str, ...]:
    """Give the entries in order, without those that lie in another one."""
    found: list[str] = []
    for entry in sorted({os.path.normpath(entry) for entry in include}):
        if entry == ".":
            return (".",)
        if not any(entry.startswith(f"{outer}/") for outer in found):
            found.append(entry)
    return tuple(found)


def _with_link_targets(root: Path, include: tuple[str, ...]) -> tuple[str, ...]:
    """Add what links among the entries lead to; raises `TreeError` for one that leads out."""
    chosen = set(include)
    for entry in include:
        real = Path(os.path.realpath(root / entry))
        if not real.is_relative_to(root):
            raise TreeError(
                f"{entry} is, or lies in, a link that leads out of the app's folder",
                hint="let `path` be the folder where the code really is",
            )
        if real != root / entry and real.exists():
            inner = real.relative_to(root).parts
            chosen.add(inner[0] if inner else ".")
    return _outermost(chosen)


def _walk(root: Path, entry: str, skip: frozenset[str]) -> Iterator[TreeFile]:
    """Give the files of one entry in order of their names; its own name is always wanted."""
    path = root / entry
    try:
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode):
            if str(path) not in skip:
                yield from _walk_folder(root, "" if entry == "." else entry, skip)
        else:
            file = _file(root, entry, found)
            if file is not None:
                yield file
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(os.path.relpath(error.filename or path, root), error) from error


def _walk_folder(root: Path, folder: str, skip: frozenset[str]) -> Iterator[TreeFile]:
    path = root / folder
    prefix = f"{folder}/" if folder else ""
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    if folder and any(entry.name == "pyvenv.cfg" for entry in found):
        return  # a virtual environment
    for entry in found:
        if entry.path not in skip and entry.name not in _EXCLUDED:
            yield from _inner(root, prefix + entry.name, entry, skip)
    if folder and all(entry.name in _EXCLUDED for entry in found):
        status = path.lstat()
        # without its time: that changes with every cache that comes into it
        yield TreeFile(path=folder, mode=status.st_mode, size=0, mtime_ns=0, inode=0)


def _inner(
    root: Path, path: str, entry: "os.DirEntry[str]", skip: frozenset[str]
) -> Iterator[TreeFile]:
    if entry.is_dir(follow_symlinks=False):
        yield from _walk_folder(root, path, skip)
    elif not entry.name.endswith((*_DATA, *_COMPILED)):
        file = _file(root, path, entry.stat(follow_symlinks=False))
        if file is not None:
            yield file


def _file(root: Path, path: str, found: os.stat_result) -> TreeFile | None:
    link = os.readlink(root / path) if stat.S_ISLNK(found.st_mode) else None
    if link is None and not stat.S_ISREG(found.st_mode):
        return None  # a socket, a pipe or a device
    return TreeFile(
        path=path,
        mode=found.st_mode,
        size=found.st_size if link is None else 0,
        mtime_ns=found.st_mtime_ns,
        inode=found.st_ino,
        link=link,
    )


def _is_excluded(root: Path, name: str) -> bool:
    return (
        name in _EXCLUDED
        or name.endswith((*_DATA, *_COMPILED))
        or (root / name / "pyvenv.cfg").exists()
    )


def _line(file: TreeFile) -> bytes:
    line = f"{file.path}\0{file.size} {file.mtime_ns} {file.inode} {file.mode} {file.link}\0"
    return line.encode("utf-8", "surrogateescape")


def _unreadable(path: str, error: OSError) -> TreeError:
    # a name out of the tree: relative, so that it may be shown to anybody
    return TreeError(
        f"cannot read {path}: {error.strerror}", hint="correct its owner or mode, or set `include`"
    )


def _too_much(root: Path, files: list[TreeFile], files_max: int, size_max: int) -> TreeError:
    sizes: dict[str, tuple[int, int]] = {}
    for file in files:
        parts = file.path.split("/")
        name = "/".join(parts[:2])
        count, size = sizes.get(name, (0, 0))
        sizes[name] = count + 1, size + file.size
    worst = max(sizes, key=lambda name: sizes[name][1] / size_max + sizes[name][0] / files_max)
    return TreeError(
        f"more than {files_max} files or {size_max // 2**20} MiB belong to the app; "
        f"most of it is {worst}",
        hint="name what is code with `include`, or move data into FLASK_SUPERVISOR_DATA_DIR",
    )
