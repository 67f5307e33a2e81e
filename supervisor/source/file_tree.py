"""Scans the files that make up an app: which they are, whether they changed, their hashes.

Not part of a release: caches, virtual environments, repositories, databases, logs, and whatever
is neither a file nor a link. Links are never followed: a release holds the link. Runs in workers
too: it needs the standard library alone.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from supervisor.source.manifest import Entry, Manifest
from supervisor.values.constants import SWAP_FOLDER
from supervisor.values.errors import SupervisorError

FILES_MAX = 20_000
SIZE_MAX = 100 * 1024 * 1024  # five releases of it fit onto the smallest SD card
EXCLUDED_NAMES = frozenset(
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
        SWAP_FOLDER,
    }
)
# Databases and logs change while an app runs: they are its data, whatever folder they lie in.
DATA_SUFFIXES = (
    *(".db", ".sqlite", ".sqlite3", "-wal", "-shm", "-journal", ".log", ".pid", ".sock"),
    *(".pyc", ".pyo"),
)


class TreeError(SupervisorError):
    """No release can be made of the files of an app."""


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
    def stamp(self) -> str:
        """What changes when the file is written or replaced."""
        return f"{self.size} {self.mtime_ns} {self.inode} {self.mode} {self.link}"

    @property
    def is_folder(self) -> bool:
        """Whether it is an empty folder."""
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files below ``root`` that belong to a release; ``include`` names the entries."""

    root: Path
    include: tuple[str, ...]
    files: tuple[TreeFile, ...]

    @property
    def stamps(self) -> dict[str, str]:
        """The stamp of each file, by its path."""
        return {file.path: file.stamp for file in self.files}


def scan(
    root: Path,
    include: Iterable[str],
    *,
    skip: Collection[str] = (),
    home: Path | None = None,
    is_data: Callable[[str], bool] = lambda _path: False,
    files_max: int = FILES_MAX,
    size_max: int = SIZE_MAX,
) -> Tree:
    """Return all that lies in the files and folders ``include`` below ``root``.

    Leaves out what is missing, the folders ``skip`` (absolute paths), and the files that
    ``is_data`` returns True for. ``home`` is the folder that a staged tree goes into: links may
    lead there. Raises `TreeError` for what can't be read,
    for more than the limits, and for an entry that leads out of ``root``.
    """
    root = Path(os.path.realpath(root))
    chosen = _with_link_targets(root, _outermost(include), home)
    files: list[TreeFile] = []
    size = 0
    for entry in chosen:
        for file in _walk(root, entry, frozenset(skip)):
            if is_data(file.path):
                continue
            size += file.size
            files.append(file)
            if len(files) > files_max or size > size_max:
                raise _too_much(root, files, files_max, size_max)
    return Tree(root=root, include=chosen, files=tuple(files))


def stamps(
    root: Path,
    include: Iterable[str],
    *,
    skip: Collection[str] = (),
) -> dict[str, str]:
    """Return the stamp of each file in ``include`` that can be read, by its path, as `scan` does.

    A stamp changes when the file is written or replaced. Blocks on the disk.
    """
    found: dict[str, str] = {}
    for entry in _outermost(include):
        try:
            found.update(scan(root, [entry], skip=skip).stamps)
        except TreeError:
            continue  # `scan` reports why
    return found


def manifest_of(tree: Tree) -> Manifest:
    """Return the manifest of ``tree``, with every file hashed; raises `TreeError`."""
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
    """Return the entries in order, without those that lie in another one."""
    found: list[str] = []
    for entry in sorted({os.path.normpath(entry) for entry in include}):
        if entry == ".":
            return (".",)
        if not any(entry.startswith(f"{outer}/") for outer in found):
            found.append(entry)
    return tuple(found)


def _with_link_targets(root: Path, include: tuple[str, ...], home: Path | None) -> tuple[str, ...]:
    """Return the entries with the targets of links among them; raises `TreeError`."""
    chosen = set(include)
    for entry in include:
        real = Path(os.path.realpath(root / entry))
        if not real.is_relative_to(root):
            if home is not None and is_in_place(real, Path(os.path.realpath(home))):
                continue
            raise TreeError(
                f"{entry} is, or lies in, a link that leads out of the app's folder",
                hint="let `path` be the folder where the code really is",
            )
        if real != root / entry and real.exists():
            inner = real.relative_to(root).parts
            chosen.add(inner[0] if inner else ".")
    return _outermost(chosen)


def is_in_place(real: Path, home: Path) -> bool:
    """Return whether a path lies in the folder of an app, and not in that of a swap."""
    return real.is_relative_to(home) and not real.is_relative_to(home / SWAP_FOLDER)


def _walk(root: Path, entry: str, skip: frozenset[str]) -> Iterator[TreeFile]:
    """Yield the files of one entry by name; the entry itself is never left out for its name."""
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
        if entry.path not in skip and entry.name not in EXCLUDED_NAMES:
            yield from _inner(root, prefix + entry.name, entry, skip)
    if folder and all(entry.name in EXCLUDED_NAMES for entry in found):
        status = path.lstat()
        # without its time: that changes with every cache that is created in it
        yield TreeFile(path=folder, mode=status.st_mode, size=0, mtime_ns=0, inode=0)


def _inner(
    root: Path, path: str, entry: "os.DirEntry[str]", skip: frozenset[str]
) -> Iterator[TreeFile]:
    if entry.is_dir(follow_symlinks=False):
        yield from _walk_folder(root, path, skip)
    elif not entry.name.endswith(DATA_SUFFIXES):
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


def _unreadable(path: str, error: OSError) -> TreeError:
    # the path is relative to the tree, so that it may be shown to anybody
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
