"""The virtual environments: our dependencies in one, the peers in another.

Never both in one: supervisord's package has the same import name as ours.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import Places
from benchmarks.tree import REPOSITORY

PEERS = ("flask", "waitress", "supervisor", "circus", "gunicorn", "granian", "setuptools")
OPTIONAL_PEERS = ("uwsgi",)  # needs a C compiler and Python's headers
_STAMP = "bench-installed"

Log = Callable[[str], None]


def prepare(folder: Path, log: Log) -> Places:
    """Create both environments if they are missing or outdated; return their interpreters.

    Raises `subprocess.CalledProcessError` if a required package can't be
    installed. Optional peers that can't be installed are left out, and named.
    """
    with (REPOSITORY / "pyproject.toml").open("rb") as stream:
        dependencies = tomllib.load(stream)["project"]["dependencies"]
    ours = _environment(folder / "ours", dependencies, (), log)
    peers = _environment(folder / "peers", PEERS, OPTIONAL_PEERS, log)
    return Places(ours, peers)


def _environment(folder: Path, packages: Sequence[str], optional: Sequence[str], log: Log) -> Path:
    python = folder / "bin" / "python"
    wanted = "\n".join([sys.version, *packages, *optional])
    stamp = folder / _STAMP
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    log(f"making {folder} with {', '.join([*packages, *optional])}")
    venv.create(folder, clear=True, with_pip=True)
    _install(python, packages)
    for package in optional:
        try:
            _install(python, [package])
        except subprocess.CalledProcessError as error:
            last = (error.stderr or "").strip().splitlines()[-1:]
            log(f"{package} is left out, it can't be installed: {' '.join(last)}")
    stamp.write_text(digest)
    return python


def _install(python: Path, packages: Sequence[str]) -> None:
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )


_VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def about(places: Places) -> dict[str, Any]:
    """Return facts about the machine, and the versions of the contenders."""
    done = subprocess.run(
        [places.peers, "-c", _VERSIONS, *PEERS, "uWSGI"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )
    return {
        "machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load_before": os.getloadavg()[0],
        },
        "commit": _commit(),
        "versions": json.loads(done.stdout),
    }


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _commit() -> str | None:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.stdout.strip() or None
