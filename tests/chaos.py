"""Random faults for a running supervisor; a seed reproduces their sequence."""

import contextlib
import http.client
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator

from harness import GOOD_APP, Project, Running, ask, eventually, process_in_test
from observing import snapshot
from operating_case import HOLDER, call
from wire import Wire

BREAKS = [
    "import no_such_module_at_all\n",
    "def broken(:\n",
    "raise SystemExit(3)\n",
    "import os\nos._exit(9)\n",
    "import time\ntime.sleep(600)\n",
    GOOD_APP.format(text="crashes")
    + "import os, threading\nthreading.Timer(0.4, os._exit, [3]).start()\n",
]

# It starts a program in its own session, forks, exits in a view, streams and logs.
BUSY_APP = """
import logging, multiprocessing, subprocess, sys, time
from flask import Flask

app = Flask(__name__)
logging.basicConfig(level=logging.INFO)
camera = subprocess.Popen(["sleep", "600"], start_new_session=True)

@app.get("/")
def index():
    logging.getLogger("camera").warning("somebody asks")
    return "{text}\\n"

@app.get("/fork")
def forks():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return str(pool.map(abs, [-1]))

@app.get("/daemon")
def starts():
    subprocess.run(["setsid", "--fork", "sleep", "600"])
    return "started"

@app.get("/exit")
def exits():
    sys.exit(3)

@app.get("/stream")
def streams():
    def frames():
        while True:
            yield b"data: " + b"x" * 50_000
            time.sleep(0.05)
    return app.response_class(frames(), mimetype="text/event-stream")
"""


@contextlib.contextmanager
def visitors(port: int, seed: int) -> Iterator[dict[int, int]]:
    """Ask a busy app for all it has; viewers of its stream vanish. Yield the answers by status."""
    statuses: dict[int, int] = {}
    ended = threading.Event()

    def visit() -> None:
        rng, viewers = random.Random(seed), []
        while not ended.wait(rng.uniform(0.0, 0.2)):
            path = rng.choice(["/", "/fork", "/daemon", "/exit", "/stream"])
            with contextlib.suppress(OSError, http.client.HTTPException):  # its worker has ended
                if path == "/stream":
                    viewers.append(Wire(port, timeout_s=10).get(path))
                    continue
                status = ask(port, path, timeout_s=10).status
                statuses[status] = statuses.get(status, 0) + 1
            while len(viewers) > 8:
                rng.choice([Wire.close, Wire.reset])(viewers.pop(0))
        for viewer in viewers:
            viewer.close()

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        thread.join(30)


class Chaos:
    """Injects a fault into the apps of ``running`` with each `step`; ``done`` lists them."""

    def __init__(self, running: Running, seed: int) -> None:
        self._running = running
        self._project: Project = running.project
        self._rng = random.Random(seed)
        self._began = time.monotonic()
        self.done: list[str] = []
        self._stopped: set[int] = set()  # by SIGSTOP
        self._version = 0
        self._deeds: list[tuple[int, Callable[[str], None]]] = [
            (5, self._kill),
            (2, self._freeze),
            (3, self._reload),
            (2, self._restart),
            (2, self._stop_and_start),
            (4, self._break),
            (4, self._repair),
            (1, self._kill_stand_in),
            (1, self._hang_up),
            (1, self._move_onto_a_taken_port),
        ]

    def step(self) -> None:
        """Inject one fault into one app, and wait for a moment."""
        assert self._running.process.poll() is None, self._running.process.returncode
        weights = [weight for weight, _ in self._deeds]
        deed = self._rng.choices([deed for _, deed in self._deeds], weights)[0]
        name = self._rng.choice([*self._project.apps])
        at_s = time.monotonic() - self._began
        self.done.append(f"{at_s:6.2f} s: {deed.__name__.strip('_')} {name}")
        deed(name)
        until = time.monotonic() + self._rng.uniform(0.0, 0.6)
        eventually(lambda: time.monotonic() >= until)

    def calm(self) -> None:
        """Undo the faults that need it: frozen workers, broken files, stopped apps."""
        for pid in self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for name in self._project.apps:
            self._repair(name)
        call(self._running, "start", apps=["all"], timeout_s=90)

    def _pids(self, name: str) -> list[int]:
        return [worker["pid"] for worker in snapshot(self._running)["apps"][name]["workers"]]

    def _state(self, name: str) -> str | None:
        app = snapshot(self._running)["apps"].get(name)
        return app and str(app["state"])

    def _kill(self, name: str) -> None:
        for pid in self._pids(name)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, self._rng.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))

    def _freeze(self, name: str) -> None:
        """Send SIGSTOP to a worker; half of the time SIGCONT follows soon, else it hangs."""
        for pid in self._pids(name)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                if self._rng.random() < 0.5:
                    os.kill(pid, signal.SIGCONT)
                else:
                    self._stopped.add(pid)

    def _reload(self, name: str) -> None:
        self._ask("reload", [name] if self._rng.random() < 0.7 else ["all"])

    def _restart(self, name: str) -> None:
        self._ask("restart", [name])

    def _stop_and_start(self, name: str) -> None:
        self._ask("stop", [name])
        self._ask("start", [name])

    def _ask(self, method: str, names: list[str]) -> None:
        with contextlib.suppress(AssertionError):  # no outcome yet: the app hangs
            call(self._running, method, apps=names, timeout_s=3)

    def _break(self, name: str) -> None:
        self._write(name, self._rng.choice(BREAKS))
        if self._rng.random() < 0.7:
            self._reload(name)

    def _repair(self, name: str) -> None:
        self._version += 1
        source = BUSY_APP if name == "busy" else GOOD_APP
        self._write(name, source.format(text=f"{name} {self._version}"))

    def _write(self, name: str, source: str) -> None:
        new = self._project.file(name, f"{name}.py.new")
        new.write_text(source)
        new.rename(self._project.file(name))

    def _kill_stand_in(self, _name: str) -> None:
        for pid in self._project.processes():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/comm") as stream:
                    is_stand_in = stream.read().strip() == "fs-stand-in"
                if is_stand_in:
                    os.kill(pid, signal.SIGKILL)

    def _hang_up(self, name: str) -> None:
        """Change one app in the configuration, and have it read again."""
        self._version += 1
        self._project.apps[name]["env"] = {"VERSION": str(self._version)}
        self._project.write()
        self._running.process.send_signal(signal.SIGHUP)

    def _move_onto_a_taken_port(self, _name: str) -> None:
        """Add an app whose port another process holds, and free the port after a while."""
        port = self._project.app("late")
        with process_in_test(self._project, HOLDER, f"127.0.0.1:{port}") as holder:
            assert holder.stdout.readline() == "listening\n"
            self._project.write()
            self._running.process.send_signal(signal.SIGHUP)
            eventually(lambda: self._state("late") == "blocked", timeout_s=30)
        eventually(lambda: ask(port).status == 200, timeout_s=60)
        del self._project.apps["late"]
        self._project.write()
        self._running.process.send_signal(signal.SIGHUP)
        eventually(lambda: "late" not in snapshot(self._running)["apps"])
