"""The coach's pages, on a real data folder."""

import gc
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import apps
from apps.coach import create_app, models

PROJECT = Path(apps.__file__).parents[1]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a descriptor or a thread behind."""
    before = sorted(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    gc.collect()
    assert (sorted(os.listdir("/proc/self/fd")), threading.active_count()) == before


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the data folder; at the end it must hold no unexpected file."""
    folder = tmp_path / "data"
    monkeypatch.setenv("FLASK_SUPERVISOR_DATA_DIR", str(folder))
    yield folder
    gc.collect()  # the traceback of an error may hold a connection until then
    names = {path.name for path in folder.iterdir()}
    known = {name for name in names if re.fullmatch(r"coach\.db\.corrupt-[0-9TZ-]+", name)}
    assert names - known == {"coach.db", "lock", "secret_key"}


@pytest.fixture
def client(data: Path) -> FlaskClient:
    """Return a client of a fresh app."""
    return create_app().test_client()


def send(client: FlaskClient, path: str, page: str | None = None, **fields: str) -> TestResponse:
    """Fill in the form of ``page`` (else of ``path``) and send it to ``path``."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page or path).text)
    assert found, "the page has no form"
    return client.post(path, data={"csrf_token": found[1], **fields})


def add_team(client: FlaskClient, name: str) -> str:
    """Add a team, and return the address of its page."""
    answer = send(client, "/", name=name)
    assert answer.status_code == 302
    return answer.headers["Location"]


def add_player(client: FlaskClient, team: str, number: str, name: str) -> TestResponse:
    """Send the form for a player."""
    return send(client, team, number=number, name=name)


def words(page: str) -> str:
    """Return the text of a page as a reader sees it, its spaces made single."""
    main = re.sub(r"</?(a|b|span)\b[^>]*>", "", page.partition("<main")[2])
    return " ".join(re.sub(r"^[^>]*>|<[^>]*>", " ", main).split()).replace("&#39;", "'")


def test_empty(client: FlaskClient) -> None:
    """A fresh start says what to do first."""
    answer = client.get("/")
    assert answer.status_code == 200
    assert "No teams yet: add the first one." in words(answer.text)


def test_add_teams(client: FlaskClient) -> None:
    """A new team is announced once, and is listed by its name."""
    team = add_team(client, "  reds  of\tHome ")
    assert "Team reds of Home was added. All teams reds of Home" in words(client.get(team).text)
    add_team(client, "Blues")
    client.get("/")
    text = words(client.get("/").text)
    assert "was added" not in text
    assert text.endswith("Blues No players yet. reds of Home No players yet.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Give the team a name."),
        (" \t\n\x00", "Give the team a name."),
        ("x" * 61, "At most 60 characters, please."),
        ("reds", "There is already a team called reds."),
        ("GRÜN", "There is already a team called GRÜN."),
    ],
)
def test_refuses_team_name(client: FlaskClient, name: str, message: str) -> None:
    """An invalid name is refused with the reason, for a new team and for a renamed one."""
    add_team(client, "Reds")
    add_team(client, "Grün")
    other = add_team(client, "Other")
    for path in ("/", f"{other}/rename"):
        answer = send(client, path, name=name)
        assert answer.status_code == 422
        assert message in words(answer.text)
        assert 'aria-invalid="true"' in answer.text
    assert words(client.get("/").text).count("No players yet.") == 3


def test_rename(client: FlaskClient) -> None:
    """A team takes another name, or another spelling of its own."""
    team = add_team(client, "Reds")
    assert 'value="Reds"' in client.get(f"{team}/rename").text
    for name in ("REDS", "Blues"):
        answer = send(client, f"{team}/rename", name=name)
        assert answer.status_code == 302
        assert f"is now called {name}. All teams {name}" in words(client.get(team).text)
    add_team(client, "Reds")


def test_delete_asks_first(client: FlaskClient) -> None:
    """Deleting takes a page that asks; it deletes the players too."""
    team = add_team(client, "Reds")
    add_player(client, team, "7", "Anna")
    add_player(client, team, "8", "Ben")
    text = words(client.get(f"{team}/delete").text)
    assert "Delete Reds? Its 2 players will be deleted too." in text
    assert client.get(team).status_code == 200, "asking deletes nothing"
    assert send(client, f"{team}/delete").headers["Location"] == "/"
    text = words(client.get("/").text)
    assert "Team Reds was deleted." in text
    assert "No teams yet" in text
    assert client.get(team).status_code == 404
    with models.database.connection_context():
        assert models.Player.select().count() == 0


def test_players(client: FlaskClient) -> None:
    """Players are listed by number; one can be removed."""
    team = add_team(client, "Reds")
    for number, name in (("99", "Zoe"), ("0", "Ben"), ("07", " Anna  B ")):
        assert add_player(client, team, number, name).headers["Location"] == team
    text = words(client.get("/").text)
    assert text.endswith("Reds 0 Ben 7 Anna B 99 Zoe")
    remove = re.findall(r'action="([^"]+/remove)"', client.get(team).text)
    assert send(client, remove[1], page=team).headers["Location"] == team
    text = words(client.get(team).text)
    assert "Anna B, number 7, was removed. All teams Reds 0 Ben" in text
    assert "99 Zoe" in text
    assert send(client, remove[1], page=team).status_code == 404


@pytest.mark.parametrize(
    ("number", "name", "message"),
    [
        ("", "Ben", "Give the player a number."),
        ("100", "Ben", "A number from 0 to 99, please."),
        ("-1", "Ben", "A number from 0 to 99, please."),
        ("1.5", "Ben", "A number from 0 to 99, please."),
        ("٣", "Ben", "A number from 0 to 99, please."),
        ("7", "Ben", "Number 7 is taken."),
        ("8", "", "Give the player a name."),
        ("8", "x" * 41, "At most 40 characters, please."),
    ],
)
def test_refuses_player(client: FlaskClient, number: str, name: str, message: str) -> None:
    """An invalid player is refused with the reason, and the form keeps what was typed."""
    team = add_team(client, "Reds")
    add_player(client, team, "7", "Anna")
    answer = add_player(client, team, number, name)
    assert answer.status_code == 422
    assert message in words(answer.text)
    assert f'value="{name}"' in answer.text
    assert client.get(team).text.count("/remove") == 1


def test_same_player_in_two_teams(client: FlaskClient) -> None:
    """A number is taken in its own team only, and so is a player's place in the list."""
    reds, blues = add_team(client, "Reds"), add_team(client, "Blues")
    for team in (reds, blues):
        assert add_player(client, team, "7", "Anna").status_code == 302
    remove = re.findall(r'action="([^"]+/remove)"', client.get(reds).text)[0]
    elsewhere = remove.replace(reds, blues)
    assert send(client, elsewhere, page=blues).status_code == 404


def test_names_are_escaped(client: FlaskClient) -> None:
    """A name never becomes markup."""
    evil = "<script>\"'</script>"
    team = add_team(client, evil)
    add_player(client, team, "7", evil)
    for path in ("/", team, f"{team}/rename", f"{team}/delete"):
        page = client.get(path).text
        assert "&lt;script&gt;" in page
        assert "<script>" not in page


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/teams/1", 404),
        ("GET", "/teams/99999999999999999999", 404),
        ("GET", "/teams/1/players/1/remove", 405),
        ("PUT", "/", 405),
        ("POST", "/", 400),
        ("POST", "/teams/1/delete", 400),
    ],
)
def test_error_pages(client: FlaskClient, method: str, path: str, status: int) -> None:
    """Wrong addresses, methods and forms without a token get an error page with a link back."""
    answer = client.open(path, method=method, data={"name": "Reds"} if method == "POST" else None)
    assert answer.status_code == status
    assert "To all teams" in answer.text
    assert "No teams yet" in words(client.get("/").text)


def test_gone_meanwhile(client: FlaskClient) -> None:
    """A form of a team that somebody else has deleted gets a 404 with the reason."""
    reds, blues = add_team(client, "Reds"), add_team(client, "Blues")
    send(client, f"{reds}/delete")
    for path in (reds, f"{reds}/rename", f"{reds}/delete"):
        answer = send(client, path, page=blues, name="Anna", number="7")
        assert answer.status_code == 404
        assert "removed meanwhile" in words(answer.text)


def test_too_large(client: FlaskClient) -> None:
    """A form of more than 16 KiB is refused before it is read."""
    answer = client.post("/", data={"name": "x" * 20_000})
    assert answer.status_code == 413
    assert "too large" in words(answer.text)


@pytest.mark.parametrize("path", ["/", "/nothing", "/static/coach.css"])
def test_security_headers(client: FlaskClient, path: str) -> None:
    """Every answer carries the security headers, and the cookie is the app's own."""
    with client.get(path) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        cookie = answer.headers.get("Set-Cookie")
        assert cookie is None or re.match(r"coach_session=.*HttpOnly.*SameSite=Lax", cookie)


def test_page_needs_no_other_host(client: FlaskClient) -> None:
    """Every file that the page names is served by the app, and there is no script at all."""
    page = client.get("/").text
    names = re.findall(r'<link[^>]* href="([^"]+)"', page)
    assert any(name.endswith("bootstrap.min.css") for name in names)
    for name in names:
        with client.get(name) as answer:
            assert (name, answer.status_code) == (name, 200)
    assert not re.search(r"<script|<style| style=| on\w+=", page)


def test_survives_a_restart(data: Path, client: FlaskClient) -> None:
    """Teams, and the session of an open page, outlive the process that made them."""
    add_team(client, "Reds")
    key = (data / "secret_key").read_text()
    cookie = client.get_cookie("coach_session")
    assert cookie
    later = create_app().test_client()
    later.set_cookie("coach_session", cookie.value)
    assert "Team Reds was added." in words(later.get("/").text)
    assert (data / "secret_key").read_text() == key


def test_instance_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Outside the supervisor the app keeps its data in the instance folder."""
    monkeypatch.delenv("FLASK_SUPERVISOR_DATA_DIR", raising=False)
    monkeypatch.setattr("flask.Flask.auto_find_instance_path", lambda _: str(tmp_path / "here"))
    create_app()
    assert (tmp_path / "here" / "coach.db").exists()


def test_secret_key(data: Path, client: FlaskClient) -> None:
    """The key is long, nobody else's to read, and not another app's."""
    path = data / "secret_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch("[0-9a-f]{64}", path.read_text())
    assert client.application.secret_key == path.read_text()


@pytest.mark.parametrize("rest", [b"", b"\x00" * 64, b"\xff" * 9, b"0123"])
def test_secret_key_cut_short(data: Path, rest: bytes) -> None:
    """A key that a power cut truncated is replaced."""
    data.mkdir()
    (data / "secret_key").write_bytes(rest)
    (data / "secret_key.new").write_bytes(b"half")
    assert create_app().secret_key == (data / "secret_key").read_text()
    assert re.fullmatch("[0-9a-f]{64}", (data / "secret_key").read_text())


@pytest.mark.parametrize("garbage", [None, b"no database " * 1000])
def test_two_processes_start_at_once(data: Path, garbage: bytes | None) -> None:
    """Processes that start at once agree on the key, on the tables, and on what was damaged."""
    if garbage:
        data.mkdir()
        (data / "coach.db").write_bytes(garbage)
    program = (
        "import sys\n"
        "from apps.coach import create_app\n"
        "print('here', flush=True)\n"
        "sys.stdin.readline()\n"
        "app = create_app()\n"
        "print(app.secret_key, app.test_client().get('/').status_code)\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for process in started:
            assert process.stdout
            assert process.stdout.readline() == "here\n"
        for process in started:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        ends = [process.communicate(timeout=60) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    key = (data / "secret_key").read_text()
    assert [output for output, _ in ends] == [f"{key} 200\n"] * 4
    assert sum("was damaged" in errors for _, errors in ends) == bool(garbage)
    assert len(list(data.glob("coach.db.corrupt-*"))) == bool(garbage)


def test_two_generations_at_once(data: Path, client: FlaskClient) -> None:
    """While one process writes, another reads what was there before."""
    add_team(client, "Reds")
    with closing(sqlite3.connect(data / "coach.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE team SET name = 'Blues'")
        assert "Reds" in words(client.get("/").text)
        other.execute("COMMIT")
        assert "Blues" in words(client.get("/").text)


def damage_header(path: Path) -> None:
    """Overwrite the file with something that is no database."""
    path.write_bytes(b"\x7fELF" * 4096)


def damage_inside(path: Path) -> None:
    """Overwrite a page in the middle; header and schema stay intact."""
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name='team'")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with open(path, "r+b") as file:
        file.seek((root[0] - 1) * size)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize("damage", [damage_header, damage_inside])
def test_damaged_database_is_set_aside(
    data: Path, client: FlaskClient, damage: Callable[[Path], None]
) -> None:
    """A damaged database is kept under another name, the page says so, and a new one serves."""
    add_team(client, "Reds")
    path = data / "coach.db"
    damage(path)
    before = path.read_bytes()
    answer = client.get("/")
    assert answer.status_code == 503
    assert "The teams' database is damaged Restart this app" in words(answer.text)

    for _ in range(2):  # the second start finds nothing to do
        client = create_app().test_client()
        (kept,) = data.glob("coach.db.corrupt-*[!l]")
        assert kept.read_bytes() == before
        text = words(client.get("/").text)
        assert f"was set aside as {kept.name}" in text
        assert "No teams yet" in text
    kept.unlink()
    assert "set aside" not in words(client.get("/").text)


def test_power_cut(data: Path, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that was saved just before a power cut is there after it."""
    add_team(client, "Reds")
    with closing(sqlite3.connect(data / "coach.db")) as other:
        other.execute("UPDATE team SET name = 'Blues'")
        other.commit()
        after = data.with_name("after")
        after.mkdir()
        for name in ("coach.db", "coach.db-wal"):
            shutil.copy(data / name, after)
        assert b"Blues" not in (after / "coach.db").read_bytes()
    monkeypatch.setenv("FLASK_SUPERVISOR_DATA_DIR", str(after))
    text = words(create_app().test_client().get("/").text)
    assert "Blues" in text
    assert "set aside" not in text


def test_set_aside_never_overwrites(data: Path) -> None:
    """Two damaged files of the same second are both kept, each with its log beside it."""
    data.mkdir()
    for number in range(2):
        (data / "coach.db").write_bytes(b"no database %d" % number * 999)
        (data / "coach.db-wal").write_bytes(b"log %d" % number)
        create_app()
    kept = sorted(data.glob("coach.db.corrupt-*[!l]"))
    assert {path.read_bytes()[:13] for path in kept} == {b"no database 0", b"no database 1"}
    for path in kept:
        log = path.with_name(f"{path.name}-wal")
        assert log.read_bytes() == b"log %d" % int(path.read_bytes()[12:13])
        log.unlink()


def test_locked_database_is_left_alone(data: Path, client: FlaskClient) -> None:
    """A locked database does not count as damaged: the start fails, and the file stays."""
    add_team(client, "Reds")
    before = (data / "coach.db").stat().st_ino
    with closing(sqlite3.connect(data / "coach.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = delete")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            create_app()
        other.execute("ROLLBACK")
    assert (data / "coach.db").stat().st_ino == before
    assert "Reds" in words(create_app().test_client().get("/").text)


def test_unreadable_database_is_left_alone(data: Path) -> None:
    """A database that can't be opened does not count as damaged."""
    (data / "coach.db").mkdir(parents=True)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        create_app()
    assert (data / "coach.db").is_dir()


def test_busy_database(data: Path, client: FlaskClient) -> None:
    """A client that saves during a long write of another one is asked to try again."""
    models.database.timeout = 0.05
    with closing(sqlite3.connect(data / "coach.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = send(client, "/", name="Reds")
        other.execute("ROLLBACK")
    assert answer.status_code == 503
    assert "Somebody else is saving Nothing was saved." in words(answer.text)
    add_team(client, "Reds")


def test_full_storage(client: FlaskClient) -> None:
    """On a full disk nothing is saved in part, and the page names the cause."""
    with models.database.connection_context():
        pages = models.database.pragma("page_count")
        models.database.pragma("max_page_count", pages, permanent=True)
    names = (f"Team {number:03d} {'x' * 50}" for number in range(500))
    refused = next(
        answer for name in names if (answer := send(client, "/", name=name)).status_code != 302
    )
    assert refused.status_code == 507
    assert "The storage is full Nothing was saved." in words(refused.text)
    assert client.get("/").status_code == 200


def test_read_only_storage(client: FlaskClient) -> None:
    """On read-only storage the teams can still be read."""
    team = add_team(client, "Reds")
    with models.database.connection_context():
        models.database.pragma("query_only", 1, permanent=True)
    answer = add_player(client, team, "7", "Anna")
    assert answer.status_code == 503
    assert "The storage does not work" in words(answer.text)
    assert client.get(team).status_code == 200


def test_own_mistake_is_not_hidden(client: FlaskClient) -> None:
    """A failure that the storage did not cause is an error of the app, with its page."""
    with models.database.connection_context():
        models.database.drop_tables([models.Player])
    answer = client.get("/")
    assert answer.status_code == 500
    assert "Its log has the details." in words(answer.text)
    with models.database.connection_context():
        models.database.create_tables([models.Player])
