"""Finds the web apps in a Python source, their ports and their devices, from its text alone. Pure.

Nothing is run, and no other file is read: who calls this resolves what a source imports of others.
"""

import ast
import warnings
from dataclasses import dataclass, field
from enum import StrEnum

from supervisor.source.expressions import (
    argument,
    called,
    dotted,
    number,
    own_nodes,
    statements,
)


class Interface(StrEnum):
    """How a server calls an app."""

    WSGI = "WSGI"
    ASGI = "ASGI"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundApp:
    """An app of a source; ``name`` is what a target writes behind the colon, without ``()``.

    ``is_factory``: it is a function that returns the app, and ``needs_arguments`` if it can't be
    called without. ``made_by`` is the dotted name of the imported function that returns it.
    """

    name: str
    framework: str
    interface: Interface
    line: int
    is_factory: bool = False
    needs_arguments: bool = False
    made_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A call that serves the app ``app`` on ``port``; None: the text doesn't decide the port."""

    app: str
    port: int | None
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An import of a module that drives a device, which only one process can hold."""

    module: str
    kind: str
    line: int


@dataclass(slots=True)
class SourceFacts:
    """What a source has; ``imported`` maps its names to the dotted names that they stand for.

    ``guarded`` are apps that it makes only when it is the main program, ``local`` those of a
    function, which does not return them, by their names. ``error`` says why the text is no Python
    source; then there is nothing else.
    """

    apps: list[FoundApp] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    imported: dict[str, str] = field(default_factory=dict)
    guarded: list[str] = field(default_factory=list)
    local: dict[str, str] = field(default_factory=dict)
    error: str | None = None


_CONSTRUCTORS: dict[str, tuple[str, Interface]] = {
    "flask.Flask": ("Flask", Interface.WSGI),
    "apiflask.APIFlask": ("APIFlask", Interface.WSGI),
    "flask_openapi3.OpenAPI": ("Flask-OpenAPI3", Interface.WSGI),
    "bottle.Bottle": ("Bottle", Interface.WSGI),
    "bottle.default_app": ("Bottle", Interface.WSGI),
    "falcon.App": ("Falcon", Interface.WSGI),
    "django.core.wsgi.get_wsgi_application": ("Django", Interface.WSGI),
    "dash.Dash": ("Dash", Interface.WSGI),
    "fastapi.FastAPI": ("FastAPI", Interface.ASGI),
    "starlette.applications.Starlette": ("Starlette", Interface.ASGI),
    "quart.Quart": ("Quart", Interface.ASGI),
    "litestar.Litestar": ("Litestar", Interface.ASGI),
    "sanic.Sanic": ("Sanic", Interface.ASGI),
    "falcon.asgi.App": ("Falcon", Interface.ASGI),
    "django.core.asgi.get_asgi_application": ("Django", Interface.ASGI),
}
FACTORY_NAMES = frozenset({"create_app", "make_app", "build_app", "get_app", "app_factory"})
_APP_NAMES = frozenset({"app", "application"})
# Functions that serve an app: the places of the app and of the port, and the default port.
_SERVERS: dict[str, tuple[int, int | None, int | None]] = {
    "waitress.serve": (0, None, 8080),
    "uvicorn.run": (0, None, 8000),
    "wsgiref.simple_server.make_server": (2, 1, None),
    "werkzeug.serving.run_simple": (2, 1, None),
}
_FLASK_PORT = 5000  # of app.run() without a port
_DEFAULT_PORTS = {"Dash": 8050, "Bottle": 8080}  # the same of others
_PORT_PLACE = 1  # app.run(host, port)
_DEVICES = {
    "RPi.GPIO": "GPIO",
    "gpiozero": "GPIO",
    "gpiod": "GPIO",
    "lgpio": "GPIO",
    "pigpio": "GPIO",
    "board": "GPIO",
    "digitalio": "GPIO",
    "neopixel": "GPIO",
    "rpi_ws281x": "GPIO",
    "spidev": "SPI",
    "serial": "a serial port",
    "picamera": "a camera",
    "picamera2": "a camera",
    "cv2": "a camera",
}


def scan(text: bytes) -> SourceFacts:
    """Return the apps, served ports and devices of a source."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes in the source's strings
            tree = ast.parse(text)
        return _Scanner(tree, has_camera=b"VideoCapture" in text).scan()
    except SyntaxError as error:
        line = f" (line {error.lineno})" if error.lineno else ": is it saved as UTF-8?"
        return SourceFacts(error=f"{type(error).__name__}: {error.msg}{line}")
    except (ValueError, RecursionError, MemoryError) as error:
        return SourceFacts(error=f"{type(error).__name__}: {error}")


class _Scanner:
    def __init__(self, tree: ast.Module, *, has_camera: bool) -> None:
        self._tree = tree
        self._has_camera = has_camera
        self._facts = SourceFacts()
        self._modules: set[str] = set()  # names bound by `import x`, not `from x import y`
        self._constants: dict[str, ast.expr] = {}
        self._constructors = dict(_CONSTRUCTORS)
        self._kinds: dict[str, tuple[str, Interface]] = {}  # of the names that are apps
        self._servers: dict[str, str] = {}  # the names that stand for the server of a Dash app

    def scan(self) -> SourceFacts:
        nodes = list(ast.walk(self._tree))
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._note_import(node)
        for statement, is_main in statements(self._tree.body):
            self._note_statement(statement, is_main=is_main)
        for node in nodes:
            if isinstance(node, ast.Call) and (run := self._run(node)) is not None:
                self._facts.runs.append(run)
        return self._facts

    # ---- imports

    def _note_import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                self._facts.imported[name] = alias.name if alias.asname else name
                self._modules.add(name)
                self._note_device(alias.name, node.lineno)
            return
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            full = f"{module}.{alias.name}" if not module.endswith(".") else module + alias.name
            self._facts.imported[alias.asname or alias.name] = full
            if not node.level:
                self._note_device(full, node.lineno)
        if module == "flask" and any(alias.name == "*" for alias in node.names):
            self._facts.imported["Flask"] = "flask.Flask"

    def _note_device(self, module: str, line: int) -> None:
        for name, kind in _DEVICES.items():
            is_meant = module == name or module.startswith(f"{name}.")
            if is_meant and (name != "cv2" or self._has_camera):
                known = {device.module for device in self._facts.devices}
                if name not in known:
                    self._facts.devices.append(Device(module=name, kind=kind, line=line))

    # ---- apps

    def _note_statement(self, node: ast.stmt, *, is_main: bool) -> None:
        match node:
            case ast.ClassDef(name=name):
                bases = [self._constructors.get(self._full(dotted(base))) for base in node.bases]
                if known := [kind for kind in bases if kind is not None]:
                    self._constructors[name] = known[0]
            case ast.FunctionDef() | ast.AsyncFunctionDef() if not is_main:
                self._note_function(node)
            case (
                ast.Assign(targets=[*_, ast.Name(id=name)], value=value)  # x = app = Flask(...)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                self._constants[name] = value
                app = self._assigned(name, value, node.lineno)
                if app is not None:
                    self._kinds[name] = (app.framework, app.interface)
                    if is_main:  # an import doesn't run the block
                        self._facts.guarded.append(name)
                    else:
                        self._add(app)

    def _add(self, app: FoundApp) -> None:
        apps = [one for one in self._facts.apps if one.name != app.name]
        self._facts.apps = [*apps, app]

    def _assigned(self, name: str, value: ast.expr, line: int) -> FoundApp | None:
        """Return the app that ``name = value`` makes, None if it is no app."""
        if isinstance(value, ast.Attribute) and value.attr == "server":  # of Dash
            kind = self._kinds.get(dotted(value.value))
            self._servers[dotted(value.value)] = name
            self._facts.apps = [one for one in self._facts.apps if one.name != dotted(value)]
            return None if kind is None else _app(name, kind, line)
        if not isinstance(value, ast.Call):
            return None
        maker = self._full(dotted(value.func))
        if maker in self._constructors:
            kind = self._constructors[maker]
            return _app(f"{name}.server" if kind[0] == "Dash" else name, kind, line)
        if maker in self._kinds:  # a factory of this source
            return _app(name, self._kinds[maker], line, made_by=maker)
        if maker.rpartition(".")[2] in FACTORY_NAMES and "." in maker:
            return _app(name, ("WSGI", Interface.WSGI), line, made_by=maker)
        return None

    def _note_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
        is_async = isinstance(node, ast.AsyncFunctionDef)
        if names == ["environ", "start_response"] and not is_async:
            self._add(_app(node.name, ("WSGI", Interface.WSGI), node.lineno))
        elif names == ["scope", "receive", "send"] and is_async:
            self._add(_app(node.name, ("ASGI", Interface.ASGI), node.lineno))
        elif not is_async and (kind := self._returned(node)) is not None:
            self._kinds[node.name] = kind
            required = len(names) - len(node.args.defaults)
            keywords = sum(default is None for default in node.args.kw_defaults)
            self._add(
                FoundApp(
                    name=node.name,
                    framework=kind[0],
                    interface=kind[1],
                    line=node.lineno,
                    is_factory=True,
                    needs_arguments=required + keywords > 0,
                )
            )

    def _returned(
        self, function: ast.FunctionDef | ast.AsyncFunctionDef
    ) -> tuple[str, Interface] | None:
        """Return the kind of the app that a function makes and returns, None if it doesn't."""
        local: dict[str, tuple[str, Interface]] = {}
        for node in own_nodes(function):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=func)):
                    if (kind := self._constructors.get(self._full(dotted(func)))) is not None:
                        local[name] = kind
                case ast.Return(value=ast.Name(id=name)) if name in local:
                    return local[name]
                case ast.Return(value=ast.Call(func=func)):
                    if (kind := self._constructors.get(self._full(dotted(func)))) is not None:
                        return kind
        self._facts.local |= dict.fromkeys(local, function.name)
        return None

    # ---- ports

    def _run(self, call: ast.Call) -> Run | None:
        """Return the run that a call is, None for any other call."""
        server = _SERVERS.get(self._full(dotted(call.func)))
        if server is not None:
            app_place, port_place, default = server
            app = argument(call, app_place, "app") or argument(call, app_place, "application")
            port = self._port(argument(call, port_place, "port"), default)
            return Run(app=called(app), port=port, line=call.lineno) if app is not None else None
        if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("run", "run_server")):
            return None
        owner = call.func.value
        first = call.args[0] if call.args else None
        if called(first) in self._kinds and called(owner) not in self._kinds:  # socketio.run(app)
            port = self._port(argument(call, None, "port"), _FLASK_PORT)
            return Run(app=called(first), port=port, line=call.lineno)
        given = argument(call, _PORT_PLACE, "port")
        if self._is_app(owner, has_port=given is not None):
            name = called(owner)
            framework = self._kinds.get(name.removesuffix("()"), ("", None))[0]
            default = _DEFAULT_PORTS.get(framework, _FLASK_PORT)
            hides_port = any(one.arg is None for one in call.keywords)  # app.run(**options)
            port = self._port(given, None if hides_port else default)
            return Run(app=self._servers.get(name, name), port=port, line=call.lineno)
        return None

    def _is_app(self, owner: ast.expr, *, has_port: bool) -> bool:
        """Return whether ``owner.run(...)`` serves an app, not a subprocess or a thread."""
        name = called(owner).removesuffix("()")
        if name in self._kinds:
            return True
        is_other = name in self._facts.imported and name not in self._modules
        return is_other and (has_port or name in _APP_NAMES | FACTORY_NAMES)

    def _port(self, given: ast.expr | None, default: int | None) -> int | None:
        return default if given is None else number(given, self._constants)

    def _full(self, dotted: str) -> str:
        """Return a dotted name with its first part as it was imported."""
        first, dot, rest = dotted.partition(".")
        return self._facts.imported.get(first, first) + dot + rest


def _app(
    name: str, kind: tuple[str, Interface], line: int, *, made_by: str | None = None
) -> FoundApp:
    return FoundApp(name=name, framework=kind[0], interface=kind[1], line=line, made_by=made_by)
