"""Deploys of all kinds of apps and sources, where something stands in the way, and the way back."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import Poller, Project, Running, ask, eventually
from importing_case import write
from operating_case import (
    AS_USER,
    ESCAPES,
    NOBODY,
    Following,
    call,
    open_project,
    run_as,
    wait_until_ready,
)
from test_deploy import WATCH_S, archive_of, is_as_before, make_source, only_old, source_of, start

OUTSIDE = "tmp/flask-supervisor-was-here"


# ---- sources


def hostile(project: Project, kind: str) -> Path:
    """Make an archive that must not be unpacked."""
    archive = project.folder / f"{kind}.tar.gz"
    code = source_of("new").encode()
    with tarfile.open(archive, "w:gz") as tar:

        def add(name: str, content: bytes = b"", **fields: object) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in fields.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))

        add("coach.py", code)
        if kind == "outside":
            add(f"../../../../../../{OUTSIDE}", b"x")
        elif kind == "absolute":
            add(f"/{OUTSIDE}", b"x")
        elif kind == "link":
            add("static", type=tarfile.SYMTYPE, linkname="/etc")
        elif kind == "device":
            add("static", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
        elif kind == "bomb":
            add("static/zeros", bytes(64 * 1024 * 1024))
        elif kind == "many":
            for number in range(20_001):
                add(f"static/{number}")
    return archive


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("outside", "leads out of it"),
        ("absolute", "leads out of it"),
        ("link", "the link static leads out of it, to '/etc'"),
        ("device", "static is neither a file nor a folder nor a link"),
        ("bomb", "it grows more than 200 times: it is no source code"),
        ("many", "more than 20000 files come out of it"),
    ],
)
def test_a_malicious_or_oversized_archive(project: Project, kind: str, reason: str) -> None:
    """It is refused while it is unpacked; nothing of it is left anywhere, and nobody notices."""
    start(project)
    archive = hostile(project, kind)
    with only_old(project):
        result = project.command("deploy", "coach", str(archive))
    assert result.returncode == 1
    assert "was refused, nothing has changed: cannot unpack" in result.stderr
    assert reason in result.stderr
    assert "importing it there" not in result.stdout
    is_as_before(project)
    assert not Path("/", OUTSIDE).exists()


def test_a_zip_with_the_project_in_a_folder(project: Project) -> None:
    """The app's files are found one level down, as archives of repositories have them."""
    start(project)
    archive = project.folder / "coach-main.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("coach-main/coach.py", source_of("new"))
        packed.writestr("coach-main/README.md", "read me")
    result = project.command("deploy", "coach", "coach-main.zip")  # relative to the caller's folder
    assert result.returncode == 0, result.stderr
    assert ask(project.port("coach")).text == "new\n"
    assert not project.file("coach", "README.md").exists()


@pytest.mark.parametrize(
    ("content", "code", "reason"),
    [
        (None, 2, "does not exist"),
        (b"no archive", 1, "it is none of: folder, .tar.gz, .tar, .zip"),
        (b"\x1f\x8b\x08\x00garbage", 1, "it is damaged, or not complete"),
    ],
)
def test_what_is_no_archive(
    project: Project, content: bytes | None, code: int, reason: str
) -> None:
    """A mistyped name is wrong usage, another file is refused with what it should be."""
    start(project)
    if content is not None:
        (project.folder / "thing").write_bytes(content)
    result = project.command("deploy", "coach", "thing")
    assert (result.returncode, reason in result.stderr) == (code, True), result.stderr
    is_as_before(project)


@pytest.mark.root
def test_a_source_that_only_the_operator_can_read() -> None:
    """The supervisor runs as another user: it says who it is, and what to do."""
    with open_project() as project:
        project.app("coach", source_of("old"))
        os.chown(project.folder, NOBODY, NOBODY)
        os.chown(project.folder / "coach", NOBODY, NOBODY)
        project.write()
        command = [*_as_user(NOBODY), "run", "--config", str(project.config)]
        log = (project.folder / "log").open("wb")
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=project.environment(), cwd=project.folder
        )
        running = Running(project, process, project.folder / "log")
        project.started.append(running)
        running.wait_until_up()
        wait_until_ready(running, "coach")
        new = archive_of(make_source(project, "new"))
        new.chmod(0o600)
        result = project.command("deploy", "coach", str(new))
        log.close()
        print(running.log)
        assert result.returncode == 1
        assert "the supervisor (user nobody) may not read" in result.stderr
        assert "put it where the supervisor can read it" in result.stderr
        new.chmod(0o644)
        result = project.command("deploy", "coach", str(new))
        assert result.returncode == 0, result.stderr
        owner = project.file("coach").stat().st_uid
        assert owner == NOBODY
        refused = run_as(12345, project.folder, "rollback", "coach")
        assert refused.returncode == 1
        assert "sudo" in refused.stderr


def _as_user(uid: int) -> list[str]:
    return [sys.executable, "-c", AS_USER, str(uid)]


# ---- apps


SITE = """
from flask import render_template
import helper, lazy_parts
from pkg import inner
app.config["TEMPLATES_AUTO_RELOAD"] = True

@app.get("/page")
def page():
    import at_last
    return render_template("page.html") + helper.H + inner.I + at_last.L
"""


def site(number: str) -> dict[str, str]:
    """Return the files of an app with templates, static files, and siblings beside its module."""
    return {
        "helper.py": f"H = '{number}'\n",
        "lazy_parts.py": "",
        "at_last.py": f"L = '{number}'\n",
        "pkg/__init__.py": "",
        "pkg/inner.py": f"I = '{number}'\n",
        "templates/page.html": number,
        "static/page.css": number,
    }


def test_templates_static_files_and_siblings(project: Project) -> None:
    """All of them are the new ones, those imported late too; data and others' files stay."""
    folder = project.folder / "coach"
    folder.mkdir()
    mine = {"notes.txt": "mine", "pkg/teams.db": "data", "other_tool.py": "1"}
    write(folder, {**site("1"), **mine, "pkg/gone.py": ""})
    project.app("coach", source_of("old", SITE), smoke=["/page", "/static/page.css"])
    project.apps["coach"]["deploy_watch_s"] = WATCH_S
    running = project.start()
    wait_until_ready(running, "coach")
    assert ask(project.port("coach"), "/page").text == "1111"
    new = make_source(project, "new", SITE, **site("2"))
    with Poller(project.port("coach"), rate=50, path="/page") as poller:
        result = project.command("deploy", "coach", str(archive_of(new)))
        assert result.returncode == 1
        assert "SOURCE lacks pkg/gone.py" in result.stderr
        assert ask(project.port("coach"), "/page").text == "1111"
        result = project.command("deploy", "coach", "--delete", str(archive_of(new)))
    assert result.returncode == 0, result.stderr
    assert poller.refused == 0
    assert poller.failed == []
    assert ask(project.port("coach"), "/page").text == "2222"
    assert ask(project.port("coach"), "/static/page.css").text == "2"
    assert not (folder / "pkg" / "gone.py").exists()
    for path, text in mine.items():
        assert (folder / path).read_text() == text
    assert call(running, "release.list", app="coach")["releases"][0]["files"] == 9
    result = project.command("rollback", "coach")
    assert result.returncode == 0, result.stderr
    assert ask(project.port("coach"), "/page").text == "1111"
    assert (folder / "pkg" / "gone.py").exists()
    assert (folder / "pkg" / "teams.db").read_text() == "data"


def test_apps_with_one_folder(project: Project) -> None:
    """Of an archive of the whole project only the app's own files are taken."""
    folder = project.folder / "field"
    folder.mkdir()
    for name in ("coach", "admin"):
        write(folder, {f"{name}.py": f"import shared\n{source_of('old')}"})
        project.app(name, path="field", deploy_watch_s=WATCH_S)
    write(folder, {"shared.py": ""})
    running = project.start()
    wait_until_ready(running, "coach", "admin")
    pid = running.worker("admin")
    new = make_source(project, "new", "import shared", **{"admin.py": "broken(", "shared.py": "1"})
    result = project.command("deploy", "coach", str(new))
    assert result.returncode == 0, result.stderr
    assert ask(project.port("coach")).text == "new\n"
    assert (folder / "admin.py").read_text() == f"import shared\n{source_of('old')}"
    assert running.worker("admin") == pid
    # one that doesn't bring the shared module doesn't take it from the other app
    (new / "shared.py").unlink()
    (new / "coach.py").write_text(source_of("newer"))
    assert project.command("deploy", "coach", str(new)).returncode == 0
    assert (folder / "shared.py").read_text() == "1"


@pytest.fixture
def group(project: Project) -> Iterator[Running]:
    """Start three apps in one process, of which one binds its port itself."""
    folder = project.folder / "field"
    folder.mkdir()
    for name in ("coach", "admin"):
        write(folder, {f"{name}.py": source_of("old")})
        project.app(name, path="field", process="field", deploy_watch_s=WATCH_S)
    running = project.start()
    wait_until_ready(running, "coach", "admin")
    yield running


def test_one_in_a_group(project: Project, group: Running) -> None:
    """The whole process takes the new files; nobody of either app is refused."""
    with ExitStack() as stack:
        pollers = [
            stack.enter_context(Poller(project.port(n), rate=30)) for n in ("coach", "admin")
        ]
        result = project.command("deploy", "coach", str(make_source(project, "new")))
    assert result.returncode == 0, result.stderr
    assert [(p.refused, p.failed) for p in pollers] == [(0, []), (0, [])]
    assert ask(project.port("coach")).text == "new\n"
    assert ask(project.port("admin")).text == "old\n"


def test_one_in_a_group_that_breaks_its_mate(project: Project, group: Running) -> None:
    """Not even its mate loses anything: the process with both old ones goes on."""
    pid = group.worker("admin")
    (project.folder / "field" / "admin.py").write_text("import nosuch\n")
    new = make_source(project, "new")
    result = project.command("deploy", "coach", str(new))
    assert result.returncode == 1
    assert "was undone, the old version is back: ModuleNotFoundError" in result.stderr
    assert group.worker("admin") == pid
    assert (project.folder / "field" / "coach.py").read_text() == source_of("old")


def make_environment(project: Project) -> str:
    """Make a virtual environment with Flask and a package of its own; returns its interpreter."""
    environment = project.folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "only_there.py").write_text("THERE = 1\n")
    shutil.copytree(Path(__import__("flask").__file__).parent, packages / "flask")
    for name in ("werkzeug", "jinja2", "click", "itsdangerous", "blinker", "markupsafe"):
        shutil.copytree(Path(__import__(name).__file__).parent, packages / name)
    return str(environment / "bin" / "python")


def test_one_with_its_own_virtual_environment(project: Project) -> None:
    """The try beforehand uses its interpreter: only there is the package that it needs."""
    python = make_environment(project)
    project.app("coach", source_of("old", "import only_there"), python=python)
    project.apps["coach"]["deploy_watch_s"] = WATCH_S
    running = project.start()
    wait_until_ready(running, "coach")
    new = make_source(project, "new", "import only_there")
    result = project.command("deploy", "coach", str(new))
    assert result.returncode == 0, result.stderr
    assert ask(project.port("coach")).text == "new\n"
    new = make_source(project, "newer", "import attrs_is_not_there")
    result = project.command("deploy", "coach", str(new))
    assert result.returncode == 1
    assert "nothing has changed: ModuleNotFoundError: No module named 'attrs_is_not" in (
        result.stderr
    )


def test_an_interrupt_ends_the_other_interpreter(project: Project) -> None:
    """No import of an abandoned version goes on in the background."""
    running = start(project, python=make_environment(project))
    new = make_source(project, "new", "import time; time.sleep(100)")
    before = set(project.processes())
    with Following(project, "deploy", "coach", str(new)) as deploying:
        deploying.wait_for("importing it there")
        eventually(lambda: len(set(project.processes()) - before) >= 4)  # the command is one
        assert deploying.end(timeout_s=30)[0] == 1
    eventually(lambda: set(project.processes()) == before)
    assert running.app("coach")["status"] == "pass"


@pytest.mark.parametrize(
    ("keys", "arguments"),
    [({"workers": 2}, ()), ({}, ("--reload",))],
    ids=["two workers", "a developer's supervisor"],
)
def test_other_ways_to_run(
    project: Project, keys: dict[str, object], arguments: tuple[str, ...]
) -> None:
    """A good version comes in, and one that answers badly goes again, however the app runs."""
    port = project.app("coach", source_of("old"), deploy_watch_s=WATCH_S, smoke=["/smoke"], **keys)
    running = project.start(arguments=arguments)
    wait_until_ready(running, "coach")
    result = project.command("deploy", "coach", str(make_source(project, "new")))
    assert result.returncode == 0, result.stderr
    eventually(lambda: ask(port).text == "new\n")
    bad = make_source(project, "bad")
    (bad / "coach.py").write_text((bad / "coach.py").read_text().replace('"/smoke"', '"/gone"'))
    result = project.command("deploy", "coach", str(bad))
    assert result.returncode == 1
    assert "/smoke answers 404 NOT FOUND" in result.stderr
    eventually(lambda: ask(port).text == "new\n")


def test_one_on_a_unix_socket(project: Project) -> None:
    """Its paths are asked through the socket."""
    running = start(project, host="unix:coach.sock", smoke=["/gone"])
    result = project.command("deploy", "coach", str(make_source(project, "new")))
    assert result.returncode == 1
    assert "/gone answers 404 NOT FOUND" in result.stderr
    assert running.app("coach")["status"] in ("pass", "warn")
    assert project.file("coach").read_text() == source_of("old")


def test_files_that_only_the_new_version_names_are_kept_too(project: Project) -> None:
    """What belongs to a broken version isn't known, but what is replaced is kept."""
    project.app("coach", "import helper\nbroken(\n", deploy_watch_s=WATCH_S)
    project.file("coach", "helper.py").write_text("MINE = 1\n")
    running = project.start()
    running.wait_for("coach", state="backoff")
    new = make_source(project, "new", "import helper", **{"helper.py": "MINE = 2\n"})
    assert project.command("deploy", "coach", str(new)).returncode == 0
    assert project.file("coach", "helper.py").read_text() == "MINE = 2\n"
    [kept] = (project.folder / ".flask-supervisor" / "releases" / "coach").glob("0*")
    assert (kept / "files" / "helper.py").read_text() == "MINE = 1\n"


def test_one_that_cannot_run_twice(project: Project) -> None:
    """Its new version is read, not imported, before; then it is replaced, and brought back."""
    more = "open('imports', 'a').write(__file__ + '\\n')\n"
    running = start(project, reload="replace")
    result = project.command("deploy", "coach", str(make_source(project, "x", "import nosuch")))
    assert result.returncode == 1
    assert "nothing has changed: no module named 'nosuch' (coach.py, line 5)" in result.stderr
    result = project.command("deploy", "coach", str(make_source(project, "new", more)))
    assert result.returncode == 0, result.stderr
    assert len(project.file("coach", "imports").read_text().splitlines()) == 1
    crashing = make_source(project, "bad", "raise ValueError('only when it runs')")
    with Poller(project.port("coach"), rate=50) as poller:
        result = project.command("deploy", "coach", str(crashing))
        eventually(lambda: ask(project.port("coach")).text == "new\n")
    assert result.returncode == 1
    assert "ValueError: only when it runs" in result.stderr
    assert poller.refused == 0
    wait_until_ready(running, "coach")


def test_one_that_is_stopped(project: Project) -> None:
    """It gets the new files, stays stopped, and starts with them."""
    running = start(project, smoke=["/smoke"])
    assert project.command("stop", "coach").returncode == 0
    result = project.command("deploy", "coach", str(make_source(project, "new")))
    assert result.returncode == 0, result.stderr
    assert "it is stopped: it starts with them when somebody starts it" in result.stdout
    assert "watching" not in result.stdout
    assert running.app("coach")["state"] == "stopped"
    assert project.command("start", "coach").returncode == 0
    assert ask(project.port("coach")).text == "new\n"


def test_one_that_never_started(project: Project) -> None:
    """A deploy is the repair of what is broken; one into an empty folder is an installation."""
    project.app("coach", "import nosuch\n", deploy_watch_s=WATCH_S)
    project.app("empty", target="coach:app", deploy_watch_s=WATCH_S)
    project.file("empty").unlink()
    running = project.start()
    running.wait_for("coach", state="backoff")
    for name in ("coach", "empty"):
        result = project.command("deploy", name, str(make_source(project, "new")))
        assert result.returncode == 0, result.stderr
        assert ask(project.port(name)).text == "new\n"
    result = project.command("rollback", "coach", "1")
    assert result.returncode == 1
    assert "was refused, nothing has changed: ModuleNotFoundError" in result.stderr


def test_apps_that_cannot_be_changed_now(project: Project) -> None:
    """A disabled one, an unknown one, and one without its port, each with what to do."""
    start(project)
    project.app("off", enabled=False)
    new = str(make_source(project, "new"))
    assert project.command("reload").returncode == 0
    for name, reason in (("off", "app 'off' is disabled"), ("nosuch", "there is no app 'nosuch'")):
        result = project.command("deploy", name, new)
        assert (result.returncode, reason in result.stderr) == (1, True), result.stderr
    assert project.command("releases", "off").stdout == "app 'off' has no releases yet\n"


def test_what_the_app_requires(project: Project) -> None:
    """A new version that lacks what the app requires is refused, with all that is missing."""
    wanted = [
        {"kind": "module", "name": "helper"},
        {"kind": "file", "path": "key.txt"},
        {"kind": "file", "path": "nice.txt", "critical": False},
    ]
    (project.folder / "coach").mkdir()
    project.file("coach", "helper.py").write_text("")
    running = start(project, requires=wanted)
    wait_until_ready(running, "coach")
    new = make_source(project, "new", "import helper", **{"helper.py": ""})
    result = project.command("deploy", "coach", str(new))
    assert result.returncode == 1
    assert "nothing has changed: what it requires is not there: key.txt doesn't exist" in (
        result.stderr
    )
    (project.folder / "key.txt").touch()
    result = project.command("deploy", "coach", str(new))
    assert result.returncode == 0, result.stderr


# ---- what stands in the way


def test_two_at_once(project: Project) -> None:
    """The second one is refused and hears of the first, which isn't disturbed."""
    running = start(project, deploy_watch_s=60)
    new = make_source(project, "new")
    with Following(project, "deploy", "coach", str(new)) as first:
        first.wait_for("watching it")
        result = project.command("deploy", "coach", str(new))
        assert result.returncode == 1
        assert result.stdout == ""
        assert "the deploy of new to app 'coach' is under way, since " in result.stderr
        assert "one at a time" in result.stderr
        assert call(running, "release.interrupt", key="somebody-else") == {"interrupted": False}
        assert call(running, "release.progress")["running"]
        assert call(running, "release.interrupt") == {"interrupted": True}
        assert first.end(None, timeout_s=30)[0] == 1
    is_as_before(project)


@pytest.mark.root
@pytest.mark.parametrize("where", ["app", "state"])
def test_a_full_disk(project: Project, where: str) -> None:
    """It is refused, with the reason, and the app doesn't notice."""
    folder = project.folder / ("coach" if where == "app" else "state")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        project.supervisor["state_dir"] = "state" if where == "state" else ".flask-supervisor"
        if where == "state":
            (project.folder / "coach").mkdir()
            write(project.folder / "coach", {"static/big": "x" * 500_000})
        start(project)
        new = make_source(project, "new", **{"static/big": "y" * 500_000})
        with only_old(project):
            result = project.command("deploy", "coach", str(new))
        assert result.returncode == 1
        assert "was refused, nothing has changed: " in result.stderr
        assert "No space left on device" in result.stderr
        assert project.file("coach").read_text() == source_of("old")
        assert not project.file("coach", ".flask-supervisor-swap").exists()
        small = make_source(project, "new")
        if where == "app":  # it works again with less
            result = project.command("deploy", "coach", str(small))
            assert result.returncode == 0, result.stderr
    finally:
        for running in project.started:
            running.stop()
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_a_read_only_folder(project: Project) -> None:
    """The reason is said, with what has to be changed."""
    folder = project.folder / "coach"
    start(project)
    new = make_source(project, "new")
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        with only_old(project):
            result = project.command("deploy", "coach", str(new))
        assert result.returncode == 1
        assert "cannot prepare the deploy: Read-only file system" in result.stderr
        assert "has to be writable" in result.stderr
    finally:
        for running in project.started:
            running.stop()
        subprocess.run(["umount", str(folder)], check=True)


def test_files_that_somebody_changes_meanwhile(project: Project) -> None:
    """What somebody else has written before the files are replaced is in the release of them."""
    start(project)
    more = f"os.system('echo \\'# mine\\' >> {project.file('coach')}')"
    slow = make_source(project, "new", more)  # the try beforehand does what the other one does
    result = project.command("deploy", "coach", str(slow))
    assert result.returncode == 0, result.stderr
    kept = project.folder / ".flask-supervisor" / "releases" / "coach"
    assert any("# mine" in file.read_text() for file in kept.rglob("coach.py"))


# ---- looking, and going back


def test_rollback_releases_and_compare(project: Project) -> None:
    """The broken version is kept, and the table marks what is in place."""
    running = start(project)
    new = make_source(project, "new", **{"static/added.css": "x"})
    assert project.command("deploy", "coach", str(new)).returncode == 0
    project.file("coach").write_text("import nosuch\n")  # somebody copies a broken file over it
    with Poller(project.port("coach"), rate=30) as poller:
        assert project.command("reload", "coach").returncode == 1
        result = project.command("rollback", "coach", "1")
        eventually(lambda: ask(project.port("coach")).text == "old\n")
    assert result.returncode == 0, result.stderr
    assert poller.refused == 0
    assert {answer.text for answer in poller.answers} <= {"old\n", "new\n"}
    assert "release 1-" in result.stdout
    eventually(lambda: running.app("coach")["status"] == "pass")
    lines = project.command("releases", "coach").stdout.splitlines()
    assert lines[0].split() == ["RELEASE", "CREATED", "COMMIT", "WHAT", "IT", "IS"]
    assert lines[1].startswith("2-")
    assert lines[1].endswith("  before a rollback")
    assert lines[2].startswith("1-")
    assert lines[2].endswith("  in place, before the deploy of new")
    with Following(project, "releases", "coach", terminal=True) as table:
        table.end(None)
    assert all(len(ESCAPES.sub("", line).rstrip("\r")) <= 80 for line in table.said.split("\n"))
    listed = json.loads(project.command("releases", "coach", "--json").stdout)["releases"]
    assert [(one["number"], one["live"]) for one in listed] == [(2, False), (1, True)]
    result = project.command("compare", "coach", "live", "2")
    assert result.stdout.splitlines() == ["~ coach.py", "+ static/added.css"]
    assert project.command("compare", "coach", "1", "live").stdout == "1 and live are identical\n"
    digest = listed[1]["digest"]
    back = json.loads(project.command("compare", "coach", "2", digest[:10], "--json").stdout)
    assert back["removed"] == ["static/added.css"]
    for arguments in (("rollback", "coach", "7"), ("compare", "coach", "7", "live")):
        result = project.command(*arguments)
        assert result.returncode == 1
        assert "there is no release '7' of app 'coach'" in result.stderr
    running.stop()
    offline = json.loads(project.command("releases", "coach", "--json").stdout)["releases"]
    assert offline == listed
    assert project.command("releases", "nosuch").returncode == 1
    assert "no supervisor is running" in project.command("rollback", "coach").stderr


def test_json_is_one_object_a_line(project: Project) -> None:
    """A line for each phase, and the outcome as the last one, with the reason on standard error."""
    start(project, smoke=["/gone"])
    result = project.command("deploy", "coach", str(make_source(project, "new")), "--json")
    assert result.returncode == 1
    *phases, outcome = map(json.loads, result.stdout.splitlines())
    assert [phase["phase"] for phase in phases] == [
        *("staging", "checking", "keeping", "swapping", "reloading"),
        *("watching", "undoing", "reloading_old"),
    ]
    assert all(set(phase) == {"phase", "text", "seconds", "lasts_s"} for phase in phases)
    assert (outcome["ok"], outcome["phase"], outcome["app"]) == (False, "undone", "coach")
    assert outcome["reason"].endswith("/gone answers 404 NOT FOUND")
    assert outcome["kept"].startswith("1-")
    assert result.stderr.startswith("error: the deploy of new to app 'coach' was undone")


def test_secrets_stay_secret(project: Project) -> None:
    """What the new version raises may quote one; it is hidden wherever that is shown."""
    running = start(project, env={"API_TOKEN": "hunter2-and-more"})
    more = "raise ValueError('login with ' + os.environ['API_TOKEN'])"
    result = project.command("deploy", "coach", str(make_source(project, "new", more)))
    assert result.returncode == 1
    assert "ValueError: login with (hidden)" in result.stderr
    assert "hunter2" not in result.stdout + result.stderr + running.log
    assert "hunter2" not in json.dumps(call(running, "events"))


def test_completion(project: Project) -> None:
    """The shell completes apps, and releases of the app named before."""
    start(project)
    assert project.command("deploy", "coach", str(make_source(project, "new"))).returncode == 0

    def completed(words: str) -> list[str]:
        count = len(words.split(" ")) - 1
        env = {
            "_FLASK_SUPERVISOR_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(count),
            "FLASK_SUPERVISOR_CONFIG": str(project.config),
        }
        done = subprocess.run(
            [sys.executable, "-m", "supervisor"],
            env=project.environment(**env),
            capture_output=True,
            text=True,
            check=False,
            cwd=project.folder,
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("flask-supervisor releases c") == ["coach"]
    [release] = completed("flask-supervisor rollback coach 1")
    assert release.startswith("1-")
    assert completed("flask-supervisor compare coach l") == ["live"]
