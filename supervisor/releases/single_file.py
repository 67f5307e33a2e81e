"""Stages one file that takes the place of the file with its name: the smallest deploy there is."""

import os
import stat
from pathlib import Path

from supervisor.releases.app_code import AppCode
from supervisor.releases.release import ReleaseError
from supervisor.releases.unpack_writer import Limits, Writer

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".gz")
_GZIP, _ZIP, _TAR = b"\x1f\x8b", b"PK", b"ustar"
_TAR_AT = 257  # offset of the magic in a header of tar(5)


def is_single_file(source: Path) -> bool:
    """Return whether ``source`` is a file and no archive, by its name and its first bytes."""
    try:
        if source.name.endswith(_ARCHIVES) or not stat.S_ISREG(source.stat().st_mode):
            return False
        with open(source, "rb") as stream:
            head = stream.read(_TAR_AT + len(_TAR))
    except OSError:
        return False  # `unpacking` says why
    return not head.startswith((_GZIP, _ZIP)) and not head.endswith(_TAR)


def stage_file(code: AppCode, source: Path, folder: Path) -> str:
    """Copy ``source`` into the empty ``folder``, at the path of the file that it replaces.

    Return that path. A Python file that the app doesn't have is new, at its top. Raises
    `ReleaseError` if several files have the name, and for any other file that the app doesn't have:
    more likely it was meant to be an archive.
    """
    same = [file.path for file in code.scan().files if file.path.split("/")[-1] == source.name]
    if source.name in same:
        same = [source.name]
    if len(same) > 1:
        raise ReleaseError(
            f"app '{code.app}' has several files with the name {source.name}: {', '.join(same)}",
            hint="deploy a folder that has it at its path, with --only",
        )
    if not same and source.suffix != ".py":
        raise ReleaseError(
            f"app '{code.app}' has no file {source.name} that this one could replace, and "
            "it is none of: folder, .tar.gz, .tar, .zip",
            hint="deploy a folder that has it at its path, with --only",
        )
    path = same[0] if same else source.name
    writer = Writer(source.name, folder, Limits(), None, code.path)
    mode = stat.S_IMODE(os.stat(code.path / path if same else source).st_mode)
    writer.copy(path, source, mode)
    writer.finish()
    return path
