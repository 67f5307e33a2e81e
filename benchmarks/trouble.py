"""What clients see in trouble, under systemd: ours and the usual alternatives, in one run.

    tests/systemd/with-systemd -- .venv/bin/python -m benchmarks.trouble PEERS [PM2]

PEERS is a virtual environment with flask, waitress, gunicorn, supervisor and uwsgi; PM2 the folder
with pm2's programs. Each contender serves two apps as its documentation recommends, by a unit that
systemd restarts. Prints a table in Markdown. To be run inside of a throw-away systemd only: it
installs units, and kills what they run.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.polling import Poller, disturbance

SYSTEM = Path("/etc/systemd/system")
PORTS = {"one": 21001, "two": 21002}
STATUS_PORT = 21000
GOOD = """
import os
from flask import Flask
app = Flask(__name__)

@app.get("/pid")
def pid():
    return str(os.getpid())

@app.get("/")
def index():
    return "the app"
"""
BROKEN = "import settings_manager\n" + GOOD
SETTLE_S = 8.0
WATCH_S = 6.0


@dataclass(frozen=True)
class Contender:
    """How to run two apps: unit files by name, and how to reload the first one."""

    name: str
    units: dict[str, str]
    reload: list[str]
    start: list[str]

    @property
    def services(self) -> list[str]:
        """The services among the units."""
        return [name for name in self.units if name.endswith(".service")]


def unit(command: str, folder: Path, *more: str) -> str:
    """Return a unit that systemd restarts."""
    lines = [f"ExecStart={command}", f"WorkingDirectory={folder}", "Restart=always", *more]
    return "[Service]\n" + "\n".join(lines) + "\n[Install]\nWantedBy=multi-user.target\n"


def contenders(folder: Path, peers: Path, pm2: Path | None) -> Iterator[Contender]:
    """Yield them; their files lie in ``folder``, the apps in folders of it named as they are."""
    yield ours(folder)
    yield gunicorn(folder, peers)
    yield supervisord(folder, peers)
    if pm2 is not None:
        yield pm2_runtime(folder, peers, pm2)
    yield emperor(folder, peers)


def ours(folder: Path) -> Contender:
    """This supervisor, as `service install` installs it."""
    text = f'[status]\nport = {STATUS_PORT}\n[supervisor]\nstate_dir = "{folder}/state"\n'
    for name, port in PORTS.items():
        text += f'[apps.{name}]\ntarget = "{name}:app"\nport = {port}\npath = "{name}"\n'
        text += "known_good_after_s = 2\n"  # 60 by default
    file = folder / "supervisor.toml"
    file.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "supervisor"]
    install = [*command, "service", "install", "--user", "root", "--config", str(file)]
    reload = [*command, "reload", "one", "--config", str(file)]
    return Contender("flask-supervisor", {"flask-supervisor.service": ""}, reload, install)


def gunicorn(folder: Path, peers: Path) -> Contender:
    """A service and a socket for each app, as gunicorn's documentation has them."""
    units = {}
    for name, port in PORTS.items():
        words = f"{peers}/bin/gunicorn --worker-class=gthread --threads=4 {name}:app"
        more = ["Type=notify", "NotifyAccess=main", "ExecReload=/bin/kill -s HUP $MAINPID"]
        more += ["KillMode=mixed", "TimeoutStopSec=5"]
        units[f"{name}.service"] = unit(words, folder / name, *more)
        units[f"{name}.socket"] = f"[Socket]\nListenStream=127.0.0.1:{port}\n"
    names = [f"{name}.{kind}" for kind in ("socket", "service") for name in PORTS]
    start = ["systemctl", "start", "--no-block", *names]
    return Contender("gunicorn + systemd", units, ["systemctl", "reload", "one.service"], start)


def waitress(peers: Path, name: str) -> str:
    """Return the command line that serves an app by waitress."""
    return f"{peers}/bin/waitress-serve --listen=127.0.0.1:{PORTS[name]} {name}:app"


def supervisord(folder: Path, peers: Path) -> Contender:
    """supervisord that runs waitress for each app."""
    text = f"[supervisord]\nnodaemon = true\nlogfile = {folder}/s.log\npidfile = {folder}/s.pid\n"
    text += f"[unix_http_server]\nfile = {folder}/s.sock\n[rpcinterface:supervisor]\n"
    text += "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
    text += f"[supervisorctl]\nserverurl = unix://{folder}/s.sock\n"
    for name in PORTS:
        text += f"[program:{name}]\ncommand = {waitress(peers, name)}\n"
        text += f"directory = {folder / name}\nautorestart = true\n"
    file = folder / "supervisord.conf"
    file.write_text(text, encoding="utf-8")
    service = unit(f"{peers}/bin/supervisord -n -c {file}", folder)
    reload = [f"{peers}/bin/supervisorctl", "-c", str(file), "restart", "one"]
    return Contender("supervisord", {"peer.service": service}, reload, _start("peer.service"))


def pm2_runtime(folder: Path, peers: Path, pm2: Path) -> Contender:
    """PM2 that runs waitress for each app."""
    apps = ", ".join(
        f'{{name: "{name}", cwd: "{folder / name}", interpreter: "none", '
        f'script: "{waitress(peers, name).split()[0]}", '
        f'args: "{waitress(peers, name).partition(" ")[2]}"}}'
        for name in PORTS
    )
    file = folder / "ecosystem.config.js"
    file.write_text(f"module.exports = {{apps: [{apps}]}}\n", encoding="utf-8")
    home = f"Environment=PM2_HOME={folder}/pm2 PATH=/usr/local/bin:/usr/bin:/bin"
    service = unit(f"{pm2}/pm2-runtime start {file}", folder, home)
    reload = ["env", f"PM2_HOME={folder}/pm2", f"{pm2}/pm2", "reload", "one"]
    return Contender("PM2", {"peer.service": service}, reload, _start("peer.service"))


def emperor(folder: Path, peers: Path) -> Contender:
    """uWSGI's emperor with a vassal for each app: what piku sets up, behind its nginx."""
    vassals = folder / "vassals"
    vassals.mkdir()
    for name, port in PORTS.items():
        text = f"[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nhome = {peers}\nchdir = {folder / name}\n"
        text += f"module = {name}:app\nmaster = true\nprocesses = 1\nthreads = 4\n"
        text += "enable-threads = true\nneed-app = true\ndie-on-term = true\n"
        (vassals / f"{name}.ini").write_text(text, encoding="utf-8")
    service = unit(f"{peers}/bin/uwsgi --die-on-term --emperor {vassals}", folder)
    reload = ["touch", str(vassals / "one.ini")]
    return Contender(
        "uWSGI emperor (piku)", {"peer.service": service}, reload, _start("peer.service")
    )


def _start(*names: str) -> list[str]:
    return ["systemctl", "start", "--no-block", *names]


class Trial:
    """One contender, freshly started, its apps in good order."""

    def __init__(self, contender: Contender, folder: Path) -> None:
        self._contender = contender
        self._folder = folder

    def __enter__(self) -> "Trial":
        for name in PORTS:
            self.write(name, GOOD)
        for name, text in self._contender.units.items():
            if text:
                (SYSTEM / name).write_text(text, encoding="utf-8")
        run("systemctl", "daemon-reload")
        run(*self._contender.start)
        deadline = time.monotonic() + 60
        while any(see(port) != "the app" for port in PORTS.values()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._contender.name} does not serve")
            time.sleep(0.1)
        time.sleep(4)  # until ours has kept the version
        return self

    def __exit__(self, *_: object) -> None:
        run("systemctl", "stop", *self._contender.units)
        run("systemctl", "reset-failed")

    def write(self, name: str, text: str) -> None:
        """Replace the source of an app."""
        (self._folder / name).mkdir(exist_ok=True)
        (self._folder / name / f"{name}.py").write_text(text, encoding="utf-8")

    def import_fails(self) -> str:
        """Start with a broken app."""
        self.write("one", BROKEN)
        run("systemctl", "restart", "--no-block", *self._contender.services)
        return self._after()

    def worker_dies(self) -> str:
        """Kill the process that answers."""
        return self._noticed(lambda: run("kill", "-9", see(PORTS["one"], "/pid")))

    def reload_broken(self) -> str:
        """Reload an app whose files are broken."""
        self.write("one", BROKEN)
        run(*self._contender.reload)
        return self._after()

    def main_dies(self) -> str:
        """Kill the supervising process."""
        service = self._contender.services[0]
        shown = run("systemctl", "show", "--value", "-p", "MainPID", service)
        return self._noticed(lambda: run("kill", "-9", shown.strip()))

    def power_cut(self) -> str:
        """End everything at once in the middle of a copy, and boot again."""
        self.write("one", BROKEN[: len(BROKEN) // 2] + "\ndef half(\n")
        run("systemctl", "kill", "-s", "KILL", *self._contender.services)
        run("systemctl", "restart", "--no-block", *self._contender.services)
        return self._after()

    def _after(self) -> str:
        time.sleep(SETTLE_S)
        first, second = see(PORTS["one"]), see(PORTS["two"])
        return first if second == "the app" else f"{first}; the other app: {second}"

    def _noticed(self, disturb: Callable[[], object]) -> str:
        with Poller(PORTS["one"], limit_s=WATCH_S + 2) as poller:
            time.sleep(1)
            disturb()
            time.sleep(WATCH_S)
        found = disturbance(poller.polls())
        down = "never back" if found.down_ms is None else f"down {found.down_ms / 1000:.1f} s"
        lost = found.refused + found.failed
        text = f"{found.refused} refused, {found.failed} failed"
        return f"{text}, {down}" if lost else f"{text}, worst {found.worst_ms:.0f} ms"


def see(port: int, path: str = "/") -> str:
    """Return what a client sees: the app's answer, a status with its reason, or an error."""
    import http.client
    import json

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 200:
            return body.decode()
        try:
            return f"{answer.status}: {json.loads(body)['detail']}"
        except (ValueError, KeyError):
            return f"{answer.status} without a reason"
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
    except http.client.HTTPException:
        return "the connection was closed"
    finally:
        connection.close()


def run(*words: str) -> str:
    """Run a command to its end and return its output."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}  # of a checkout
    return subprocess.run(
        words,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        stdin=subprocess.DEVNULL,
    ).stdout


EVENTS = {
    "an import fails at the start": Trial.import_fails,
    "a worker is killed": Trial.worker_dies,
    "a broken version is reloaded": Trial.reload_broken,
    "the supervisor is killed": Trial.main_dies,
    "power goes in the middle of a copy": Trial.power_cut,
}


def main() -> None:
    """Print the table."""
    peers = Path(sys.argv[1])
    pm2 = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    rows: dict[str, list[str]] = {event: [] for event in EVENTS}
    names = []
    with tempfile.TemporaryDirectory(prefix="trouble-") as place:
        for contender in contenders(Path(place), peers, pm2):
            names.append(contender.name)
            for event, measure in EVENTS.items():
                with Trial(contender, Path(place)) as trial:
                    rows[event].append(measure(trial))
                print(f"{contender.name}: {event}: {rows[event][-1]}", file=sys.stderr, flush=True)
    print("| | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for event, cells in rows.items():
        print(f"| {event} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
