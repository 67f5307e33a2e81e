"""The apps, ports and devices of a source are found in its text; what is none is not found."""

import ast
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.source.app_scan import scan

FLASK = "from flask import Flask\n"

# the source; of each app its target, framework and interface
APPS: dict[str, tuple[str, list[str]]] = {
    "an app": (FLASK + "app = Flask(__name__)", ["app Flask WSGI"]),
    "with a type": (FLASK + "app: Flask = Flask(__name__)", ["app Flask WSGI"]),
    "by its module": ("import flask\nserver = flask.Flask('x')", ["server Flask WSGI"]),
    "by another name": ("from flask import Flask as F\nweb = F('x')", ["web Flask WSGI"]),
    "by a star": ("from flask import *\napp = Flask('x')", ["app Flask WSGI"]),
    "in a try": (FLASK + "try:\n    app = Flask('x')\nexcept E:\n    pass", ["app Flask WSGI"]),
    "in a condition": (FLASK + "if x:\n    app = Flask('x')", ["app Flask WSGI"]),
    "of a subclass": (FLASK + "class A(Flask):\n    pass\napp = A('x')", ["app Flask WSGI"]),
    "two": (FLASK + "a = Flask('a')\nb = Flask('b')", ["a Flask WSGI", "b Flask WSGI"]),
    "assigned twice": (FLASK + "a = Flask('a')\na = Flask('b')", ["a Flask WSGI"]),
    "a factory": (
        FLASK + "def create_app():\n    app = Flask('x')\n    return app",
        ["create_app() Flask WSGI"],
    ),
    "a factory with defaults": (
        FLASK + "def make(config=None, *, debug=False):\n    return Flask('x')",
        ["make() Flask WSGI"],
    ),
    "a factory with arguments": (
        FLASK + "def create_app(config):\n    return Flask('x')",
        ["create_app(...) Flask WSGI"],
    ),
    "a factory with named arguments": (
        FLASK + "def create_app(*, config):\n    return Flask('x')",
        ["create_app(...) Flask WSGI"],
    ),
    "a factory and its app": (
        FLASK + "def create_app():\n    return Flask('x')\napp = create_app()",
        ["create_app() Flask WSGI", "app Flask WSGI < create_app"],
    ),
    "another module's factory": (
        "from field import create_app\napplication = create_app('production')",
        ["application WSGI WSGI < field.create_app"],
    ),
    "a relative factory": (
        "from .factory import create_app\napp = create_app()",
        ["app WSGI WSGI < .factory.create_app"],
    ),
    "only as main program": (FLASK + "if __name__ == '__main__':\n    app = Flask('x')", []),
    "inside of a function": (FLASK + "def main():\n    app = Flask('x')\n    app.run()", []),
    "of an inner function": (
        FLASK + "def f():\n    def g():\n        return Flask('x')\n    return 1",
        [],
    ),
    "an async factory": (FLASK + "async def create_app():\n    return Flask('x')", []),
    "a WSGI function": ("def app(environ, start_response):\n    return []", ["app WSGI WSGI"]),
    "an ASGI function": (
        "async def app(scope, receive, send):\n    pass",
        ["app ASGI ASGI"],
    ),
    "Bottle": ("import bottle\napp = bottle.default_app()", ["app Bottle WSGI"]),
    "Django": (
        "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()",
        ["application Django WSGI"],
    ),
    "Dash": ("from dash import Dash\napp = Dash()", ["app.server Dash WSGI"]),
    "Dash and its server": (
        "from dash import Dash\napp = Dash()\nserver = app.server",
        ["server Dash WSGI"],
    ),
    "FastAPI": ("from fastapi import FastAPI\napi = FastAPI()", ["api FastAPI ASGI"]),
    "Quart": ("import quart\napp = quart.Quart('x')", ["app Quart ASGI"]),
    "another Flask": ("from flusk import Flask\napp = Flask('x')", []),
    "no app": ("app = 3\nfrom os import path\nx = path.join('a')", []),
    "empty": ("", []),
}


@pytest.mark.parametrize(("text", "wanted"), APPS.values(), ids=APPS)
def test_apps(text: str, wanted: list[str]) -> None:
    """Variables and factories that a target can name, with what they are."""
    found = []
    for app in scan(text.encode()).apps:
        call = "(...)" if app.needs_arguments else "()" if app.is_factory else ""
        made = f" < {app.made_by}" if app.made_by else ""
        found.append(f"{app.name}{call} {app.framework} {app.interface}{made}")
    assert found == wanted


APP = FLASK + "app = Flask('x')\n"
# the source; of each call that serves an app, the app and the port
PORTS: dict[str, tuple[str, list[tuple[str, int | None]]]] = {
    "named": (APP + "app.run(host='0.0.0.0', port=5001)", [("app", 5001)]),
    "by its place": (APP + "app.run('0.0.0.0', 5002)", [("app", 5002)]),
    "the default": (APP + "app.run(debug=True)", [("app", 5000)]),
    "as main program": (
        APP + "if __name__ == '__main__':\n    app.run(port=5003)",
        [("app", 5003)],
    ),
    "in a function": (APP + "def main():\n    app.run(port=5004)", [("app", 5004)]),
    "in a thread": (
        APP + "import threading\nthreading.Thread(target=lambda: app.run(port=5005)).start()",
        [("app", 5005)],
    ),
    "a constant": (APP + "PORT = 5006\napp.run(port=PORT)", [("app", 5006)]),
    "a text": (APP + "app.run(port=int('5007'))", [("app", 5007)]),
    "of a variable": (
        APP + "import os\napp.run(port=int(os.environ.get('PORT', 5008)))",
        [("app", 5008)],
    ),
    "of a variable, as a text": (
        APP + "import os\nPORT = os.getenv('PORT', '5009')\napp.run(port=int(PORT))",
        [("app", 5009)],
    ),
    "or a default": (APP + "import os\napp.run(port=os.getenv('P') or 5010)", [("app", 5010)]),
    "unknown": (APP + "import sys\napp.run(port=int(sys.argv[1]))", [("app", None)]),
    "too large": (APP + "app.run(port=70000)", [("app", None)]),
    "a circle of names": (APP + "A = B\nB = A\napp.run(port=A)", [("app", None)]),
    "of a factory": (
        FLASK + "def create_app():\n    return Flask('x')\ncreate_app().run(port=5011)",
        [("create_app()", 5011)],
    ),
    "of another module's app": (
        "from coach import app\napp.run(port=5012)",
        [("app", 5012)],
    ),
    "of another module's app of any name": (
        "from coach import web\nweb.run(port=5013)",
        [("web", 5013)],
    ),
    "socketio": (
        APP + "from flask_socketio import SocketIO\ns = SocketIO(app)\ns.run(app, port=5014)",
        [("app", 5014)],
    ),
    "waitress": (APP + "from waitress import serve\nserve(app, port=5015)", [("app", 5015)]),
    "waitress, by default": (APP + "import waitress\nwaitress.serve(app)", [("app", 8080)]),
    "wsgiref": (
        APP + "from wsgiref.simple_server import make_server\nmake_server('', 5016, app)",
        [("app", 5016)],
    ),
    "subprocess": ("import subprocess\nsubprocess.run(['ls'], port=1)", []),
    "another run": ("from thing import worker\nworker.run()", []),
    "an object of one's own": ("x = Game()\nx.run(port=5)", []),
}


@pytest.mark.parametrize(("text", "wanted"), PORTS.values(), ids=PORTS)
def test_ports(text: str, wanted: list[tuple[str, int | None]]) -> None:
    """Calls that serve an app, with the port if the text decides it."""
    assert [(run.app, run.port) for run in scan(text.encode()).runs] == wanted


DEVICES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "GPIO": ("import RPi.GPIO as GPIO", [("RPi.GPIO", "GPIO")]),
    "GPIO, from its package": ("from RPi import GPIO", [("RPi.GPIO", "GPIO")]),
    "gpiozero": ("from gpiozero import Button", [("gpiozero", "GPIO")]),
    "in a function": ("def f():\n    import serial", [("serial", "a serial port")]),
    "a submodule": ("import serial.tools.list_ports", [("serial", "a serial port")]),
    "twice": ("import serial\nimport serial", [("serial", "a serial port")]),
    "a camera": ("from picamera2 import Picamera2", [("picamera2", "a camera")]),
    "cv2 with a camera": ("import cv2\ncv2.VideoCapture(0)", [("cv2", "a camera")]),
    "cv2 for pictures": ("import cv2\ncv2.imread('x')", []),
    "a similar name": ("import serialize, gpiozeros", []),
    "a module of one's own": ("from . import serial", []),
}


@pytest.mark.parametrize(("text", "wanted"), DEVICES.values(), ids=DEVICES)
def test_devices(text: str, wanted: list[tuple[str, str]]) -> None:
    """Imports of modules that hold a device, each once."""
    assert [(device.module, device.kind) for device in scan(text.encode()).devices] == wanted


def test_what_names_stand_for() -> None:
    """Names of imports are known by their dotted names, relative ones with their dots."""
    text = b"import a.b, c as d\nfrom e import f as g\nfrom . import h\nfrom ..i import j"
    assert scan(text).imported == {"a": "a", "d": "c", "g": "e.f", "h": ".h", "j": "..i.j"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"def f(:\n", "SyntaxError: invalid syntax (line 1)"),
        (b"# coding: nonsense\n", "unknown encoding: nonsense"),
        (b"x = 1\n\x00", "source code string cannot contain null bytes"),
        (b"(" * 5000, "too many nested parentheses"),
    ],
)
def test_what_is_no_source(text: bytes, error: str) -> None:
    """The reason, and nothing else."""
    found = scan(text)
    assert error in (found.error or "")
    assert not found.apps


def test_a_deep_source() -> None:
    """A long sum is no reason to fail."""
    found = scan(APP.encode() + b"x = " + b"+".join([b"1"] * 3000))
    assert [app.name for app in found.apps] == ["app"] or found.error is not None


@given(st.text(alphabet="aFlask()=.:\n \t'[]{},runport5", max_size=80))
def test_any_text(text: str) -> None:
    """Any text gives facts, and an error exactly if Python can't parse it."""
    found = scan(FLASK.encode() + text.encode())
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(FLASK + text)
    except (SyntaxError, ValueError):
        assert found.error
    else:
        assert found.error is None
