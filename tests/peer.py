"""Plain waitress as shipped: how an app behaves without a supervisor."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from harness import REPOSITORY, ask, eventually, free_ports


@contextlib.contextmanager
def plain_waitress(target: str, *, folder: Path | None = None) -> Iterator[int]:
    """Serve ``target``, in ``folder``, by the ``waitress`` command line alone; yield the port."""
    port = free_ports(1)[0]
    folders = f"{REPOSITORY}{os.pathsep}{folder or Path(__file__).parent}"
    process = subprocess.Popen(
        [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", target],
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": folders},
    )
    try:
        eventually(lambda: ask(port).status, timeout_s=30, what=f"waitress serves {target}")
        yield port
    finally:
        process.kill()
        process.wait()
