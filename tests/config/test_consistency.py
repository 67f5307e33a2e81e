"""Keys of the configuration against each other: names, ports, processes."""

import json
from pathlib import Path

import pytest

from supervisor.config import reader
from supervisor.values.errors import ConfigError


def app(name: str = "coach", keys: str = "port = 5001") -> str:
    """Return the text of an app's table."""
    return f'[apps.{name}]\ntarget = "coach:app"\n{keys}\n'


def problems(folder: Path, text: str) -> list[str]:
    """Return the mistakes in a file with ``text``, without its name at their beginning."""
    file = folder / "supervisor.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        reader.load(file)
    return [problem.removeprefix(f"{file}: ") for problem in raised.value.problems]


# ---- names and ports


@pytest.mark.parametrize("name", ["status", "all", "Coach", "1st", "my-app", '"my app"', '""', "é"])
def test_a_name_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    """Names that commands or paths couldn't contain are refused with the rule."""
    text = app(json.dumps(name) if name == "é" else name)
    [problem] = problems(tmp_path, text)
    bare = name.strip('"')
    assert problem.startswith(f"apps.{bare}: this name can't be used; a name starts with a letter")


@pytest.mark.parametrize("text", ["", "[apps]\n", "[supervisor]\n"])
def test_a_file_without_apps(tmp_path: Path, text: str) -> None:
    """Without apps the message says how to configure one."""
    [problem] = problems(tmp_path, text)
    assert problem.startswith("apps: no app is configured; add a table [apps.NAME]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (app() + app("b"), "apps.b.port = 5001: is already taken by app 'coach'"),
        (app(keys="port = 6000"), "apps.coach.port = 6000: is already taken by the status server"),
        (
            "[status]\nport = 7000\n" + app(keys="port = 7000"),
            "apps.coach.port = 7000: is already taken by the status server",
        ),
        (
            app(keys='host = "unix:a.sock"') + app("b", 'host = "unix:a.sock"'),
            "apps.b.host = \"unix:a.sock\": is already taken by app 'coach'",
        ),
        (
            app(keys='host = "unix:a.sock"') + app("b", 'host = "unix:./x/../a.sock"'),
            "apps.b.host = \"unix:./x/../a.sock\": is already taken by app 'coach'",
        ),
        (
            '[status]\nhost = "unix:a.sock"\n' + app(keys='host = "unix:a.sock"'),
            'apps.coach.host = "unix:a.sock": is already taken by the status server',
        ),
    ],
)
def test_two_on_one_port(tmp_path: Path, text: str, expected: str) -> None:
    """Two apps, or an app and the status server, can't have the same port or socket."""
    assert problems(tmp_path, text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        app() + app("b", "port = 5001\nenabled = false"),
        app() + app("b", "enabled = false"),
        app() + app("b", "port = 6000\nenabled = false"),
        app(keys='port = 6000\nhost = "unix:a.sock"'),
        '[status]\nhost = "unix:s.sock"\n' + app(keys="port = 6000"),
        app(keys='host = "unix:a.sock"') + app("b", 'host = "unix:b.sock"'),
    ],
)
def test_no_clash(tmp_path: Path, text: str) -> None:
    """Disabled apps and apps on Unix sockets occupy no port."""
    file = tmp_path / "supervisor.toml"
    file.write_text(text)
    assert reader.load(file).apps


def test_a_port_of_the_wrong_type(tmp_path: Path) -> None:
    """A port that is no number takes no place from another app."""
    text = "[status]\nport = [5001]\n" + app(keys="port = {}") + app("b", 'port = "5001"')
    assert [problem.partition(":")[0] for problem in problems(tmp_path, text)] == [
        'apps.b.port = "5001"',
        "apps.coach.port = {}",
        "status.port = [5001]",
    ]


# ---- apps that share a process


def sharing(first: str = "", second: str = "", third: str | None = None) -> str:
    """Return the text of apps that share the process ``field``."""
    given = [first, second, *([] if third is None else [third])]
    return "".join(
        app(f"app{n}", f'port = {5001 + n}\nprocess = "field"\n{keys}')
        for n, keys in enumerate(given)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (sharing('path = "a"', 'path = "b"'),
         'apps.app1.path = "b": apps of one process must have the same, and app0 has "a"'),
        (sharing("", 'python = "/opt/bin/python"'),
         'apps.app1.python = "/opt/bin/python": apps of one process must have the same, and app0 '
         "has none"),
        (sharing('python = "/bin/python"', ""),
         'apps.app1.python: apps of one process must have the same, and app0 has "/bin/python"'),
        (sharing("", "workers = 2"),
         "apps.app1.workers: apps of one process must have 1: they share the memory of one "
         "worker"),
        (sharing("", 'env = { A = "1" }', 'env = { A = "2" }'),
         "apps.app2.env.A: apps of one process share an environment, and app1 sets another "
         "value"),
        (app(keys='port = 1\nprocess = "status"'),
         'apps.coach.process = "status": this name is reserved'),
        (app(keys='port = 1\nprocess = "all"'),
         'apps.coach.process = "all": this name is reserved'),
        (app(keys="port = 1\nmax_threads = 3"),
         "apps.coach.max_threads = 3: must be at least `threads`, which is 4"),
        (app(keys='port = 1\nprocess = "admin"') + app("admin", "port = 5002"),
         'apps.coach.process = "admin": is the name of an app outside this process'),
        (app(keys='port = 1\nbind = "app"\nworkers = 2'),
         'apps.coach.workers: must be 1 with bind = "app": only one process can bind a port'),
        ('[apps.coach]\ntarget = "coach:serve"\nhost = "unix:/run/x"\nbind = "app"\n',
         'apps.coach.host: an app with bind = "app" needs a TCP port'),
    ],
)  # fmt: skip
def test_what_keeps_apps_from_sharing_a_process(tmp_path: Path, text: str, expected: str) -> None:
    """Each mistake has the key path of the app that has to change."""
    assert problems(tmp_path, text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        sharing('path = "a"', 'path = "./a/"'),
        sharing('path = "."', ""),
        sharing('env = { A = "1" }', 'env = { A = "1", B = "2" }'),
        sharing('path = "a"', 'path = "b"\nenabled = false'),
        app(keys='port = 1\nprocess = "field"') + app("admin", "port = 5002"),
        app(keys='port = 1\nprocess = "coach"') + app("admin", 'port = 2\nprocess = "coach"'),
    ],
)
def test_apps_that_may_share_a_process(tmp_path: Path, text: str) -> None:
    """A folder may be written in two ways, and a process named like one of its apps."""
    file = tmp_path / "supervisor.toml"
    file.write_text(text)
    assert reader.load(file).processes()
