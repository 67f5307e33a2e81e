"""Which files an app reads at import and writes while it runs, seen from inside its process."""

import compileall
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from harness import REPOSITORY

PROGRAM = """
import json, os, shutil, sqlite3, sys
from pathlib import Path
from supervisor.worker.file_record import FileRecord
root = Path(sys.argv[1])
os.chdir(root)
record = FileRecord(root).install()
"""


def run(root: Path, program: str) -> Any:
    """Run ``program`` in a process that records below ``root``; return what it prints.

    Python writes compiled code there, as it does where nothing forbids it.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(program), str(root)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_read_at_import_belongs_to_the_code(tmp_path: Path) -> None:
    """By whatever path; a file that is only read later does not count, nor one from elsewhere."""
    for name in ("games.json", "relative.json", "later.json", "page.html"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "module.py").write_text("X = 1")
    found = run(
        tmp_path,
        """
        sys.path.insert(0, str(root))
        import module
        open(root / "games.json").close()
        open("relative.json", "rb").close()
        os.close(os.open(root / "page.html", os.O_RDONLY))
        open("/etc/passwd").close()
        record.import_ended()
        open("later.json").close()
        print(json.dumps([record.read, record.written]))
        """,
    )
    assert found == [["games.json", "page.html", "relative.json"], []]


def test_sources_are_told_apart(tmp_path: Path) -> None:
    """Those that are read as files too, also when only their compiled code was read."""
    for name in ("module.py", "plugins/first.py", "later.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("X = 1")
    program = """
        import importlib.util, runpy
        sys.path.insert(0, str(root))
        import module
        spec = importlib.util.spec_from_file_location("first", root / "plugins/first.py")
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        record.import_ended()
        runpy.run_path("later.py")
        print(json.dumps([record.sources, record.read]))
    """
    assert run(tmp_path, program) == [["module.py", "plugins/first.py"], []]
    assert compileall.compile_dir(tmp_path, quiet=1)
    assert run(tmp_path, program) == [["module.py", "plugins/first.py"], []]


def test_what_is_written_is_data(tmp_path: Path) -> None:
    """In each way that Python has to write a file, before the end of the import and after it."""
    (tmp_path / "calibration.json").write_text("{}")
    found = run(
        tmp_path,
        """
        (root / "pkg" / "config").mkdir(parents=True)
        open("calibration.json").close()
        record.import_ended()
        Path("calibration.json").write_text("{1: 2}")
        Path("new.tmp").write_text("x")
        os.replace("new.tmp", "pkg/config/device1.json")
        os.close(os.open("raw.bin", os.O_WRONLY | os.O_CREAT))
        shutil.copy("raw.bin", "copied.bin")
        sqlite3.connect("data.store").close()
        os.symlink("raw.bin", "latest")
        print(json.dumps([record.read, record.written]))
        """,
    )
    assert found[0] == []  # it is written: no code
    assert set(found[1]) >= {
        "calibration.json",
        "pkg/config/device1.json",
        "raw.bin",
        "copied.bin",
        "data.store",
        "data.store-wal",
        "latest",
    }


def test_a_linked_root_is_the_same_folder(tmp_path: Path) -> None:
    """The files are named alike, whichever path the app uses."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    program = f"""
        open({str(real / "a.txt")!r}, "w").close()
        open({str(tmp_path / "link" / "b.txt")!r}, "w").close()
        print(json.dumps(record.written))
    """
    assert run(tmp_path / "link", program) == ["a.txt", "b.txt"]


def test_many_files_cost_little_memory(tmp_path: Path) -> None:
    """Beyond the limit the folder stands for what lies in it."""
    found = run(
        tmp_path,
        """
        from supervisor.worker import file_record
        file_record.FILES_MAX = 3
        os.mkdir("photos")
        for number in range(10):
            open(f"photos/{number}.jpg", "w").close()
        print(json.dumps(record.written))
        """,
    )
    assert found == ["photos/", "photos/0.jpg", "photos/1.jpg", "photos/2.jpg"]
