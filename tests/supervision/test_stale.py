"""An app is stale when what it runs differs in content from its files, and only then."""

import os
import shutil
import zipfile
from pathlib import Path

from harness import Project, Running, ask, eventually

APP = """
import os
import sys
sys.path += [os.path.join(sys.path[0], one) for one in ("../shared", "current", "packed.zip")]
import field.games
import linked
import packed
import units
from flask import Flask, render_template
app = Flask(__name__)
app.config.from_pyfile("settings.cfg")

@app.get("/")
def index():
    return render_template("page.html", games=field.games.GAMES)

@app.get("/mail")
def mail():
    from field.mail import send
    return send()

@app.get("/optional")
def optional():
    try:
        import local_settings
    except ImportError:
        return "none"
    return local_settings.TEXT
"""
PAGES = """
from flask import Blueprint, Flask, render_template
from jinja2 import ChoiceLoader, FileSystemLoader
app = Flask(__name__, template_folder="views")
app.jinja_loader = ChoiceLoader([app.jinja_loader, FileSystemLoader(app.root_path + "/themes")])
pages = Blueprint("pages", __name__, template_folder="pages")

@app.get("/")
def index():
    return render_template("index.html")

app.register_blueprint(pages)
"""
OTHER = """
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "other"
"""


def make(project: Project) -> Path:
    """Write two apps into one folder, with scripts, templates and a package; return the folder."""
    project.app("coach", APP)
    folder = project.folder / "coach"
    project.app("other", OTHER, path="coach")
    shutil.move(project.folder / "other" / "other.py", folder / "other.py")
    (folder / "field").mkdir()
    (folder / "field" / "games.py").write_text("GAMES = 3\n")
    (folder / "field" / "mail.py").write_text("def send():\n    return 'sent'\n")
    (folder / "settings.cfg").write_text("SCALE = 1")
    pack(folder, "SCALE = 1")
    for name, text in (
        ("v1/linked", "V = 1"),
        ("v2/linked", "V = 2"),
        ("../shared/units", "U = 1"),
    ):
        file = folder / f"{name}.py"
        file.parent.mkdir()
        file.write_text(text)
    (folder / "current").symlink_to("v1")
    (folder / "templates").mkdir()
    (folder / "templates" / "page.html").write_text("{{ games }} games")
    (folder / "backup.py").write_text("import sys\n")
    return folder


def pack(folder: Path, text: str) -> None:
    """Write an archive with a module."""
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        archive.writestr("packed.py", text)


def rewrite(file: Path) -> None:
    """Replace a file by one with the same content, as git, scp and rsync do."""
    new = file.with_suffix(".new")
    new.write_bytes(file.read_bytes())
    os.replace(new, file)


def reloaded(project: Project) -> str:
    """Return what `reload` without a name says that it has reloaded."""
    done = project.command("reload")
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(project: Project) -> Running:
    """Start the supervisor and wait for both apps."""
    running = project.start()
    for name in ("coach", "other"):
        running.worker(name)
    return running


def test_only_content_that_the_app_uses_makes_it_stale(project: Project) -> None:
    """Not a new time, another app's file, a script beside it or a new folder."""
    folder = make(project)
    running = start(project)
    assert ask(project.port("coach")).text == "3 games"
    for file in [*folder.rglob("*.py"), *folder.rglob("*.html")]:
        rewrite(file)
    (folder / "backup.py").write_text("import sys, os\n")
    (folder / "copy_of_coach.py").write_text(APP)
    (folder / "templates" / "page.html~").write_text("of an editor")
    (folder / "pictures").mkdir()
    (folder / "other.py").write_text(OTHER.replace('"other"', '"new"'))
    running.wait_for("other", stale=True, status="warn", timeout_s=40)
    assert running.app("coach")["stale"] is False
    said = reloaded(project)
    assert "other" in said and "coach" not in said, said
    assert ask(project.port("other")).text == "new"
    running.wait_for("other", stale=False, status="pass")
    assert running.app("coach")["generation"] == 1

    changes = {
        "a loaded module": ("field/games.py", "GAMES = 4\n"),
        "a template": ("templates/page.html", "all {{ games }} games"),
        "a module that is imported later": ("field/mail.py", "def send():\n    return 'no'\n"),
        "a module that came": ("local_settings.py", "TEXT = 'here'\n"),
        "a new template": ("templates/base.html", "base"),
        "a module of another folder": ("../shared/units.py", "U = 2"),
        "a file that was run by its path": ("settings.cfg", "SCALE = 2"),
        "a module in an archive": ("packed.zip", "SCALE = 2"),
        "a folder behind a link": ("current", "v2"),
    }
    for number, (what, (name, text)) in enumerate(changes.items(), start=2):
        if name == "current":
            (folder / name).unlink()
            (folder / name).symlink_to(text)
        elif name == "packed.zip":
            pack(folder, text)
        else:
            (folder / name).write_text(text)
        said = reloaded(project)
        assert "coach" in said and "other" not in said, f"{what}: {said}"
        assert running.app("coach")["generation"] == number, what
    (folder / "field" / "mail.py").unlink()
    running.wait_for("coach", stale=True, timeout_s=40)
    (folder / "field" / "mail.py").write_text("def send():\n    return 'no'\n")
    running.wait_for("coach", stale=False, timeout_s=40)


def test_templates_in_other_folders(project: Project) -> None:
    """Those that a Flask app or a blueprint names count too."""
    project.app("coach", PAGES)
    for name in ("views/index.html", "pages/help.html", "themes/dark.html"):
        file = project.file("coach", name)
        file.parent.mkdir()
        file.write_text("old")
    running = project.start()
    running.worker("coach")
    rewrite(project.file("coach", "views/index.html"))
    assert "coach" not in reloaded(project)
    names = ("views/index.html", "pages/help.html", "views/new", "themes/dark.html")
    for number, name in enumerate(names, start=2):
        project.file("coach", name).write_text("new")
        assert "coach" in reloaded(project), name
        assert running.app("coach")["generation"] == number
    assert ask(project.port("coach")).text == "new"
    project.file("coach", "pages/help.html").write_text("newer")
    running.wait_for("coach", stale=True, timeout_s=40)


def test_the_old_files_put_back_are_not_stale(project: Project) -> None:
    """A deploy that is undone, or followed by a rollback, leaves what runs as it was."""
    folder = make(project)
    project.apps["coach"]["deploy_watch_s"] = 0.1
    running = start(project)
    new = project.folder / "new"
    shutil.copytree(folder, new, ignore=shutil.ignore_patterns("__pycache__"))
    (new / "field" / "games.py").write_text("GAMES = 4\n")
    assert project.command("deploy", "coach", str(new), "--only").returncode == 0
    assert ask(project.port("coach")).text == "4 games"
    assert project.command("rollback", "coach").returncode == 0
    assert ask(project.port("coach")).text == "3 games"
    assert "nothing" in reloaded(project)
    for name in ("coach", "other"):
        assert running.app(name)["stale"] is False


def test_reload_on_change_reloads_whom_it_concerns(project: Project) -> None:
    """`run --reload` leaves an app alone whose files were only touched, or are another's."""
    folder = make(project)
    running = project.start(arguments=["--reload"])
    for name in ("coach", "other"):
        running.worker(name)
    rewrite(folder / "coach.py")
    (folder / "backup.py").write_text("import sys, os\n")
    (folder / "other.py").write_text(OTHER.replace('"other"', '"new"'))
    eventually(lambda: ask(project.port("other")).text == "new")
    (folder / "templates" / "page.html").write_text("all {{ games }} games")
    eventually(lambda: ask(project.port("coach")).text == "all 3 games")
    running.wait_for("coach", generation=2)
    running.wait_for("other", generation=2)
