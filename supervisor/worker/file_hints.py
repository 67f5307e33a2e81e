"""Says what to do about a file, a program, a device or a database that an import can't use.

Needs the standard library alone, because a worker may run on the interpreter of the app's own
virtual environment.
"""

import errno
import grp
import os
import re
import traceback
from pathlib import Path, PureWindowsPath

from supervisor.worker.failure import Failure
from supervisor.worker.missing_module import close_name

_FILES_SEARCHED_MAX = 5000
_DEVICE = re.compile(r"/dev/[\w/.-]+")
_DATABASES = {  # what sqlite3 says, and what to do
    "unable to open database file": (
        "does the folder of the database exist, and may the supervisor's user write there?"
    ),
    "readonly database": "the supervisor's user has to write the database and its folder",
    "no such table": (
        "the database is new, or not the one that is meant: a relative path begins at the app's "
        "`path`"
    ),
}


def of_file(failure: Failure) -> str | None:
    """Return the hint for an error about a file, None for any other."""
    error = failure.error
    for text, found in _DATABASES.items():
        if text in failure.text:
            return found
    if isinstance(error, OSError) and (device := _DEVICE.search(f"{error.filename} {error}")):
        return _of_device(device[0], error)
    if type(error).__name__ == "TemplateNotFound":
        elsewhere = _found_below(failure.path, Path(str(error)).name)
        if elsewhere and "templates/" not in elsewhere:
            return f"Flask looks in the folder templates/ beside the app: move {elsewhere} there"
        return f"{error} is not in the folder templates/: was it copied?"
    if not isinstance(error, OSError) or not isinstance(error.filename, str):
        return None
    if failure.is_in("/subprocess.py"):
        return _of_program(error, failure)
    if isinstance(error, PermissionError):
        return f"the supervisor's user needs access to {Path(error.filename).name}"
    return _missing(error.filename, failure) if isinstance(error, FileNotFoundError) else None


def sets(env_file: Path, variable: str) -> bool:
    """Return whether a file of variables sets one of this name."""
    try:
        text = env_file.read_text(errors="replace")
    except OSError:
        return False
    return re.search(rf"^\s*(export\s+)?{re.escape(variable)}\s*=", text, re.MULTILINE) is not None


def _of_device(device: str, error: OSError) -> str | None:
    try:
        group = grp.getgrgid(os.stat(device).st_gid).gr_name
    except (OSError, KeyError):
        return f"the device {Path(device).name} is not there: is it connected, and switched on?"
    if error.errno != errno.EACCES:
        return None
    return f"the supervisor's user has to be in the group {group}: sudo usermod -aG {group} USER"


def _of_program(error: OSError, failure: Failure) -> str | None:
    """Return the hint for a program that subprocess can't start."""
    name = str(error.filename)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if any(str(frame.f_locals.get("cwd")) == name for frame in frames[-2:]):
        return f"the folder {Path(name).name}, its cwd, is not there: create it"
    if isinstance(error, PermissionError):
        return f"make it executable: chmod +x {name}"
    if not isinstance(error, FileNotFoundError):
        return None
    if "/" not in name:
        return f"the program {name} is not installed, or is not in PATH"
    if (failure.path / name).exists():
        return "the interpreter in its first line is not there: has it the line ends of Windows?"
    return _missing(name, failure)


def _missing(name: str, failure: Failure) -> str:
    windows = PureWindowsPath(name)
    if "\\" in name:
        shown = _found_below(failure.path, windows.name) or windows.as_posix()
        return f'this is a path of Windows: here it is "{shown}"'
    if name.startswith("~"):
        return f'Python does not replace the ~: write os.path.expanduser("{name}")'
    file = failure.path / name
    elsewhere = _found_below(failure.path, file.name)
    if elsewhere and (Path(name).is_absolute() or file.parent.is_dir()):
        return (
            f"{elsewhere} exists, but the working folder is the app's `path`: open it with "
            f'Path(__file__).with_name("{file.name}"), or as "{elsewhere}"'
        )
    if not file.parent.is_dir():
        return f"the folder {file.parent.name} is not there: create it, or was it not copied?"
    if close := close_name(file.name, os.listdir(file.parent)):
        return f"{file.name} is not there, but {close} is: which name is right?"
    return f"{file.name} is not there: was it copied?"


def _found_below(path: Path, name: str) -> str | None:
    """Return where a file with this name lies below ``path``, looking at a bounded number."""
    looked_at = 0
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(one for one in folders if not one.startswith((".", "__")))
        looked_at += len(names) + 1
        if name in names:
            return os.path.relpath(os.path.join(folder, name), path)
        if looked_at > _FILES_SEARCHED_MAX:
            break
    return None
