"""Whether the code that an app runs differs from its files.

For throw-away children: a large app takes seconds and memory.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor.source.fingerprints import TEMPLATES, Watch, content_digest, files_of
from supervisor.source.import_statements import Unreadable
from supervisor.source.import_survey import needed
from supervisor.source.module_finder import read_file

_PACKAGE = "__init__.py"
_TEMPLATE = b"template"  # in render_template, template_folder and what extensions call theirs


def differs(
    path: Path,
    targets: Collection[str],
    search_path: Sequence[str],
    watches: Sequence[dict[str, Any]],
    contents: Mapping[str, str],
    loaded: Collection[str],
) -> bool:
    """Return whether a file of the app's differs in content from what is running.

    Those are the files that it has ``loaded``, those that ``targets`` would import, at once or
    later, and the templates beside them, as far as ``watches`` cover them. ``contents``
    are the digests of all these files (`fingerprints.contents`) when it was imported.
    """
    watched = [Watch.from_json(one["watch"]) for one in watches]
    if any(content_digest(f) != contents.get(f) for one in watched for f in one.files):
        return True
    root = os.path.realpath(path)
    before = {os.path.realpath(file): digest for file, digest in contents.items()}
    known = before.keys() | {os.path.realpath(f) for one in watched for f in files_of(one)}
    wanted = {os.path.realpath(file) for file in loaded}
    for target in targets:
        files, missing = needed(target, path, search_path)
        wanted |= {os.path.realpath(file) for file in files}
        for module in missing:  # it may have been there
            place = os.path.join(root, *module.split("."))
            wanted |= {f"{place}.py", os.path.join(place, _PACKAGE)}
    wanted &= known
    if any(map(_names_templates, wanted)):
        folders = {os.path.join(os.path.dirname(file), TEMPLATES, "") for file in wanted}
        folders |= {os.path.join(os.path.realpath(f), "") for w in watched for f in w.templates}
        wanted |= {file for file in known if any(map(file.startswith, folders))}
    return any(content_digest(file) != before.get(file) for file in wanted)


def _names_templates(file: str) -> bool:
    try:
        return _TEMPLATE in read_file(file)
    except Unreadable:
        return False
