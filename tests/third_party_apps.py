"""Apps on third-party frameworks, and third-party apps, with the requests that they are asked.

Each is a module ``main`` with ``app``, to be served from a folder of its own; the package has to be
importable. The requests come in order: some depend on what those before have written.
"""

from dataclasses import dataclass

_HEAD = "Host: localhost\r\nConnection: close\r\n"


def request(line: str, *headers: str, body: bytes | str = b"") -> bytes:
    """Return a whole request, after whose answer the server closes the connection."""
    data = body.encode() if isinstance(body, str) else body
    lines = [*headers, *([f"Content-Length: {len(data)}"] if data else [])]
    return "".join([f"{line} HTTP/1.1\r\n", _HEAD, *(f"{one}\r\n" for one in lines)]).encode() + (
        b"\r\n" + data
    )


@dataclass(frozen=True)
class ThirdParty:
    """An app: the packages that it needs, its module, and requests."""

    packages: tuple[str, ...]
    source: str
    requests: tuple[bytes, ...]


_FORM = "Content-Type: application/x-www-form-urlencoded"
_JSON = "Content-Type: application/json"
_XML = "Content-Type: application/xml; charset=utf-8"
_USUAL = (
    request("GET /"),
    request("HEAD /"),
    request("GET /nothing/here"),
    request("GET /json"),
    request("GET /stream"),
    request("POST /echo", _FORM, body="name=Jos%C3%A9&n=1&n=2"),
    request("GET /boom"),
    request("GET /file", "Range: bytes=2-5"),
)

BOTTLE = """
import bottle
app = bottle.Bottle()

@app.get("/")
def index():
    bottle.response.set_cookie("seen", "yes", path="/")
    return bottle.template("<p>{{text}}</p>", text="Grüße & <b>")

@app.get("/json")
def as_json():
    return {"a": [1, None, "é"]}

@app.get("/stream")
def stream():
    yield b"one"
    yield b"two"

@app.post("/echo")
def echo():
    return repr(sorted(bottle.request.forms.allitems()))

@app.get("/boom")
def boom():
    raise RuntimeError("boom")

@app.get("/file")
def file():
    return bottle.static_file("data.txt", root=".")
"""
FALCON = """
import falcon

class Page:
    def on_get(self, request, response, name=""):
        match name:
            case "": response.text = "Grüße"
            case "json": response.media = {"a": [1, None, "é"]}
            case "stream": response.stream = iter([b"one", b"two"])
            case "boom": raise RuntimeError("boom")
            case "file": response.stream, response.content_length = open("data.txt", "rb"), 11
            case _: raise falcon.HTTPNotFound(title="no such page")

    def on_post(self, request, response, name=""):
        response.media = request.get_media()

app = falcon.App()
app.add_route("/", Page())
app.add_route("/{name}", Page())
"""
PYRAMID = """
from pyramid.config import Configurator
from pyramid.response import FileResponse, Response

def page(request):
    match request.matchdict["name"]:
        case "": return Response("Grüße")
        case "json": return Response(json={"a": [1, None, "é"]})
        case "stream": return Response(app_iter=iter([b"one", b"two"]))
        case "echo": return Response(repr(sorted(request.POST.items())))
        case "boom": raise RuntimeError("boom")
        case "file": return FileResponse("data.txt", request=request)
    return Response("?", status=404)

with Configurator() as config:
    config.add_route("page", "/{name:[^/]*}")
    config.add_view(page, route_name="page")
    app = config.make_wsgi_app()
"""
DJANGO = """
import django
from django.conf import settings
settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="not secret", USE_TZ=True,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

def index(request):
    response = HttpResponse("Grüße")
    response.set_cookie("seen", "yes")
    return response

def boom(request):
    raise RuntimeError("boom")

urlpatterns = [
    path("", index),
    path("json", lambda request: JsonResponse({"a": [1, None, "é"]})),
    path("stream", lambda request: StreamingHttpResponse(iter([b"one", b"two"]))),
    path("echo", lambda request: HttpResponse(repr(sorted(request.POST.lists())))),
    path("boom", boom),
    path("file", lambda request: FileResponse(open("data.txt", "rb"))),
]
app = get_wsgi_application()
"""
DASH = """
from dash import Dash, Input, Output, dcc, html
dash = Dash(__name__)
dash.layout = html.Div([dcc.Input(id="name", value="x"), html.P(id="said")])

@dash.callback(Output("said", "children"), Input("name", "value"))
def say(name):
    return f"Grüße {name}"

app = dash.server
"""
_CALL = (
    '{"output": "said.children", "outputs": {"id": "said", "property": "children"}, "inputs": '
    '[{"id": "name", "property": "value", "value": "you"}], "changedPropIds": ["name.value"]}'
)
MOTO = """
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
app = DomainDispatcherApplication(create_backend_app)
"""
ISSO = """
import isso
with open("isso.cfg", "w") as file:
    file.write('''[general]
dbpath = comments.db
host = http://example.test/
[server]
listen = http://localhost:1/
[guard]
enabled = false
''')
from isso import config
app = isso.make_app(config.load(config.default_file(), "isso.cfg"), threading=True)
"""
RADICALE = """
import os
with open("radicale.cfg", "w") as file:
    file.write('''[auth]
type = none
[storage]
filesystem_folder = collections
''')
os.environ["RADICALE_CONFIG"] = "radicale.cfg"
from radicale import application as app
"""
_EVENT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\nBEGIN:VEVENT\r\nUID:one\r\n"
    "DTSTAMP:20260101T100000Z\r\nDTSTART:20260101T100000Z\r\nDTEND:20260101T110000Z\r\n"
    "SUMMARY:Grüße\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
_ME = "Authorization: Basic bWU6eA=="
_PROPFIND = '<propfind xmlns="DAV:"><prop><resourcetype/><getetag/></prop></propfind>'

APPS = {
    "bottle": ThirdParty(("bottle",), BOTTLE, _USUAL),
    "falcon": ThirdParty(("falcon",), FALCON, _USUAL),
    "pyramid": ThirdParty(("pyramid",), PYRAMID, _USUAL),
    "django": ThirdParty(("django",), DJANGO, _USUAL),
    "dash": ThirdParty(
        ("dash",),
        DASH,
        (
            request("GET /"),
            request("GET /_dash-layout"),
            request("GET /_dash-dependencies"),
            request("GET /_favicon.ico?v=1"),
            request("POST /_dash-update-component", _JSON, body=_CALL),
            request("POST /_dash-update-component", _JSON, body="{"),
            request("GET /_dash-component-suites/dash/nothing.js"),
            request("GET /any/page"),
        ),
    ),
    "moto": ThirdParty(
        ("moto[s3]", "flask-cors"),
        MOTO,
        (
            request("GET /"),
            request("PUT /bucket"),
            request("PUT /bucket/key", "Content-Type: text/plain", body="Grüße"),
            request("GET /bucket/key"),
            request("GET /bucket/key", "Range: bytes=0-2"),
            request("GET /bucket?list-type=2"),
            request("GET /bucket/nothing"),
            request("DELETE /bucket/key"),
        ),
    ),
    "isso": ThirdParty(
        ("isso",),
        ISSO,
        (
            request("GET /?uri=%2Fpage%2F"),
            request("GET /"),
            request("GET /js/embed.min.js"),
            request("GET /css/isso.css"),
            request("POST /count", _JSON, body='["/page/", "/other/"]'),
            request("GET /id/1"),
            request("GET /feed?uri=%2Fpage%2F"),
            request("GET /config"),
        ),
    ),
    "radicale": ThirdParty(
        ("radicale",),
        RADICALE,
        (
            request("GET /"),
            request("GET /.web/"),
            request("PROPFIND /me/", _ME, _XML, body=_PROPFIND),
            request("MKCALENDAR /me/calendar/", _ME),
            request("PUT /me/calendar/one.ics", _ME, "Content-Type: text/calendar", body=_EVENT),
            request("GET /me/calendar/one.ics", _ME),
            request("PROPFIND /me/calendar/", _ME, "Depth: 1", _XML, body=_PROPFIND),
            request("PROPFIND /me/calendar/", _ME, "Depth: 1", _XML, body="<broken"),
            request("DELETE /me/calendar/one.ics", _ME),
            request("OPTIONS /me/", _ME),
        ),
    ),
}
