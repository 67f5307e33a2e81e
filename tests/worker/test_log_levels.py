"""What an app logs has its level in the supervisor's log, in whatever way the app logs it."""

import json

from harness import Project, Running, ask, eventually

# each way to log says "WAY level" with the level that is meant
APP = """
import json, logging, logging.config, multiprocessing, os, sys, traceback, warnings
from flask import Flask
app = Flask(__name__)

{configuration}

log = logging.getLogger("some.module")

@app.get("/")
def index():
    for level in ("warning", "error", "critical"):
        getattr(log, level)("log %s", level)
        getattr(app.logger, level)("flask %s\\n  and more %s", level, level)
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("exception error")
        traceback.print_exc()
    print(json.dumps({{"event": "json warning", "level": "warning"}}))
    print("2026-11-23 10:00:00.123 | ERROR    | m:f:1 - loguru error", file=sys.stderr)
    print("plain info")
    child = multiprocessing.get_context("fork").Process(target=log.error, args=["child error"])
    child.start()
    child.join()
    return "ok"

@app.get("/boom")
def boom():
    raise RuntimeError("view error")
"""
WAYS = {
    "nothing": "",
    "bare": "logging.basicConfig(format='%(message)s')",
    "default": "logging.basicConfig(level=logging.INFO, stream=sys.stdout)",
    "letters": "logging.basicConfig(format='%(levelname).1s %(message)s')",
    "dicts": """
logging.config.dictConfig({
    "version": 1, "formatters": {"f": {"format": "%(asctime)s %(name)s: %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
    "root": {"level": "INFO", "handlers": ["h"]},
})""",
}


def output(running: Running, app: str) -> list[tuple[str, str]]:
    """Return the lines that an app has printed, each with its level."""
    lines = [json.loads(line) for line in running.log.splitlines()]
    return [
        (one["event"], one["level"]) for one in lines if one.get("output") and one["app"] == app
    ]


def test_every_way_to_log(project: Project) -> None:
    """A line of an error is one, a warning is one; a traceback has one level on all its lines."""
    ports = {name: project.app(name, APP.format(configuration=text)) for name, text in WAYS.items()}
    running = project.start()
    for name, port in ports.items():
        running.wait_for(name, state="ready")
        assert ask(port).text == "ok"
        assert ask(port, "/boom").status == 500
        eventually(lambda name=name: any("view error" in text for text, _ in output(running, name)))
    for name in WAYS:
        lines = output(running, name)
        assert not [text for text, _ in lines if text.startswith("<")]
        for text, level in lines:
            said = [word for word in text.split() if word in ("warning", "error", "critical")]
            if said and not text.startswith("{"):
                assert level == said[-1], (name, text, level)
        levels = dict(lines)
        assert levels["plain info"] == "info"
        assert levels['{"event": "json warning", "level": "warning"}'] == "warning"
        count = {level for text, level in lines if "ZeroDivisionError" in text}
        assert count == {"error"}, name
        assert {level for text, level in lines if text.startswith("    ")} == {"error"}, name


def test_files_and_streams_of_the_app_have_no_marks(project: Project) -> None:
    """What an app logs elsewhere, or catches, is written as by hand."""
    port = project.app(
        "coach",
        """
import contextlib, io, logging, os, sys
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    caught = io.StringIO()
    log = logging.getLogger("x")
    log.propagate = False
    log.handlers = [logging.FileHandler("app.log"), logging.StreamHandler(caught)]
    log.warning("one")
    real = os.dup(2)
    with open("all.log", "w") as file:
        os.dup2(file.fileno(), 2)
        log.handlers = [logging.StreamHandler()]
        log.warning("two")
        sys.stderr.flush()
    os.dup2(real, 2)
    return caught.getvalue()
""",
    )
    running = project.start()
    running.wait_for("coach", state="ready")
    assert ask(port).text == "one\n"
    assert project.file("coach", "app.log").read_text() == "one\n"
    assert project.file("coach", "all.log").read_text() == "two\n"
