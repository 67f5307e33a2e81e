"""Helpers for the tests inside a machine with a real systemd."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import REPOSITORY, ask, eventually

UNIT = "flask-supervisor.service"
ROOT = Path("/opt/flask-supervisor")
APPS = ROOT / "apps"
CONFIG = Path("/etc/flask-supervisor/supervisor.toml")
STATE = Path("/var/lib/flask-supervisor")
SYSTEM = Path("/etc/systemd/system")
DROP_INS = SYSTEM / f"{UNIT}.d"
INSTALLATION = DROP_INS / "10-installation.conf"
COMMAND = ROOT / "venv" / "bin" / "flask-supervisor"
PORTS = (5000, 5001, 6000)  # the machine has a network of its own
URLS = (
    "http://127.0.0.1:5000/static/favicon.svg",
    "http://127.0.0.1:5001/",
    "http://127.0.0.1:6000/livez",
)
PYTHON = "/usr/bin/python3"  # one that every user may run

GOOD = """
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "{name}\\n"
"""
# It can hang in each way.
TROUBLE = """
import os, re, signal, time
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "well\\n"

@app.get("/gil")
def hold_the_gil():
    re.match("(a*)*b", "a" * 60)

@app.get("/stop")
def stop():
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)  # the main thread takes the signal: this one may get further for a moment
"""


def run(
    *words: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [str(word) for word in words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        cwd=cwd or "/",
        timeout=180,
        check=False,
    )


def systemctl(*words: str) -> str:
    """Run systemctl, which has to succeed; return what it prints."""
    done = run("systemctl", *words)
    assert done.returncode == 0, f"systemctl {shlex.join(words)}: {done.stderr}"
    return done.stdout


def properties(unit: str = UNIT) -> Mapping[str, str]:
    """Return what systemd knows of a unit."""
    lines = systemctl("show", unit).splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return defaultdict(str, found)  # empty ones may be missing


def journal(unit: str = UNIT) -> str:
    """Return the log of a unit."""
    return run("journalctl", "--quiet", "--no-pager", "-o", "cat", "-u", unit).stdout


def write_config(apps: dict[str, dict[str, Any]], file: Path = CONFIG, **supervisor: Any) -> None:
    """Write a configuration with these apps, and short limits."""
    table = {"state_dir": str(STATE), "shutdown_timeout_s": 1, **supervisor}
    status = table.pop("status_port", 6000)
    lines = ["[supervisor]", *_lines(table), "[status]", f"port = {status}"]
    lines += ["[bind]", "first_delay_s = 0.5", "max_delay_s = 1"]
    for name, keys in apps.items():
        target = {} if "command" in keys else {"target": f"{name}:app"}
        defaults = {**target, "path": str(APPS / name), "stop_timeout_s": 1}
        lines += [f"[apps.{name}]", *_lines({**defaults, **keys})]
    file.write_text("\n".join(lines) + "\n")


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in table.items()]


def write_app(name: str, source: str | None = None, folder: Path = APPS) -> None:
    """Write an app of one module into a folder of its own."""
    (folder / name).mkdir(exist_ok=True, parents=True)
    (folder / name / f"{name}.py").write_text(source or GOOD.format(name=name))


def refused(port: int) -> bool:
    """Return whether nobody listens on a port."""
    try:
        ask(port, timeout_s=2)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def health(port: int = 6000) -> Any:
    """Return the whole health document."""
    return ask(port, "/health", timeout_s=5).json


def app_health(name: str) -> Any:
    """Return the health document of an app."""
    return ask(6000, f"/health/{name}", timeout_s=5).json


def main_pid() -> int:
    """Return the pid of the main process, 0 if there is none."""
    return int(properties()["MainPID"])


def unit_pids() -> list[int]:
    """Return the pids of all processes in the unit's cgroup."""
    file = Path(f"/sys/fs/cgroup/system.slice/{UNIT}/cgroup.procs")
    with contextlib.suppress(OSError):
        return [int(line) for line in file.read_text().split()]
    return []


def parent(pid: int) -> int:
    """Return the pid of a process's parent, 0 if it has ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


class Machine:
    """The machine; the service is installed by `install` and brought back by `reset`."""

    def __init__(self) -> None:
        self.output = ""
        self._config = self._installation = ""
        self._load: subprocess.Popen[str] | None = None

    def install(self, source: Path = REPOSITORY) -> float:
        """Run the one command of the README; return how long it took."""
        began = time.monotonic()
        done = run(source / "install.sh", env={"PYTHON": PYTHON})
        self.output = done.stdout + done.stderr
        assert done.returncode == 0, self.output
        self._config = self._config or CONFIG.read_text()
        self._installation = INSTALLATION.read_text()
        return time.monotonic() - began

    def reset(self) -> None:
        """Restore the installation, if a test has changed it, and wait until all apps are ready."""
        own = DROP_INS / "90-test.conf"
        changed = own.exists() or CONFIG.read_text() != self._config
        if changed or properties()["ActiveState"] != "active":
            own.unlink(missing_ok=True)
            CONFIG.write_text(self._config)
            systemctl("daemon-reload")
            systemctl("stop", UNIT)
        if INSTALLATION.read_text() != self._installation:
            INSTALLATION.write_text(self._installation)
            systemctl("daemon-reload")
        systemctl("start", UNIT)
        self.wait()
        eventually(lambda: health()["status"] == "pass", what="all is well")

    def wait(self) -> None:
        """Wait until no orphan is left."""
        eventually(self._alone, timeout_s=30, what="no orphan is left")

    def _alone(self) -> bool:
        main = main_pid()
        return main != 0 and all(pid == main or parent(pid) == main for pid in unit_pids())

    def override(self, *lines: str) -> None:
        """Override settings of the unit until the next `reset`."""
        DROP_INS.mkdir(exist_ok=True)
        (DROP_INS / "90-test.conf").write_text("\n".join(["[Service]", *lines]) + "\n")
        systemctl("daemon-reload")

    def restart(self) -> None:
        """Restart the service, and wait until it is ready and no orphan is left."""
        systemctl("restart", UNIT)
        self.wait()

    def start_anew(self) -> None:
        """Stop and start the service: faster than a restart, since it has no hand-over."""
        systemctl("stop", UNIT)
        systemctl("start", UNIT)

    def command(self, *words: str, config: Path = CONFIG) -> "subprocess.CompletedProcess[str]":
        """Run a command of the installation."""
        return run(COMMAND, *words, "--config", config)

    @contextlib.contextmanager
    def load(self, *urls: str, rate: int = 200, clients: int = 8) -> Iterator[dict[str, Any]]:
        """Run a load while the block runs; the yielded dictionary has its outcomes afterwards."""
        met: dict[str, Any] = {}
        script = Path(__file__).parent / "load.py"
        words = [sys.executable, script, str(rate), str(clients), *(urls or URLS)]
        process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._load = process
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        try:
            yield met
            met.update(json.loads(process.communicate(timeout=60)[0]))
        finally:
            self.forget_load()

    def forget_load(self) -> None:
        """End a load that is still running."""
        if self._load is not None:
            self._load.kill()
            self._load.communicate()
            self._load = None


def pause(seconds: float) -> None:
    """Wait for ``seconds``, while a load goes on."""
    deadline = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= deadline, timeout_s=seconds + 5)


def kill_main() -> int:
    """End the main process as a crash does; return the pid of the next one, once it is ready."""
    before = main_pid()
    systemctl("kill", "--signal=KILL", "--kill-whom=main", UNIT)

    def next_one() -> int:
        now = properties()
        ready = now["ActiveState"] == "active" and int(now["MainPID"]) not in (0, before)
        return int(now["MainPID"]) if ready else 0

    return eventually(next_one, timeout_s=30, what="the next main process is ready")


def create_user(name: str) -> Path:
    """Create a person's account, as Raspberry Pi OS does; return its home folder."""
    run("useradd", "--create-home", "--shell", "/bin/bash", name)
    home = Path("/home") / name
    home.chmod(0o700)
    return home


def give(folder: Path, user: str) -> None:
    """Change the owner of a folder and all of its content to ``user``."""
    for path in [folder, *folder.rglob("*")]:
        shutil.chown(path, user, user)


def signal_main(number: signal.Signals) -> None:
    """Send a signal to the main process."""
    os.kill(main_pid(), number)
