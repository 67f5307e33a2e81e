"""Another version of an app's code, run under the names of the live files."""

import json
import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY

VIEW = """
import shutil, sys
from pathlib import Path
from supervisor.worker.code_view import CodeView
live, version = Path(sys.argv[1]), Path(sys.argv[2])
import os
os.chdir(live)
sys.path.insert(0, str(live))
"""


INSTALL = "view = CodeView(live, version).install()"


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write ``files`` below ``folder``."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(textwrap.dedent(text))
    return folder


def run(
    live: Path, version: Path, program: str, *, install: str = INSTALL, scratch: bool = False
) -> Any:
    """Run ``program`` in a process that sees ``version`` at ``live``; return what it prints.

    ``scratch``: it sees the live code, and ``version`` is for what it writes.
    """
    install = "view = CodeView(live, None, scratch=version).install()" if scratch else install
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{VIEW}{install}\n{textwrap.dedent(program)}",
            str(live),
            str(version),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A live tree whose code is broken, with data of the field in it."""
    return write(
        tmp_path / "srv" / "app",
        {
            "app.py": "raise RuntimeError('the live entry')",
            "pkg/__init__.py": "",
            "pkg/words.py": "raise RuntimeError('the live module')",
            "pkg/new.py": "W = 'only live'",
            "games.json": '"new data"',
            "static/uploads/p.png": "a photo",
        },
    )


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A copy of the code as it worked."""
    return write(
        tmp_path / "state" / "files",
        {
            "app.py": "from pkg.words import W",
            "pkg/__init__.py": "",
            "pkg/words.py": "W = 'kept'",
            "pkg/old.py": "W = 'removed from the live tree'",
            "games.json": '"old data"',
            "templates/index.html": "kept page",
        },
    )


@pytest.mark.parametrize("by", ["absolute", "resolved", "link", "file", "cwd"])
def test_modules_come_from_the_version(live: Path, version: Path, by: str) -> None:
    """Whatever path an app inserts to find its modules."""
    link = live.parent.parent / "link"
    link.symlink_to(live.parent)
    entry = {
        "absolute": str(live),
        "resolved": os.path.realpath(live),
        "link": str(link / "app"),
        "file": f"{live}/pkg/..",
        "cwd": "",
    }[by]
    found = run(
        live,
        version,
        f"""
        import json
        sys.path[:] = [{entry!r}, *[one for one in sys.path if one != str(live)]]
        import app, pkg.words, pkg.old
        print(json.dumps([app.W, pkg.old.W, pkg.words.__file__]))
        """,
    )
    assert found[:2] == ["kept", "removed from the live tree"]
    assert os.path.realpath(found[2]) == f"{os.path.realpath(live)}/pkg/words.py"


def test_a_live_module_that_the_version_lacks_is_not_there(live: Path, version: Path) -> None:
    """It can't be imported, and the view names it."""
    found = run(
        live,
        version,
        """
        import json, importlib.util
        try:
            import pkg.new
        except ModuleNotFoundError as error:
            said = error.name
        spec = importlib.util.spec_from_file_location("new", live / "pkg" / "new.py")
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except FileNotFoundError:
            said += " twice"
        print(json.dumps([said, sorted(view.lacking), sorted(os.listdir(live / "pkg"))]))
        """,
    )
    assert found == ["pkg.new twice", ["pkg/new.py"], ["__init__.py", "old.py", "words.py"]]


def test_compiled_code_of_live_files_is_not_used(live: Path, version: Path) -> None:
    """Even if size and time of the source are those of the version."""
    live_file, kept = live / "pkg/words.py", version / "pkg/words.py"
    live_file.write_text("W = 'live'")
    assert live_file.stat().st_size == kept.stat().st_size
    for file in (live_file, kept):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    subprocess.run([sys.executable, "-m", "compileall", "-q", live], check=True, timeout=60)
    program = "import json, pkg.words\nprint(json.dumps(pkg.words.W))"
    assert run(live, version, program) == "kept"
    assert not list(version.rglob("__pycache__"))


def test_what_the_version_brings_is_read_from_it(live: Path, version: Path) -> None:
    """By absolute path, beside the module, in the working folder, in each way that Python has."""
    found = run(
        live,
        version,
        """
        import app, io, json, pathlib, pkgutil, glob
        here = pathlib.Path(app.__file__)
        fd = os.open(live / "games.json", os.O_RDONLY)
        said = [
            open(live / "games.json").read(),
            here.with_name("games.json").read_text(),
            open("games.json").read(),
            io.open(os.fsencode(live / "games.json"), "rb").read().decode(),
            os.read(fd, 100).decode(),
            pkgutil.get_data("app", "games.json").decode(),
            str(os.stat(live / "templates/index.html").st_size),
            str(os.path.isfile("templates/index.html")),
            *sorted(glob.glob("templates/*")),
            *sorted(one.name for one in (live / "templates").iterdir()),
            *sorted(name for _, _, names in os.walk(live / "templates") for name in names),
        ]
        print(json.dumps(said))
        """,
    )
    assert found[:6] == ['"old data"'] * 6
    assert found[6:] == ["9", "True", "templates/index.html", "index.html", "index.html"]


def test_data_is_the_apps_own(live: Path, version: Path) -> None:
    """Databases, uploads and whatever is written are the live files; the version stays as it is."""
    before = {path: path.read_bytes() for path in version.rglob("*") if path.is_file()}
    found = run(
        live,
        version,
        """
        import app, json, pathlib, shutil, sqlite3
        here = pathlib.Path(app.__file__).parent
        base = sqlite3.connect(here / "data.db")
        base.execute("create table t (x)")
        base.execute("insert into t values (1)")
        base.commit()
        base.close()
        photo = (here / "static/uploads/p.png").read_text()
        (here / "static/uploads/q.png").write_text("another")
        (here / "games.json").write_text('"written"')
        temporary = here / "pkg" / "tmp"
        temporary.write_text("W = 'rewritten'")
        temporary.replace(here / "pkg" / "old.py")
        os.remove(here / "pkg" / "words.py")
        print(json.dumps([photo, open("games.json").read(), open("pkg/old.py").read(),
            os.path.exists("pkg/words.py"), sorted(os.listdir("static/uploads"))]))
        """,
    )
    assert found == ["a photo", '"written"', "W = 'rewritten'", False, ["p.png", "q.png"]]
    assert (live / "data.db").exists()
    assert (live / "games.json").read_text() == '"written"'
    assert {path: path.read_bytes() for path in version.rglob("*") if path.is_file()} == before


def test_installed_packages_below_the_folder_stay(live: Path, version: Path) -> None:
    """A virtual environment in the app's folder is no code of the app."""
    packages = live / ".venv/lib/python3/site-packages"
    write(packages, {"installed.py": "X = 1"})
    write(live / "env", {"pyvenv.cfg": "", "lib/other.py": "X = 2"})
    program = f"""
        import json
        sys.path += [{str(packages)!r}, {str(live / "env/lib")!r}]
        import installed, other
        print(json.dumps([installed.X, other.X]))
    """
    assert run(live, version, program) == [1, 2]


def test_an_extension_module_comes_from_the_version(live: Path, version: Path) -> None:
    """The dynamic loader opens files by itself: it is given the one of the version."""
    import _ctypes_test  # a module that every Python ships as a shared library

    name = Path(_ctypes_test.__file__).name
    (version / "own").mkdir()
    (version / "own" / name).write_bytes(Path(_ctypes_test.__file__).read_bytes())
    write(live, {f"own/{name}": "not a library"})
    program = """
        import json
        sys.path.insert(0, str(live / "own"))
        sys.modules.pop("_ctypes_test", None)
        import _ctypes_test
        with open("/proc/self/maps") as maps:
            loaded = [line.split()[-1] for line in maps if "_ctypes_test" in line]
        print(json.dumps([_ctypes_test.__file__, loaded[0]]))
    """
    assert run(live, version, program) == [f"{live}/own/{name}", f"{version}/own/{name}"]


def test_a_linked_folder_of_the_version_is_followed(live: Path, version: Path) -> None:
    """A link inside of the version leads to the version's files."""
    (version / "current").symlink_to("pkg")
    program = "import json\nfrom current.words import W\nprint(json.dumps(W))"
    assert run(live, version, program) == "kept"


def test_only_what_is_replaced_is_hidden(live: Path, version: Path) -> None:
    """A deploy that is checked stands for its own entries; a module of another app is seen."""
    write(live, {"shared.py": "S = 'of all'"})
    program = """
        import json
        from supervisor.worker.code_view import CodeView
        CodeView(live, version, include=["pkg"]).install()
        import shared
        print(json.dumps(shared.S))
    """
    assert run(live, version, program, install="") == "of all"


def test_a_check_writes_into_copies_only(live: Path, tmp_path: Path) -> None:
    """Whatever an import writes, moves or removes: the app sees it, the live files stay."""
    write(live, {"app.py": "", "cache/old.txt": "old", "gone.txt": "1", "pkg/old_name.py": ""})
    base = sqlite3.connect(live / "data.db")
    base.execute("create table t (x)")
    base.commit()
    base.close()
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def look() -> dict[Path, tuple[int, int, bytes]]:
        stats = {path: path.stat() for path in (live, *live.rglob("*"))}
        return {
            path: (found.st_mode, found.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path, found in stats.items()
        }

    before = look()
    found = run(
        live,
        scratch,
        """
        import json, pathlib, shutil, sqlite3
        import pkg.old_name as kept
        assert kept.__file__ == str(live / "pkg/old_name.py")
        here = live
        base = sqlite3.connect(here / "data.db")
        base.execute("insert into t values (1)")
        base.execute("create table more (y)")
        base.commit()
        rows = base.execute("select count(*) from t").fetchone()[0]
        base.close()
        (here / "new" / "deep").mkdir(parents=True)
        (here / "new" / "deep" / "file.txt").write_text("written")
        with open(here / "games.json", "a") as stream:
            stream.write(" more")
        os.rename("cache/old.txt", "cache/moved.txt")
        os.remove("gone.txt")
        shutil.rmtree("static")
        os.link("new/deep/file.txt", "lock")
        os.unlink("lock")
        os.mkfifo("pipe")
        os.unlink("pipe")
        os.chmod(here, 0o777)
        os.utime(".", (1, 1))
        print(json.dumps([
            rows, (here / "new/deep/file.txt").read_text(), open("games.json").read(),
            sorted(os.listdir("cache")), os.path.exists("gone.txt"), sorted(os.listdir(".")),
            sqlite3.connect(":memory:").execute("select 1").fetchone()[0],
        ]))
        """,
        scratch=True,
    )
    assert found == [
        1,
        "written",
        '"new data" more',
        ["moved.txt"],
        False,
        ["app.py", "cache", "data.db", "games.json", "new", "pkg"],
        1,
    ]
    assert look() == before


def test_a_check_may_have_both(live: Path, version: Path, tmp_path: Path) -> None:
    """The code of a version, copies of what it writes, and the rest as it is live."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = f"""
        import json
        from supervisor.worker.code_view import CodeView
        CodeView(live, version, scratch=Path({str(scratch)!r})).install()
        import app
        open("games.json", "a").close()
        print(json.dumps([app.W, open("games.json").read(), open("static/uploads/p.png").read()]))
    """
    assert run(live, version, program, install="") == ["kept", '"old data"', "a photo"]
    assert (version / "games.json").read_text() == '"old data"'
