"""What a report of a failed import holds: one line, no absolute path, never an empty reason."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importing_case import run_import, write

from supervisor.process.throwaway import call_in_child
from supervisor.values.reports import ImportReport
from supervisor.worker.import_failure import failure_report

FOLDER = Path("/srv/field/coach app")  # with a space, as folders of people are
MESSAGE_MAX = 300
PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def report_of(error: BaseException) -> ImportReport:
    """Return the report of an exception that an import has raised."""
    try:
        raise error
    except BaseException as raised:
        return failure_report(raised, target="coaching:app", path=FOLDER, seconds=0.1)


# ---- code that can't be read

UNREADABLE = [
    ("x = 1\nif x\n    pass\n", "SyntaxError: expected ':' (coaching.py, line 2)"),
    ("def f(:\n", "SyntaxError: invalid syntax (coaching.py, line 1)"),
    ("x = 1\n  y = 2\n", "IndentationError: unexpected indent (coaching.py, line 2)"),
    (
        "if 1:\n\tx = 1\n        y = 2\n",
        "TabError: inconsistent use of tabs and spaces in indentation (coaching.py, line 3)",
    ),
]


@pytest.mark.parametrize(("source", "reason"), UNREADABLE)
def test_a_syntax_error_is_named_with_its_place(tmp_path: Path, source: str, reason: str) -> None:
    """The reason has the file and the line, once."""
    assert run_import(tmp_path, source)["reason"] == reason


@pytest.mark.parametrize(("source", "reason"), UNREADABLE)
def test_a_syntax_error_in_another_file(tmp_path: Path, source: str, reason: str) -> None:
    """The file with the error is named, and not the one that imports it."""
    report = run_import(tmp_path, "import kit.deep\n", {"kit/deep.py": source})
    assert report["reason"] == reason.replace("coaching.py", "kit/deep.py")
    assert report["file"] == "kit/deep.py"


def test_a_syntax_error_shows_its_line(tmp_path: Path) -> None:
    """The hint has the text of the line, without its indentation."""
    report = run_import(tmp_path, "def f():\n    return (1\n")
    assert report["hint"] == "correct this line: return (1"


@pytest.mark.parametrize(
    "source",
    [
        b"name = 'Caf\xe9'\n",  # Latin-1
        b"# -*- coding: klingon -*-\n",
        b"x = 1\n" + b"\0" * 4096,  # what a power cut leaves on an SD card
        b"\0" * 4096,
        "x = 1\n".encode("utf-16"),
    ],
)
def test_a_file_that_is_no_source_text_is_named(tmp_path: Path, source: bytes) -> None:
    """Whatever bytes a file holds, the reason names the file, once."""
    report = run_import(tmp_path, "import kit.deep\n", {"kit/deep.py": source})
    assert report["reason"].count("kit/deep.py") == 1, report["reason"]
    assert report["hint"]


# ---- places


def test_the_place_is_in_the_apps_own_code(tmp_path: Path) -> None:
    """For an exception in a library the report names the app's line that led to it."""
    report = run_import(tmp_path, "import json\n\n\nx = json.loads('{')\n")
    assert (report["file"], report["line"]) == ("coaching.py", 4)


def test_a_library_beside_the_app_is_not_the_apps_own_code(tmp_path: Path) -> None:
    """Files of a virtual environment in the app's folder don't count as the app's."""
    library = {"venv/lib/site-packages/thing.py": "raise OSError('no bus')\n"}
    source = "import sys\nsys.path.append('venv/lib/site-packages')\nimport thing\n"
    report = run_import(tmp_path, source, library)
    assert (report["file"], report["line"]) == ("coaching.py", 3)


def test_a_failure_with_no_line_of_the_app(tmp_path: Path) -> None:
    """A failure in a library alone is reported with its file, without the folder."""
    library = tmp_path / "elsewhere"
    write(library, {"broken.py": "\n1 / 0\n"})
    report = call_in_child(import_from_elsewhere, tmp_path / "app", library, timeout_s=30)
    assert report["reason"] == "ZeroDivisionError: division by zero (broken.py, line 2)"


def import_from_elsewhere(folder: Path, library: Path) -> dict[str, str | int | None]:
    """Import a module of the folder ``library`` as the target."""
    import sys

    from supervisor.worker.importing import import_app

    folder.mkdir()
    sys.path.append(str(library))
    _, report = import_app("broken:app", folder, timeout_s=20)
    assert report is not None
    return {**report.to_json(), "reason": report.cause.reason}


# ---- paths

PLACES = [
    "/home/pi/secret/coach.db",
    "/home/pi/secret place/coach.db",
    "/coach.db",
    str(FOLDER / "data" / "coach.db"),
    str(FOLDER),
    "/home/pi/secret/",
]


@pytest.mark.parametrize("path", PLACES)
def test_an_error_about_a_file_hides_its_folder(path: str) -> None:
    """The message of an OSError keeps the file's name and loses its folder."""
    for error in (FileNotFoundError(2, "No", path), OSError(18, "No", path, None, path)):
        report = report_of(error)
        shown = f"{report.message} {report.hint}"
        assert not re.search(r"['\" ]/|home|srv", shown), shown
        assert Path(path).name in report.message


@pytest.mark.parametrize(
    "message",
    [
        "unable to open /home/pi/secret/coach.db",
        "unable to open '/home/pi/secret/coach.db'",
        'unable to open "/home/pi/secret/coach.db": locked',
        "(/home/pi/secret/coach.db)",
        "path=/home/pi/secret/coach.db, mode=rw",
        "cannot open:/home/pi/secret/coach.db",
        "sqlite:////home/pi/secret/coach.db",
        "file:///home/pi/secret/coach.db",
        "/home/pi/secret/lib.so: cannot open shared object file",
        "['/home/pi/secret/a', '/home/pi/secret/b']",
        "first line\n/home/pi/secret/coach.db\nlast line",
    ],
)
def test_a_message_hides_folders(message: str) -> None:
    """Paths lose their folders, however they are written into a message."""
    shown = report_of(RuntimeError(message)).message
    assert "home" not in shown, shown
    assert "secret" not in shown, shown


@pytest.mark.parametrize(
    "message",
    [
        "no answer from http://10.0.0.7:8080/api/teams",
        "see https://flask.palletsprojects.com/en/stable/errors/",
        "1/2 and a/b/c",
        "the endpoint teams/list.html",
        "~/coach.db is missing",
    ],
)
def test_what_is_no_path_stays(message: str) -> None:
    """URLs and relative paths are not changed."""
    assert report_of(RuntimeError(message)).message == message


def test_the_apps_own_files_are_relative(tmp_path: Path) -> None:
    """A path below the app's folder is shown relative to it."""
    source = (
        "import pathlib\nraise ValueError(str(pathlib.Path(__file__).parent / 'data' / 'x.db'))"
    )
    assert run_import(tmp_path, source)["message"] == "data/x.db"


NAME = st.text("abcxyz0189_- .", min_size=1, max_size=8).map(lambda name: f"n{name.strip()}n")


@PROPERTY
@given(st.lists(NAME, min_size=1, max_size=6))
def test_no_absolute_path_of_an_oserror_is_shown(names: list[str]) -> None:
    """The reason never has the path of a missing file."""
    path = "/" + "/".join(names)
    reason = report_of(FileNotFoundError(2, "No such file or directory", path)).cause.reason
    assert f"'{path}'" not in reason


# ---- texts


@PROPERTY
@given(st.text(st.characters(codec=None), max_size=1000))
def test_a_message_is_one_line_fit_for_a_page(text: str) -> None:
    """Whatever an app raises, the message is one short line of printable text."""
    report = report_of(RuntimeError(text))
    assert report.message.isprintable(), ascii(report.message)
    assert len(report.message) <= MESSAGE_MAX
    report.message.encode()
    report.traceback.encode()


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No", "/data/caf\udce9\x1b[31m.csv"),
        SyntaxError("invalid syntax", ("coaching.py", 1, 1, "x = '\udce9\x1b[31m'\n")),
        ModuleNotFoundError("No module named 'x'", name="caf\udce9\x1b[31m"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_hint_is_one_line_fit_for_a_page(error: Exception) -> None:
    """Names and lines that a hint quotes can't add lines or markup to the page."""
    hint = report_of(error).hint
    assert hint
    assert hint.isprintable(), ascii(hint)


def test_a_long_message_is_cut() -> None:
    """A message of megabytes is cut visibly; its traceback is cut at the beginning."""
    report = report_of(RuntimeError("x" * 5_000_000))
    assert len(report.message) == MESSAGE_MAX
    assert report.message.endswith("…")
    assert len(report.traceback) < 40_000


def test_the_traceback_has_the_apps_lines_and_not_ours(tmp_path: Path) -> None:
    """The traceback starts in the app's code."""
    report = run_import(tmp_path, "import helper\n", {"helper.py": "x = 1\nx.y = 2\n"})
    lines = report["traceback"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('coaching.py", line 1, in <module>')
    assert 'helper.py", line 2' in report["traceback"]
    assert lines[-1] == "AttributeError: 'int' object has no attribute 'y'"
    assert "importlib" not in report["traceback"]
    assert not re.search(r"supervisor.\w+\.py", report["traceback"])


def test_the_traceback_of_a_limit_is_the_apps(tmp_path: Path) -> None:
    """The traceback of an interrupted import ends in the app's line, not in our handler."""
    report = run_import(tmp_path, "while True:\n    x = 1\n", timeout_s=0.3)
    assert 'coaching.py", line' in report["traceback"]
    assert not re.search(r"supervisor.\w+\.py", report["traceback"])


def test_the_traceback_has_the_first_cause(tmp_path: Path) -> None:
    """The traceback includes the cause of the app's exception."""
    source = "try:\n    {}['key']\nexcept KeyError as error:\n    raise OSError('x') from error\n"
    report = run_import(tmp_path, source)
    assert "KeyError: 'key'" in report["traceback"]
    assert report["reason"] == "OSError: x (coaching.py, line 4)"


# ---- exceptions that are made to be difficult

HOSTILE = [
    ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n", "E"),
    ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E\n", "E"),
    ("class E(Exception):\n    def __str__(self): return 5\nraise E\n", "E"),
    ("class C:\n    def __repr__(self): raise ValueError\nraise SystemExit(C())\n", "SystemExit"),
    ("raise ModuleNotFoundError('x', name=5)\n", "ModuleNotFoundError"),
    ("raise ModuleNotFoundError('x', name='/etc/passwd')\n", "ModuleNotFoundError"),
    ("raise ModuleNotFoundError('x', name='')\n", "ModuleNotFoundError"),
    ("raise ModuleNotFoundError('x', name='..')\n", "ModuleNotFoundError"),
    ("raise ModuleNotFoundError('x', name='a.\\0.b')\n", "ModuleNotFoundError"),
    ("raise SyntaxError('x', (5, 'a', 'b', []))\n", "SyntaxError"),
    ("raise SyntaxError('x', ('a.py', 'a', 0, 5))\n", "SyntaxError"),
    ("open(99)\n", "OSError"),
    ("open(b'/nowhere/\\xff')\n", "FileNotFoundError"),
]


@pytest.mark.parametrize(("source", "type_name"), HOSTILE)
def test_a_difficult_exception_is_reported_too(tmp_path: Path, source: str, type_name: str) -> None:
    """An exception whose methods raise is reported with its type, in valid JSON."""
    report = run_import(tmp_path, source)
    assert report["type"] == type_name
    assert report["file"] is None or isinstance(report["file"], str)
    assert report["line"] is None or isinstance(report["line"], int)
    fields = {key: report[key] for key in report if key not in ("ok", "reason")}
    assert ImportReport.from_json(json.loads(json.dumps(fields))).cause.reason == report["reason"]
