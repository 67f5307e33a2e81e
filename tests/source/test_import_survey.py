"""All that an app lacks is named at once, by reading its files; what works is never accused."""

import json
import os
import sys
import textwrap
import zipfile
from dataclasses import asdict
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from operating_case import open_folder

from supervisor.process.throwaway import call_in_child
from supervisor.source.import_survey import ImportProblem, Kind, own_files, survey

SEARCH_PATH = [entry for entry in sys.path if entry]
NOBODY = 65534


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Create the files, and return their folder."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = textwrap.dedent(content).encode()
        file.write_bytes(content)
    return folder


def surveyed(
    folder: Path, files: dict[str, str | bytes], target: str = "app"
) -> list[ImportProblem]:
    """Survey an app of these files."""
    return survey(target, write(folder, files), SEARCH_PATH)


def lines_of(found: list[ImportProblem]) -> list[str]:
    """Return every problem as one line: kind, module, places."""
    return [" ".join([f.kind, f.module or "-", f"{f.file}:{f.line}", *f.also]) for f in found]


def test_eight_missing_modules_in_four_files_are_named_at_once(tmp_path: Path) -> None:
    """Each file's missing modules hide those of the next; none stays hidden."""
    found = surveyed(
        tmp_path,
        {
            "coach.py": """
                import no_one
                from field.settings_manager import SettingsManager
                from field import db_manager
                """,
            "field/__init__.py": "",
            "field/db_manager.py": """
                import os, no_two, no_one
                import field.registry as registry
                from . import no_three
                """,
            "field/registry.py": """
                from .no_four.deep import thing
                from .services.mail import send
                import no_five.part
                """,
            "field/services/mail.py": """
                from ..no_six import y
                from .no_seven import *
                """,
        },
        "coach",
    )
    assert lines_of(found) == [
        "missing no_one coach.py:2 field/db_manager.py:2",
        "missing field.settings_manager coach.py:3",
        "missing no_two field/db_manager.py:2",
        "missing field.no_three field/db_manager.py:4",
        "missing field.no_four field/registry.py:2",
        "missing no_five field/registry.py:4",
        "missing field.no_six field/services/mail.py:2",
        "missing field.services.no_seven field/services/mail.py:3",
    ]


OTHERS: dict[str, str | bytes] = {
    "there.py": "known = 1\nimport json as other\n",
    "space/part.py": "",
    "lazy.py": "def __getattr__(name): return name\n",
    "plugins/__init__.py": "__path__.append('/opt/plugins')\n",
}
TRY = "try:\n    import gone\nexcept ImportError:\n    "
FOUND = {
    "import gone.deep.er as g": ["missing gone app.py:1"],
    "import json.gone, requests.gone": [
        "missing json.gone app.py:1",
        "missing requests.gone app.py:1",
    ],
    "import gone\ndef go():\n    import gone": ["missing gone app.py:1 app.py:3"],
    "def go():\n    import gone\nimport gone": ["missing gone app.py:3 app.py:2"],
    "def go():\n    import gone": ["later gone app.py:2"],
    "import os\nif os.environ.get('X'):\n    import gone": ["conditional gone app.py:3"],
    TRY + "pass": [],
    TRY + "raise": ["missing gone app.py:2"],
    TRY + "import json as gone": [],
    TRY + "import lost": ["conditional lost app.py:4"],
    "try:\n    import json\nexcept ImportError:\n    import gone": ["conditional gone app.py:4"],
    "import gone\n" + TRY + "pass": ["missing gone app.py:1 app.py:3"],
    "from . import gone": ["missing - app.py:1"],
    "import there.gone": ["missing there.gone app.py:1"],
    "from there import gone": ["missing there.gone app.py:1"],
    "from there import known, other, __doc__": [],
    "from space import gone": ["missing space.gone app.py:1"],
    "from space import part": [],
    "from lazy import anything": [],
    "import lazy.anything": ["missing lazy.anything app.py:1"],
    "import plugins.mine": [],
    "import sys\nsys.modules['gone.io'] = sys\nimport gone.io": [],
    "import there\nthere.later = 1\nfrom there import later": [],
    "import sys\nsys.path.insert(0, '/nowhere')\nimport gone": ["missing gone app.py:3"],
    "import sys, os\nsys.path += [os.environ['HOME']]\nimport gone": ["conditional gone app.py:3"],
}


@pytest.mark.parametrize("source", FOUND)
def test_what_is_missing_and_how_bad_that_is(tmp_path: Path, source: str) -> None:
    """What may be there after all is not reported as missing."""
    assert lines_of(surveyed(tmp_path, {"app.py": source.encode(), **OTHERS})) == FOUND[source]


def test_functions_of_a_factory_target_run_at_the_start(tmp_path: Path) -> None:
    """What the factory imports is needed at once, unless it may have returned by then."""
    source = """
        def create_app():
            import gone
            if gone: return gone
            import lost
        """
    assert lines_of(surveyed(tmp_path, {"app.py": source}, "app:create_app()")) == [
        "missing gone app.py:3",
        "conditional lost app.py:5",
    ]
    assert lines_of(survey("app:create_app", tmp_path, SEARCH_PATH)) == [
        "later gone app.py:3",
        "later lost app.py:5",
    ]


def test_a_problem_counts_as_the_surest_way_to_its_file(tmp_path: Path) -> None:
    """A missing module matters at the start only if its file is imported then."""
    files: dict[str, str | bytes] = {
        "app.py": """
            def go():
                import one
            try:
                import two
            except ImportError:
                pass
            """,
        "one.py": "import gone",
        "two.py": "import lost, three",
        "three.py": "import one",
    }
    assert lines_of(surveyed(tmp_path, files)) == ["later gone one.py:1"]
    write(tmp_path, {"three.py": "import one, app", "app.py": "import three, two"})
    assert lines_of(survey("app", tmp_path, SEARCH_PATH)) == [
        "missing gone one.py:1",
        "missing lost two.py:1",
    ]


def test_files_that_cannot_be_compiled(tmp_path: Path) -> None:
    """Each is named with its line; what the app catches or never imports is not."""
    broken = "x = 1\ndef f(:\n"
    found = surveyed(
        tmp_path,
        {
            "pkg/__init__.py": """
                from . import syntax, bytes, nul, outside, escapes
                try:
                    from . import guarded, swallowed
                except ImportError: pass
                try: from . import swallowed
                except Exception: pass
                def go(): from . import later
                import gone
                """,
            "pkg/syntax.py": broken,
            "pkg/guarded.py": broken,
            "pkg/later.py": broken,
            "pkg/swallowed.py": "import pkg.deeper",
            "pkg/deeper.py": broken,
            "pkg/bytes.py": b"name = '\xff'\n",
            "pkg/nul.py": b"a = 1\0\n",
            "pkg/outside.py": "return 1\n",
            "pkg/escapes.py": "x = '\\d' is 5\n",
            "pkg/never.py": broken,
        },
        "pkg",
    )
    lines = [line.rsplit(":", 1)[0] for line in lines_of(found)]
    assert lines == [
        "missing gone pkg/__init__.py",
        "broken pkg.bytes pkg/bytes.py",
        "later pkg.later pkg/later.py",
        "broken pkg.nul pkg/nul.py",
        "broken pkg.outside pkg/outside.py",
        "broken pkg.syntax pkg/syntax.py",
    ]
    (syntax,) = (f for f in found if f.module == "pkg.syntax")
    assert (syntax.line, syntax.detail) == (2, "SyntaxError: invalid syntax")


def test_files_that_are_not_read(tmp_path: Path) -> None:
    """Huge and deeply nested files are named; problems beside them are still found."""
    found = surveyed(
        tmp_path,
        {
            "app.py": "import huge, deep, terms, links, gone",
            "huge.py": b"x = 1\n" * 1_700_000,
            "deep.py": "-" * 200_000 + "1",
            "terms.py": "x = 1" + " + 1" * 20_000,
            "links/__init__.py": "",
        },
    )
    (tmp_path / "links" / "again").symlink_to(tmp_path)
    (tmp_path / "round.py").symlink_to("round.py")
    (tmp_path / "folder.py").mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    assert lines_of(survey("app", tmp_path, SEARCH_PATH)) == lines_of(found)
    assert [line.split(":")[0] for line in lines_of(found)] == [
        "missing gone app.py",
        "unread deep deep.py",
        "unread huge huge.py",
        "unread terms terms.py",
    ]


@pytest.mark.root
def test_a_file_that_may_not_be_read_breaks_the_app() -> None:
    """An import of it fails too: the survey runs as the app's user."""
    with open_folder() as folder:
        write(folder, {"app.py": "import secret, gone", "secret.py": ""})
        (folder / "secret.py").chmod(0)

        def as_nobody() -> list[str]:
            os.chdir(folder)
            os.setuid(NOBODY)
            return lines_of(survey("app", Path(), SEARCH_PATH))

        found = call_in_child(as_nobody, timeout_s=20)
    assert found == ["missing gone app.py:1", "broken secret secret.py:None"]


def test_modules_that_are_no_source_files_are_found(tmp_path: Path) -> None:
    """Extensions, compiled files, archives and editable packages count as found."""
    with zipfile.ZipFile(tmp_path / "lib.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", "")
    extension = EXTENSION_SUFFIXES[0]
    site = write(
        tmp_path / "site",
        {
            "__editable___linked_finder.py": "MAPPING = {'linked': '/elsewhere/hidden'}",
            "spaced.pth": "import sys, types; m = types.ModuleType('spaced')",
            "foreign.py": "import not_our_business",
        },
    )
    write(
        tmp_path / "main",
        {
            "app.py": """
                import fast, fastpkg.sub, old, zipped.sub, linked.sub, spaced
                import hidden, foreign, time, os.path
                """,
            f"fast{extension}": b"",
            f"fastpkg/__init__{extension}": b"",
            "old.pyc": b"",
        },
    )
    found = survey("app", tmp_path / "main", [*SEARCH_PATH, str(tmp_path / "lib.zip"), str(site)])
    assert lines_of(found) == ["missing hidden app.py:3"]


def test_folders_that_the_app_adds_are_searched(tmp_path: Path) -> None:
    """Simple additions to the search path are understood, and the files there are followed."""
    write(tmp_path / "lib", {"helper.py": "import gone\nimport far"})
    write(tmp_path / "elsewhere", {"far.py": "import lost"})
    found = surveyed(
        tmp_path / "main",
        {
            "app.py": """
                import os, sys
                from pathlib import Path
                HERE = os.path.dirname(os.path.abspath(__file__))
                sys.path.insert(0, os.path.join(HERE, "..", "lib"))
                sys.path.append(str(Path(__file__).resolve().parent.parent / "elsewhere"))
                import helper
                """
        },
    )
    assert (
        lines_of(found) == []
    )  # they lie outside of the app's folder: only their being there counts
    assert lines_of(survey("main.app", tmp_path, SEARCH_PATH)) == [
        "missing lost elsewhere/far.py:1",
        "missing gone lib/helper.py:1",
    ]


def test_nothing_is_run_and_nothing_is_written(tmp_path: Path) -> None:
    """A survey leaves the interpreter and the folder as they were."""
    bomb = "import os\nopen('written', 'w')\nos._exit(3)\n"
    write(tmp_path, {"app.py": "import pkg.bomb\n" + bomb, "pkg/__init__.py": bomb})
    write(tmp_path, {"pkg/bomb.py": bomb})
    before = sorted(tmp_path.rglob("*")), sorted(sys.modules), sys.path[:]
    assert lines_of(survey("app", tmp_path, SEARCH_PATH)) == []
    assert (sorted(tmp_path.rglob("*")), sorted(sys.modules), sys.path[:]) == before


@pytest.mark.parametrize("target", ["gone", "gone.deeper", "there.gone", "", "a..b", "."])
def test_the_target_itself_is_missing(tmp_path: Path, target: str) -> None:
    """The problem names no file then."""
    found = surveyed(tmp_path, {"there.py": ""}, target)
    assert [(f.kind, f.file, f.line) for f in found] == [(Kind.MISSING, None, None)]


def test_a_problem_is_json(tmp_path: Path) -> None:
    """It can be sent from the child that finds it."""
    [found] = surveyed(tmp_path, {"app.py": "import gone\ndef f(): import gone"})
    assert json.loads(json.dumps(asdict(found))) == {
        "kind": "missing",
        "module": "gone",
        "file": "app.py",
        "line": 1,
        "detail": "no module named 'gone'",
        "also": ["app.py:2"],
    }


def test_a_large_app_is_followed_to_its_end(tmp_path: Path) -> None:
    """Every file of a long chain, in packages within packages, is read once."""
    files: dict[str, str | bytes] = {"app.py": "import level.m0", "level/__init__.py": ""}
    for number in range(500):
        files[f"level/m{number}.py"] = f"from level import m{number + 1}\nimport app, gone\n"
    gone, last = surveyed(tmp_path, files)
    assert (gone.module, len(gone.also), last.module) == ("gone", 499, "level.m500")
    assert len(own_files("app", tmp_path, SEARCH_PATH)) == 502


def test_the_apps_own_files_those_of_later_imports_too(tmp_path: Path) -> None:
    """What an app may import at its first request belongs to it; what it never names doesn't."""
    files: dict[str, str | bytes] = {
        "app.py": "import json, sibling\ndef page():\n    import pkg.late\n",
        "sibling.py": "",
        "pkg/__init__.py": "",
        "pkg/late.py": "",
        "pkg/never.py": "",
        "tool.py": "",
    }
    found = own_files("app:create()", write(tmp_path, files), SEARCH_PATH)
    names = {os.path.relpath(file, tmp_path) for file in found}
    assert names == {"app.py", "sibling.py", "pkg/__init__.py", "pkg/late.py"}
