"""An app that finds its modules and data in the ways that real apps do, not as they should."""

import json
from pathlib import Path
from typing import Any

from harness import Project, Running, ask, eventually
from operating_case import wait_until_ready

ENTRY = """
import json, os, sqlite3, sys
from pathlib import Path
{find}
from flask import Flask, request
{load}

GAMES = json.loads(Path(__file__).with_name("games.json").read_text())
BESIDE = json.load(open("games.json"))
app = Flask(__name__)
base = {base}

def rows():
    with sqlite3.connect(base) as connection:
        connection.execute("create table if not exists t (x)")
        if request.method == "POST":
            connection.execute("insert into t values (1)")
        return connection.execute("select count(*) from t").fetchone()[0]

@app.route("/", methods=["GET", "POST"])
def index():
    return {{"word": W, "games": [GAMES, BESIDE], "rows": rows(), "page": page()}}

def page():
    from flask import render_template
    return render_template("page.html")
"""
WAYS = {
    "absolute": 'sys.path.insert(0, "{folder}")',
    "resolved": "sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))",
    "linked": 'sys.path.insert(0, "{link}")',
}
# Ways to get at what a source defines; all but the first without a module of its own.
LOADERS = {
    "import": "from pkg.words import W",
    "file loader": """
import importlib.util
spec = importlib.util.spec_from_file_location("words", Path(__file__).parent / "pkg/words.py")
words = importlib.util.module_from_spec(spec)
spec.loader.exec_module(words)
W = words.W
""",
    "run": "import runpy\nW = runpy.run_path('{folder}/pkg/words.py')['W']\n",
    "exec": "exec(compile(open('{folder}/pkg/words.py').read(), 'words.py', 'exec'))\n",
}
BASES = {
    "beside": 'Path(__file__).parent / "data.db"',
    "instance": 'Path(app.instance_path) / "app.db"',
    "absolute": 'Path("{folder}") / "store.db"',
}


def make_app(
    project: Project,
    way: str = "absolute",
    base: str = "beside",
    keys: dict[str, Any] | None = None,
    load: str = "import",
) -> Path:
    """Write an app that lives in a folder of its own; return the folder."""
    folder = project.folder / "srv"
    link = project.folder / "link"
    link.symlink_to(folder)
    names = {"folder": folder, "link": link}
    text = ENTRY.format(
        find=WAYS[way].format(**names),
        base=BASES[base].format(**names),
        load=LOADERS[load].format(**names),
    )
    write(folder, "coach.py", text)
    write(folder, "pkg/__init__.py", "")
    write(folder, "pkg/words.py", "W = 'kept'\n")
    write(folder, "games.json", '"kept"')
    write(folder, "templates/page.html", "kept")
    (folder / "instance").mkdir()
    project.app(
        "coach",
        text,
        path=str(folder if way != "linked" else link),
        known_good_after_s=1,
        **(keys or {}),
    )
    project.file("coach").unlink(missing_ok=True)
    return folder


def write(folder: Path, path: str, text: str) -> None:
    """Write a file, and the folders on the way to it."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)


def start_kept(project: Project) -> Running:
    """Start the app; return when it has been kept as known good."""
    running = project.start()
    wait_until_ready(running, "coach")
    eventually(
        lambda: "good" in project.command("releases", "coach").stdout,
        timeout_s=30,
        what="it is kept",
    )
    return running


def answer(project: Project, *, post: bool = False) -> dict[str, object]:
    """Return what the app answers."""
    reply = ask(project.port("coach"), "/", method="POST" if post else "GET")
    assert reply.status == 200, reply.text
    found: dict[str, object] = json.loads(reply.text)
    return found
