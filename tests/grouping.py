"""Three apps that share a registry in memory: two Flask apps, and a line-based TCP server."""

import contextlib
import socket
from dataclasses import dataclass
from typing import Any

from harness import Project, Running, ask, eventually, free_ports

REGISTRY = """
values = {}
handlers = []
touched = []

def touch(who):
    for handler in handlers:
        handler(who)
"""

ADMIN = """
import os, time
from flask import Flask
import registry

app = Flask(__name__)

@app.get("/")
def index():
    return f"{os.getpid()}"

@app.get("/store/<name>/<value>")
def store(name, value):
    registry.values[name] = value
    return "stored"

@app.get("/slow/<float:seconds>")
def slow(seconds):
    time.sleep(seconds)
    return "slow"

@app.get("/kill")
def kill():
    os.abort()
"""

COACH = """
import os
from flask import Flask
import registry

app = Flask(__name__)

def register_touch_handler():
    registry.handlers.append(registry.touched.append)

@app.get("/")
def index():
    return f"{os.getpid()}"

@app.get("/show/<name>")
def show(name):
    return registry.values.get(name, "nothing")

@app.get("/touched")
def touched():
    return " ".join(registry.touched)
"""

DEVICES = """
import os, socketserver
import registry

PORT = {port}

class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            word, _, rest = line.decode().strip().partition(" ")
            if word == "touch":
                registry.touch(rest)
                answer = "touched"
            elif word == "pid":
                answer = str(os.getpid())
            else:
                answer = registry.values.get(rest, "nothing")
            self.wfile.write(answer.encode() + b"\\n")

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

def serve():
    with Server(("127.0.0.1", PORT), Lines) as server:
        server.serve_forever()
"""


@dataclass
class Field:
    """The process ``field`` of a project, with the apps ``admin``, ``coach`` and ``devices``."""

    project: Project
    devices_port: int = 0

    @classmethod
    def make(cls, project: Project, *, devices: bool = True, **keys: Any) -> "Field":
        """Write the apps into one folder, and configure them; ``keys`` apply to each."""
        made = cls(project)
        ports = free_ports(3)
        made.write("registry", REGISTRY)
        made.write("admin", ADMIN)
        made.write("coach", COACH)
        shared = {"path": "field", "process": "field", **keys}
        project.apps["admin"] = {"target": "admin:app", "port": ports[0], **shared}
        project.apps["coach"] = {
            "target": "coach:app",
            "port": ports[1],
            "after_import": ["coach:register_touch_handler"],
            **shared,
        }
        if devices:
            made.devices_port = ports[2]
            made.write("devices", DEVICES.format(port=ports[2]))
            project.apps["devices"] = {
                "target": "devices:serve",
                "port": ports[2],
                "bind": "app",
                **shared,
            }
        return made

    def write(self, module: str, source: str) -> None:
        """Write one of their modules."""
        folder = self.project.folder / "field"
        folder.mkdir(exist_ok=True)
        (folder / f"{module}.py").write_text(source, encoding="utf-8")

    def get(self, app: str, path: str = "/") -> str:
        """Ask an app, which has to answer 200, and return the text."""
        answer = ask(self.project.port(app), path)
        assert answer.status == 200, answer.text
        return answer.text

    def say(self, line: str) -> str:
        """Send the TCP server a line, and return its answer."""
        with socket.create_connection(("127.0.0.1", self.devices_port), timeout=10) as connection:
            connection.sendall(line.encode() + b"\n")
            with connection.makefile(encoding="utf-8") as stream:
                return stream.readline().strip()

    def pid(self, running: Running) -> int:
        """Return the pid of their process, once all of them are ready in it."""
        found = {running.worker(name) for name in self.project.apps}
        assert len(found) == 1, found
        return found.pop()

    def wait_for_another(self, running: Running, pid: int) -> int:
        """Wait until all of them are ready in another process, and return its pid."""

        def other() -> int:
            documents = [running.app(name) for name in self.project.apps]
            assert {one["state"] for one in documents} == {"ready"}, documents
            found = {one["pid"] for one in documents}
            assert len(found) == 1 and pid not in found, found
            return int(found.pop())

        return eventually(other, timeout_s=30, what="another process serves")


@contextlib.contextmanager
def held(port: int) -> Any:
    """Listen on ``port``, as a port holder."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield listener
