"""Contenders that manage several apps: ours, supervisord, circus and uWSGI's emperor."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from benchmarks.contenders import (
    THREADS,
    Contender,
    Granian,
    Gunicorn,
    Options,
    Places,
    Plain,
    Running,
    Threads,
    Waitress,
    refuse_pin,
    refuse_workers,
    touch,
    waitress_words,
)
from benchmarks.fleet import App, Fleet
from benchmarks.tree import REPOSITORY, Command


class Ours(Plain):
    """This project; its status port has to answer too."""

    name = "ours"
    about = "flask-supervisor, with its status port"
    package = "flask-supervisor"
    variables: Mapping[str, str] = MappingProxyType({"PYTHONPATH": str(REPOSITORY)})

    def commands(self, places: Places, fleet: Fleet, options: Options) -> list[Command]:
        keys: dict[str, object] = {"threads": THREADS}
        if options.workers > 1:
            keys["workers"] = options.workers
        if options.pin is not None:
            keys["pin"] = options.pin
        tables = [
            f'[supervisor]\nhost = "127.0.0.1"\nlog_format = "json"\n'
            f"[status]\nport = {fleet.spare_ports[0]}\n"
        ]
        for app in fleet.apps:
            given = {"target": f"{app.name}:app", "port": app.port, "path": app.name, **keys}
            lines = [f"{key} = {json.dumps(value)}\n" for key, value in given.items()]
            tables.append(f"[apps.{app.name}]\n{''.join(lines)}")
        file = fleet.folder / "supervisor.toml"
        file.write_text("".join(tables), encoding="utf-8")
        return [Command([places.ours, "-m", "supervisor", "run", "--config", file], fleet.folder)]

    def more_pages(self, fleet: Fleet) -> list[tuple[int, str]]:
        return [(fleet.spare_ports[0], "/livez")]

    def reload(self, running: Running, app: App) -> Sequence[str | Path]:
        file = running.fleet.folder / "supervisor.toml"
        return [running.places.ours, "-m", "supervisor", "reload", app.name, "--config", file]


class Supervisord(Plain):
    """supervisord that runs waitress for each app."""

    name = "supervisord"
    about = "supervisord + waitress"
    package = "supervisor"

    def commands(self, places: Places, fleet: Fleet, options: Options) -> list[Command]:
        refuse_workers(options)
        refuse_pin(options)
        folder = fleet.folder
        text = f"""
[supervisord]
nodaemon = true
logfile = {folder}/supervisord-main.log
pidfile = {folder}/supervisord.pid
childlogdir = {folder}
[unix_http_server]
file = {folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{folder}/s.sock
"""
        for app in fleet.apps:
            words = " ".join(map(str, waitress_words(places, app)))
            text += f"[program:{app.name}]\ncommand = {words}\ndirectory = {app.folder}\n"
            text += "autorestart = true\n"
        file = folder / "supervisord.conf"
        file.write_text(text, encoding="utf-8")
        return [Command([places.peer("supervisord"), "--nodaemon", "-c", file], folder)]

    def reload(self, running: Running, app: App) -> Sequence[str | Path]:
        file = running.fleet.folder / "supervisord.conf"
        return [running.places.peer("supervisorctl"), "-c", file, "restart", app.name]


# waitress on a socket that is open already; on SIGTERM it finishes its requests.
_ON_SOCKET = """
import importlib, signal, socket, sys
import waitress
def end(number, frame):
    raise SystemExit
signal.signal(signal.SIGTERM, end)
sys.path.insert(0, "")
app = importlib.import_module(sys.argv[2]).app
waitress.serve(app, sockets=[socket.socket(fileno=int(sys.argv[1]))], threads=int(sys.argv[3]))
"""


class Circus(Plain):
    """circus that owns the sockets and runs waitress on them.

    It checks for dead processes once a second here; the default is every five seconds.
    """

    name = "circus"
    about = "circus, shared sockets + waitress"
    package = "circus"

    def commands(self, places: Places, fleet: Fleet, options: Options) -> list[Command]:
        refuse_pin(options)
        control, events, _ = fleet.spare_ports
        script = fleet.folder / "on_socket.py"
        script.write_text(_ON_SOCKET, encoding="utf-8")
        text = f"[circus]\nendpoint = tcp://127.0.0.1:{control}\n"
        text += f"pubsub_endpoint = tcp://127.0.0.1:{events}\nstatsd = false\ncheck_delay = 1\n"
        for app in fleet.apps:
            words = f"{places.peers} {script} $(circus.sockets.{app.name}) {app.name} {THREADS}"
            text += f"[watcher:{app.name}]\ncmd = {words}\nworking_dir = {app.folder}\n"
            text += f"use_sockets = True\ncopy_env = True\nnumprocesses = {options.workers}\n"
            text += f"[socket:{app.name}]\nhost = 127.0.0.1\nport = {app.port}\n"
        file = fleet.folder / "circus.ini"
        file.write_text(text, encoding="utf-8")
        return [Command([places.peer("circusd"), file], fleet.folder)]

    def reload(self, running: Running, app: App) -> Sequence[str | Path]:
        endpoint = f"tcp://127.0.0.1:{running.fleet.spare_ports[0]}"
        program = running.places.peer("circusctl")
        return [program, "--endpoint", endpoint, "reload", app.name]


class Uwsgi(Plain):
    """uWSGI's emperor with a vassal for each app."""

    name = "uwsgi"
    about = "uWSGI emperor"
    package = "uWSGI"

    def commands(self, places: Places, fleet: Fleet, options: Options) -> list[Command]:
        refuse_pin(options)
        vassals = fleet.folder / "vassals"
        vassals.mkdir(exist_ok=True)
        for app in fleet.apps:
            text = f"""[uwsgi]
http-socket = 127.0.0.1:{app.port}
add-header = Connection: close
home = {places.peers.parent.parent}
chdir = {app.folder}
module = {app.name}:app
master = true
processes = {options.workers}
enable-threads = true
threads = {THREADS}
need-app = true
disable-logging = true
die-on-term = true
"""
            (vassals / f"{app.name}.ini").write_text(text, encoding="utf-8")
        return [
            Command([places.peer("uwsgi"), "--die-on-term", "--emperor", vassals], fleet.folder)
        ]

    def reload(self, running: Running, app: App) -> Sequence[str | Path]:
        touch(running.fleet.folder / "vassals" / f"{app.name}.ini")
        return []


ALL: tuple[Contender, ...] = (
    Ours(),
    Threads(),
    Waitress(),
    Supervisord(),
    Circus(),
    Gunicorn(),
    Uwsgi(),
    Granian(),
)
