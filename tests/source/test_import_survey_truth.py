"""What a survey says is missing is what real imports miss: no more, and where it can, no less."""

import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.process.throwaway import call_in_child
from supervisor.source.import_survey import Kind, own_files, survey
from supervisor.worker.importing import prepare

SEARCH_PATH = [entry for entry in sys.path if entry]

TRICKY = """
    os.path six.moves six.moves.urllib.parse pkg_resources.extern pkg_resources.extern.packaging
    xml.etree.cElementTree xml.etree.ElementTree concurrent.futures.thread importlib.metadata
    importlib.machinery collections.abc typing.io typing.re distutils.core _distutils_hack
    setuptools._distutils.core google google.cloud requests.packages requests.packages.urllib3
    requests.packages.idna werkzeug.contrib flask.ext flask.json.tag markupsafe._speedups
    _cffi_backend greenlet._greenlet mypy.build librt.internal librt.strings yaml.cyaml RPi.GPIO
    encodings.idna curses.panel ctypes.macholib.dyld sqlite3.dbapi2 wsgiref.types zipimport
    multiprocessing.dummy.connection _frozen_importlib_external __future__ __main__ __hello__
    __phello__.spam winreg msvcrt posix pwd.struct sys.monitoring email.mime.text email.MIMEText
    logging.handlers unittest.mock urllib3.contrib.pyopenssl urllib3.packages.six
    supervisor.cli apps.web py.path py.test
    hypothesis.extra.numpy pytest._pytest _pytest.assertion.rewrite peewee playhouse.flask_utils
    wtforms.ext jinja2.asyncsupport click.testing
    """
REALLY_MISSING = """
import importlib, json, sys
missing = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing.append(error.name)
    except ImportError:
        pass
print(json.dumps(missing))
"""


def test_no_installed_module_is_accused(tmp_path: Path) -> None:
    """Modules that their package makes when it runs, or that lie in odd places, are found."""
    modules = TRICKY.split()
    (tmp_path / "app.py").write_text("".join(f"import {name}\n" for name in modules))
    accused = {f.module for f in survey("app", tmp_path, SEARCH_PATH)}
    command = [sys.executable, "-c", REALLY_MISSING, *modules]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert accused <= set(json.loads(done.stdout.splitlines()[-1]))
    assert {"flask.ext", "urllib3.packages", "winreg"} <= accused


PACKAGES = [
    *("flask", "werkzeug", "waitress", "jinja2", "click", "structlog", "peewee", "playhouse"),
    *("hypothesis", "pytest", "_pytest", "requests", "urllib3", "wtforms"),
    *("flask_wtf", "httpbin", "packaging", "http.server", "multiprocessing.pool", "wsgiref.types"),
    *("asyncio", "email", "importlib.metadata", "unittest.mock", "logging.config", "json"),
]


@pytest.mark.parametrize("package", [*PACKAGES, "apps.admin", "apps.coach", "supervisor.cli"])
def test_no_package_that_works_is_accused(tmp_path: Path, package: str) -> None:
    """Taken for an app's own code, a package that can be imported lacks nothing at its start."""
    top = package.partition(".")[0]
    spec = find_spec(top)
    assert spec is not None and spec.origin is not None
    if spec.submodule_search_locations:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(spec.origin).parent, tmp_path / top, ignore=ignored)
    else:
        shutil.copy(spec.origin, tmp_path)
    found = survey(package, tmp_path, SEARCH_PATH)
    assert [f for f in found if f.kind in (Kind.MISSING, Kind.BROKEN)] == []
    assert own_files(package, tmp_path, SEARCH_PATH)


MODULES = ["one", "two", "three", "four"]
# {0} and {1} stand for any of these modules, {2} for the one that has the statement
STATEMENTS = [
    "import pkg.{0}",
    "import {0}_gone",
    "import {0}_gone.deeper as deeper",
    "from pkg.{0} import value",
    "from pkg import {0}, {1}_gone",
    "from . import {0}",
    "from .{0}_gone import value",
    "from .{0} import {2}_name",
    "if __name__ != '__main__':\n    from . import {0}",
    "try:\n    import {0}_lost\nexcept ImportError:\n    import {1}_gone",
    "try:\n    from . import {0}\nexcept ImportError:\n    pass",
    "try:\n    import {0}_gone\nexcept ImportError:\n    raise",
    "try:\n    import {0}_gone\nexcept ValueError:\n    import {1}_never",
    "try:\n    import {0}_gone\nfinally:\n    from . import {1}",
    "class Settings:\n    from .{0} import value",
    "with open(__file__):\n    import importlib\n    importlib.import_module('pkg.{0}')",
    "def go():\n    import {0}_never",
    "import typing\nif typing.TYPE_CHECKING:\n    import {0}_never",
]
CHOICE = st.tuples(st.sampled_from(STATEMENTS), *[st.sampled_from(MODULES)] * 2)


def repair_one_by_one(folder: str) -> list[str]:
    """Import the app, create what is missing, import it again, and so on; return what it was."""
    prepare(Path(folder))
    missing: list[str] = []
    while True:
        for name in [name for name in sys.modules if name.startswith("pkg")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        try:
            importlib.import_module("pkg.one")
        except ModuleNotFoundError as error:
            missing.append(str(error.name))
            made = Path(str(error.name).replace(".", "/"))
            made.mkdir()
            (made / "__init__.py").write_text("value = 1\n")
            (made / "deeper.py").touch()
        except ImportError as error:
            found = re.match(r"cannot import name '(\w+)' from [a-z ]*'([\w.]+)'", str(error))
            assert found, error
            missing.append(f"{found[2]}.{found[1]}")
            file = Path(str(error.path))
            file.write_text(f"{found[1]} = 1\n" + file.read_text())
        else:
            return missing


@settings(max_examples=80, deadline=None)
@given(st.fixed_dictionaries({name: st.lists(CHOICE, max_size=4) for name in MODULES}))
def test_a_survey_names_what_one_repair_after_the_other_finds(
    sources: dict[str, list[tuple[str, str, str]]],
) -> None:
    """A survey names at once the modules that failing imports name one at a time.

    It may name one too many where the app catches the failure: of modules that import each other in
    a circle, those that were complete stay imported, so that a second import does without the rest.
    """
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "pkg")
        package.mkdir()
        (package / "__init__.py").touch()
        for name, chosen in sources.items():
            # what a text mentions may be there: a file is not asked for a name it mentions itself
            lines = [s.format(a, b, name) for s, a, b in chosen if a != name or "_name" not in s]
            (package / f"{name}.py").write_text("\n".join(["value = 1", *lines, ""]))
        found = survey("pkg.one", Path(folder), SEARCH_PATH)
        missing = call_in_child(repair_one_by_one, folder, timeout_s=60)
    sure = {problem.module for problem in found if problem.kind is Kind.MISSING}
    perhaps = {problem.module for problem in found if problem.kind is Kind.CONDITIONAL}
    catches = any(s.endswith("pass") for chosen in sources.values() for s, _, _ in chosen)
    assert set(missing) <= sure | perhaps
    assert sure <= set(missing) or catches
