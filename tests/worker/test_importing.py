"""Importing apps: whatever their code raises is caught and explained."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import Project
from importing_case import run_import, write

from supervisor.process.throwaway import TaskFailed, call_in_child
from supervisor.worker.importing import import_app, purge_modules

APP = "def app(environ, start_response):\n    return []\n"
GUARD = 'guard it with if __name__ == "__main__":'
WRONG_TARGET = "let the target name the Flask object, or the function that makes it with ()"
HELPERS = "did you mean helpers? Else copy helprs.py beside the app, or install its package"


# ---- what works


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (APP, "coaching:app"),
        ("import flask\napp = flask.Flask(__name__)\n", "coaching:app"),
        (APP + "def create_app():\n    return app\n", "coaching:create_app()"),
        (APP + "class Holder:\n    inner = staticmethod(app)\n", "coaching:Holder.inner"),
        (APP + "class Maker:\n    def make(self):\n        return app\nmaker = Maker()\n",
         "coaching:maker.make()"),
        ("from flask import Flask\ndef make(name, *, debug=False):\n"
         "    assert name == 'prod' and debug\n    return Flask(name)\n",
         "coaching:make('prod', debug=True)"),
        (APP + "class M:\n    def __call__(self, e, s): return []\napp = M()\n", "coaching:app"),
        ("class app:\n    def __init__(self, environ, start_response): pass\n"
         "    def __iter__(self): yield b''\n", "coaching:app"),  # as PEP 3333 has it
        ("def app(environ, start_response=None):\n    yield b''\n", "coaching:app"),
        (APP + "import functools\napp = functools.partial(app)\n", "coaching:app"),
        (APP + "wrapped = app\ndef app(*arguments): return wrapped(*arguments)\n", "coaching:app"),
        ("from wsgiref.simple_server import demo_app\nfrom wsgiref.validate import validator\n"
         "app = validator(demo_app)\n", "coaching:app"),
        ("from werkzeug.local import LocalProxy\nfrom flask import Flask\nreal = Flask('x')\n"
         "app = LocalProxy(lambda: real)\n", "coaching:app"),
        ("class Odd:\n    def __getattr__(self, name): raise RuntimeError(name)\n"
         "    def __call__(self, *_): return []\napp = Odd()\n", "coaching:app"),
    ],
)  # fmt: skip
def test_a_good_app(tmp_path: Path, source: str, target: str) -> None:
    """Objects, factories and dotted attributes of either kind can be the target."""
    assert run_import(tmp_path, source, target=target) == {"ok": True}


@pytest.mark.parametrize("name", ["my-app", "2fa", "class"])
def test_a_module_that_no_import_statement_can_name(tmp_path: Path, name: str) -> None:
    """The file of the target may have any name."""
    assert run_import(tmp_path, "", {f"{name}.py": APP}, target=f"{name}:app") == {"ok": True}


def test_a_module_in_a_package(tmp_path: Path) -> None:
    """A dotted module is imported with its package."""
    files = {"kit/__init__.py": "", "kit/web.py": "from .base import app\n", "kit/base.py": APP}
    assert run_import(tmp_path, "", files, target="kit.web:app") == {"ok": True}


def test_an_import_may_change_folder_and_path(tmp_path: Path) -> None:
    """An app that changes the working folder and the search path is imported all the same."""
    source = "import os, sys\nos.chdir('/')\nsys.path.clear()\n" + APP
    assert run_import(tmp_path, source) == {"ok": True}
    report = run_import(tmp_path, source + "\nraise ValueError('late')\n")
    assert (report["file"], report["line"]) == ("coaching.py", 7)
    assert report["reason"] == "ValueError: late (coaching.py, line 7)"


def report_folders(folder: Path) -> list[str]:
    """Import an app that reports its working folder and search path."""
    app, _ = import_app("looking:app", folder, timeout_s=20)
    return list(app({}, lambda *_: None)) if app else []


def test_the_folder_is_the_working_folder_and_comes_first(tmp_path: Path) -> None:
    """An app finds its own files first, and relative paths start in its folder."""
    source = "import os, sys\nseen = [os.getcwd(), sys.path[0]]\ndef app(*_): return seen\n"
    write(tmp_path, {"looking.py": source})
    assert call_in_child(report_folders, tmp_path, timeout_s=30) == [str(tmp_path)] * 2


def test_only_the_apps_own_folder_is_searched(project: Project) -> None:
    """An app can't import modules from the folder where the supervisor was started."""
    write(project.folder, {"lonely.py": APP})
    project.app("coach", "from lonely import app\n")
    done = project.command("check", "--json")
    assert json.loads(done.stdout)["apps"]["coach"]["report"]["missing_module"] == "lonely"


def alarm_after_import(folder: Path) -> bool:
    """Return whether a handler that an app installed is still installed after its import."""
    app, _ = import_app("alarming:app", folder, timeout_s=20)
    return callable(signal.getsignal(signal.SIGALRM)) and app is not None


def test_an_app_keeps_its_alarm(tmp_path: Path) -> None:
    """The import limit leaves an app's own SIGALRM handler installed."""
    source = "import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\n" + APP
    write(tmp_path, {"alarming.py": source})
    assert call_in_child(alarm_after_import, tmp_path, timeout_s=30)


# ---- missing modules

MISSING = [
    # source, other files, missing module, hint
    (
        "import field_trainer.settings\n",
        {"field_trainer/__init__.py": ""},
        "field_trainer.settings",
        "the file field_trainer/settings.py is missing: was it copied?",
    ),
    (
        "import field_trainer.deep.settings\n",
        {"field_trainer/deep/other.py": ""},  # namespace packages
        "field_trainer.deep.settings",
        "the file field_trainer/deep/settings.py is missing: was it copied?",
    ),
    (
        "from kit import base\n",
        {"kit/__init__.py": "from .helpers import x\n"},
        "kit.helpers",
        "the file kit/helpers.py is missing: was it copied?",
    ),
    (
        "import field_trainer.setings\n",
        {"field_trainer/settings.py": ""},
        "field_trainer.setings",
        "did you mean field_trainer.settings?",
    ),
    (
        "import helprs\n",
        {"helpers.py": ""},
        "helprs",
        HELPERS,
    ),
    (
        "import helprs\n",
        {"helpers/__init__.py": ""},
        "helprs",
        HELPERS,
    ),
    (
        "import zzmissing\n",
        {},
        "zzmissing",
        "copy zzmissing.py beside the app, or install the package: pip install zzmissing",
    ),
    (
        "import RPi.GPIO\n",
        {},
        "RPi",
        "copy RPi.py beside the app, or install the package: pip install RPi.GPIO",
    ),
    (
        "import flask.nothing\n",
        {},
        "flask.nothing",
        "the installed flask has no such module: is it the right version?",
    ),
    (
        "import json.decoder.nothing\n",
        {},
        "json.decoder.nothing",
        "the installed json has no such module: is it the right version?",
    ),
]


@pytest.mark.parametrize(("source", "files", "missing", "hint"), MISSING)
def test_a_missing_module(
    tmp_path: Path, source: str, files: dict[str, str], missing: str, hint: str
) -> None:
    """The hint distinguishes a file that wasn't copied, a missing package, and a typing error."""
    report = run_import(tmp_path, source, files)
    assert report["type"] == "ModuleNotFoundError"
    assert report["missing_module"] == missing
    assert report["reason"].startswith(f"ModuleNotFoundError: No module named '{missing}'")
    assert report["hint"] == hint


def test_a_missing_module_deep_inside(tmp_path: Path) -> None:
    """The report names the app's own line that failed, not the first one."""
    files = {"field/__init__.py": "import os\n\nimport zzmissing\n"}
    report = run_import(tmp_path, "import field\n", files)
    assert (report["file"], report["line"]) == ("field/__init__.py", 3)


def test_the_module_of_the_target_is_missing(tmp_path: Path) -> None:
    """A target whose module doesn't exist gets the hint of a typing error."""
    report = run_import(tmp_path, APP, target="coachin:app")
    assert report["reason"] == "ModuleNotFoundError: No module named 'coachin'"
    assert report["hint"] == 'write target = "coaching:app"'


# ---- other failures of an import

CIRCULAR = "two modules import each other: move one of the imports into a function"
FAILURES: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    (
        "\nfrom helpers import absent\n",
        {"helpers.py": "present = 1\n"},
        {"reason": "ImportError: cannot import name 'absent' from 'helpers' (helpers.py) "
                   "(coaching.py, line 2)", "missing_module": None},
    ),
    (
        "from other import b\na = 1\n",
        {"other.py": "from coaching import a\nb = 2\n"},
        {"type": "ImportError", "hint": CIRCULAR, "file": "other.py", "line": 1},
    ),
    (
        "import other\na = 1\n",
        {"other.py": "import coaching\n\ncoaching.a\n"},
        {"type": "AttributeError", "hint": CIRCULAR, "file": "other.py", "line": 3},
    ),
    (
        "import sys\nsys.exit('no camera')\n",
        {},
        {"reason": "SystemExit: sys.exit('no camera') was called (coaching.py, line 2)",
         "hint": "the text is the app's own: it ended itself for this reason"},
    ),
    ("import sys\nsys.exit()\n", {},
     {"reason": "SystemExit: sys.exit() was called (coaching.py, line 2)"}),
    ("raise KeyboardInterrupt\n", {}, {"reason": "KeyboardInterrupt (coaching.py, line 1)"}),
    ("class Stop(BaseException): pass\nraise Stop('now')\n", {},
     {"reason": "Stop: now (coaching.py, line 2)"}),
    ("raise ExceptionGroup('both', [ValueError('x'), KeyError('y')])\n", {},
     {"reason": "ExceptionGroup: both (2 sub-exceptions) (coaching.py, line 1)"}),
    ("def deep(): deep()\ndeep()\n", {}, {"type": "RecursionError", "file": "coaching.py"}),
    ("x = open('data/missing.csv')\n", {},
     {"hint": "the folder data is not there: create it, or was it not copied?", "line": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("source", "files", "expected"), FAILURES)
def test_a_failing_import(
    tmp_path: Path, source: str, files: dict[str, str], expected: dict[str, Any]
) -> None:
    """Whatever ends an import is caught, and the report has its message and place."""
    report = run_import(tmp_path, source, files)
    assert {key: report[key] for key in expected} == expected


# ---- targets that are none

TARGETS = [
    ("application = 1\n", "coaching:aplication", "module coaching has no attribute 'aplication'",
     "did you mean application?"),
    ("def create_app(): pass\n", "coaching:wsgi", "module coaching has no attribute 'wsgi'",
     "no Flask app was found in it; correct `target` in the configuration"),
    ("import flask\nmine = flask.Flask('x')\n", "coaching:wsgi",
     "module coaching has no attribute 'wsgi'", 'write target = "coaching:mine"'),
    ("async def make(): pass\n", "coaching:make()",
     "coaching:make() is an async function, which returned no app",
     "make the app in a plain function"),
    ("async def make(): pass\n", "coaching:make",
     "coaching:make is an async function, not a WSGI app", "make the app in a plain function"),
    ("from flask import Flask\none, two = Flask('x'), Flask('y')\n", "coaching:app",
     "module coaching has no attribute 'app'", "it has: coaching:one, coaching:two"),
    ("import flask\ndef build(a=1, b=2):\n    return flask.Flask('x')\n", "coaching:build",
     "coaching:build is a function that makes the app, not the app",
     'write target = "coaching:build()"'),
    ("def app(request): pass\n", "coaching:app",
     "coaching:app takes (request), so it is not a WSGI app, which takes (environ, start_response)",
     WRONG_TARGET),
    ("\n", "coaching:wsgi", "module coaching has no attribute 'wsgi'",
     "no Flask app was found in it; correct `target` in the configuration"),
    ("app = 5\n", "coaching:app", "coaching:app is an int, not a WSGI app: it can't be called",
     WRONG_TARGET),
    ("app = None\n", "coaching:app", "coaching:app is None, not a WSGI app: it can't be called",
     WRONG_TARGET),
    ("def make(): pass\n", "coaching:make()",
     "coaching:make() returned None, not the app", "let the function end with: return app"),
    ("make = 'x'\n", "coaching:make()",
     "coaching:make is a str, not a WSGI app: it can't be called", WRONG_TARGET),
    ("settings = {}\n", "coaching:settings.wsgi", "dict has no attribute 'wsgi'",
     "no Flask app was found in it; correct `target` in the configuration"),
    ("number = 5\n", "coaching:number.wsgi", "int has no attribute 'wsgi'",
     "no Flask app was found in it; correct `target` in the configuration"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "message", "hint"), TARGETS)
def test_a_wrong_target(tmp_path: Path, source: str, target: str, message: str, hint: str) -> None:
    """For a target that is missing, or no app, the report lists what there is."""
    report = run_import(tmp_path, source, target=target)
    assert (report["type"], report["message"], report["hint"]) == ("TargetError", message, hint)


def test_a_factory_that_wants_arguments(tmp_path: Path) -> None:
    """The report names the arguments, and what to write; a wrong one too."""
    source = "def make(config, name): pass\n"
    report = run_import(tmp_path, source, target="coaching:make()")
    assert report["reason"] == "TargetError: make() needs the arguments 'config, name'"
    report = run_import(tmp_path, source, target="coaching:make(nmae=5)")
    assert report["reason"] == "TargetError: make() can't be called with (nmae=5)"
    assert report["hint"] == "its arguments are (config, name)"


def test_a_factory_that_raises(tmp_path: Path) -> None:
    """The report of an exception in a factory names the line in the factory."""
    report = run_import(tmp_path, "def make():\n    return 1 + 'x'\n", target="coaching:make()")
    assert report["type"] == "TypeError"
    assert (report["file"], report["line"]) == ("coaching.py", 2)


@pytest.mark.parametrize("kind", ["missing", "file", "locked"])
def test_the_folder_can_not_be_entered(tmp_path: Path, kind: str) -> None:
    """A `path` that is missing, a file, or not accessible is reported as a configuration error."""
    folder = tmp_path / "code"
    reasons = {"missing": "No such file or directory", "file": "Not a directory"}
    if kind == "file":
        folder.write_text("")
    elif kind == "locked":
        folder.mkdir(mode=0)
    report = call_in_child(enter, folder, kind == "locked", timeout_s=30)
    reason = reasons.get(kind, "Permission denied")
    assert report["message"] == f"the app's folder code/ can't be entered: {reason}"
    assert report["hint"] == "correct `path` in its section of the configuration"


def enter(folder: Path, not_as_root: bool) -> dict[str, Any]:
    """Import from a folder that can't be entered; return the report."""
    if not_as_root and os.geteuid() == 0:
        os.setuid(65534)
    _, report = import_app("coaching:app", folder, timeout_s=20)
    assert report is not None
    return report.to_json()


# ---- imports that don't come back


def test_an_endless_import_is_interrupted(tmp_path: Path) -> None:
    """An import that computes for ever is interrupted at its limit, and its line is reported."""
    report = run_import(tmp_path, "x = 1\nwhile True:\n    pass\n", timeout_s=0.5)
    assert report["type"] == "ImportTimeout"
    assert report["message"] == "the import took longer than 0.5 s"
    assert report["file"] == "coaching.py"
    assert report["line"] in (2, 3)
    assert report["hint"] == "raise import_timeout_s if the import is only slow"


def test_an_import_that_waits_is_interrupted(tmp_path: Path) -> None:
    """An import that waits for ever is interrupted at its limit too."""
    source = "import socket\na, b = socket.socketpair()\n\na.recv(1)\n"
    report = run_import(tmp_path, source, timeout_s=0.5)
    assert (report["type"], report["line"]) == ("ImportTimeout", 4)


def test_an_import_that_catches_the_time_out(tmp_path: Path) -> None:
    """An app that catches everything, once, is interrupted a second time."""
    swallow = "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    pass\n"
    source = swallow + "while True:\n    pass\n"
    report = run_import(tmp_path, source, timeout_s=0.5)
    assert report["type"] == "ImportTimeout"
    assert report["line"] in (6, 7)
    assert report["seconds"] > 0.9


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("import os\nos._exit(3)\n", "exit code 3"),
        ("import ctypes\nctypes.string_at(0)\n", "killed by SIGSEGV"),
        ("import os\nos.abort()\n", "killed by SIGABRT"),
        ("import os\nos.kill(os.getpid(), 9)\n", "killed by SIGKILL"),
        ("import os\nos._exit(0)\n", "ended by itself"),
    ],
)
def test_an_import_that_ends_the_process(tmp_path: Path, source: str, how: str) -> None:
    """An import that ends its process ends the child alone, and the error says how it ended."""
    with pytest.raises(TaskFailed, match=how):
        run_import(tmp_path, source)


# ---- apps that share a process


def import_two(folder: Path) -> dict[str, Any]:
    """Import a good app, then one that fails; purge its modules, and import it repaired."""
    _first, good = import_app("first:app", folder, timeout_s=20)
    registry = sys.modules["registry"]
    before = set(sys.modules)
    _second, broken = import_app("second:app", folder, timeout_s=20, prepared=True)
    left = sorted(set(sys.modules) - before)
    purge_modules(before, folder)
    kept = sorted(set(sys.modules) - before)
    (folder / "second.py").write_text(APP + "import helper\nVALUE = 2\n", encoding="utf-8")
    (folder / "helper.py").write_text("VALUE = 'repaired'\n", encoding="utf-8")
    _again, repaired = import_app("second:app", folder, timeout_s=20, prepared=True)
    return {
        "good": good is None,
        "broken": None if broken is None else broken.cause.reason,
        "left": left,
        "kept": kept,
        "repaired": repaired is None,
        "helper": sys.modules["helper"].VALUE,
        "same": sys.modules["registry"] is registry,
    }


def test_only_the_modules_of_a_failed_import_are_purged(tmp_path: Path) -> None:
    """Modules that only the failed app imported are removed; libraries and those of others stay."""
    write(
        tmp_path,
        {
            "registry.py": "values = {}\n",
            "first.py": APP + "import registry\n",
            "helper.py": "VALUE = 'broken'\n",
            "second.py": "import registry, helper, colorsys\nraise RuntimeError('no')\n",
        },
    )
    found = call_in_child(import_two, tmp_path, timeout_s=60)
    assert found == {
        "good": True,
        "broken": "RuntimeError: no (second.py, line 2)",
        "left": ["colorsys", "helper"],
        "kept": ["colorsys"],
        "repaired": True,
        "helper": "repaired",
        "same": True,
    }


def import_with(folder: Path, functions: list[str]) -> str | None:
    """Import an app and call functions of it; returns the reason of a failure."""
    _app, report = import_app("coaching:app", folder, timeout_s=20, after_import=functions)
    return None if report is None else report.cause.reason


@pytest.mark.parametrize(
    ("functions", "reason"),
    [
        ([], None),
        (["coaching:good"], None),
        (["coaching:good", "coaching:bad"], "RuntimeError: no handler (coaching.py, line 6)"),
        (["coaching:goof"], "TargetError: module coaching has no attribute 'goof'"),
        (["coaching:NUMBER"], "TargetError: coaching:NUMBER of after_import is an int: it can't"),
        (["nowhere:good"], "ModuleNotFoundError: No module named 'nowhere'"),
        (["coaching:leave"], "SystemExit: sys.exit(3) was called (coaching.py, line 10)"),
    ],
)
def test_functions_after_the_import(
    tmp_path: Path, functions: list[str], reason: str | None
) -> None:
    """They are called in order; one that is missing, not callable, or raises is reported."""
    source = APP + (
        "def good():\n    pass\ndef bad():\n    raise RuntimeError('no handler')\n"
        "NUMBER = 3\ndef leave():\n    import sys\n    sys.exit(3)\n"
    )
    write(tmp_path, {"coaching.py": source})
    found = call_in_child(import_with, tmp_path, functions, timeout_s=60)
    assert (found or "").startswith(reason or "")
    assert (found is None) == (reason is None)
