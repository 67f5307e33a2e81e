"""Values of the configuration: which are accepted, and the message for each mistake."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from supervisor.config import reader, settings
from supervisor.config.settings import Config
from supervisor.values.errors import ConfigError

SECTIONS: dict[str, type] = {
    "supervisor": settings.SupervisorSettings,
    "bind": settings.BindSettings,
    "status": settings.StatusSettings,
    "apps": settings.AppSettings,
}


def app(keys: str = "", name: str = "coach", port: int = 5001) -> str:
    """Return the text of an app's table that is valid apart from ``keys``."""
    return f'[apps.{name}]\ntarget = "coach:app"\nport = {port}\n{keys}\n'


def load(folder: Path, text: str) -> Config:
    """Return the configuration in a file with ``text``."""
    file = folder / "supervisor.toml"
    file.write_text(text, encoding="utf-8")
    return reader.load(file)


def problems(folder: Path, text: str) -> list[str]:
    """Return the mistakes in ``text``, without the file name that each starts with."""
    with pytest.raises(ConfigError) as raised:
        load(folder, text)
    prefix = f"{folder / 'supervisor.toml'}: "
    found = raised.value.problems
    assert all(problem.startswith(prefix) for problem in found)
    assert raised.value.message == "\n".join(found)
    return [problem.removeprefix(prefix) for problem in found]


# ---- what is accepted


def test_a_small_file_gets_all_the_defaults(tmp_path: Path) -> None:
    """A target and a port are enough."""
    loaded = load(tmp_path, app())
    assert loaded.supervisor == settings.SupervisorSettings(
        host="0.0.0.0",
        state_dir=".flask-supervisor",
        log_format="auto",
        log_level="info",
        shutdown_timeout_s=2.0,
    )
    assert loaded.bind == settings.BindSettings(
        attempts=5, first_delay_s=2.0, factor=2.0, max_delay_s=30.0
    )
    assert loaded.status == settings.StatusSettings(port=6000, host=None)
    assert loaded.apps == {
        "coach": settings.AppSettings(
            target="coach:app",
            port=5001,
            host=None,
            path=".",
            enabled=True,
            threads=4,
            env={},
            control=False,
            import_timeout_s=120.0,
        )
    }


def test_every_key_can_be_set(tmp_path: Path) -> None:
    """Values other than the defaults are taken as they are written."""
    loaded = load(
        tmp_path,
        """
        [supervisor]
        host = "::"
        state_dir = "/var/lib/x"
        log_format = "json"
        log_level = "debug"
        shutdown_timeout_s = 0.5
        [bind]
        attempts = 3
        first_delay_s = 1
        factor = 1.5
        max_delay_s = 9
        [status]
        port = 6001
        host = "127.0.0.1"
        [apps.coach]
        target = "package.coach:factory.make()"
        port = 1
        host = "::1"
        path = "code"
        enabled = false
        threads = 200
        max_threads = 256
        waitress = { ident = "coach" }
        env = { NAME = "value" }
        control = true
        import_timeout_s = 3
        hang_timeout_s = 20
        request_timeout_s = 60
        max_memory_mb = 100
        max_requests = 1000
        health_path = "/well"
        health_interval_s = 15
        health_threshold = 5
        smoke = ["/", "/page"]
        deploy_watch_s = 2
        workers = 2
        pin = false
        reload = "replace"
        before_start = [["true"]]
        writable = ["data"]
        process = "field"
        include = ["teams"]
        known_good_after_s = 5
        python = "/opt/x/bin/python"
        after_import = ["a:b"]
        bind = "supervisor"
        exclude = ["*.log"]
        umask = "0027"
        hardware = ["gpio", "can"]
        access_log = true
        """,
    )
    assert [
        dataclasses.astuple(getattr(loaded, name)) for name in ("supervisor", "bind", "status")
    ] == [
        ("::", "/var/lib/x", "json", "debug", 0.5),
        (3, 1.0, 1.5, 9.0),
        (6001, "127.0.0.1"),
    ]
    effective = dataclasses.asdict(loaded.apps["coach"])
    assert effective == {
        "target": "package.coach:factory.make()",
        "command": None,
        "port": 1,
        "host": "::1",
        "path": "code",
        "enabled": False,
        "threads": 200,
        "max_threads": 256,
        "waitress": {"ident": "coach"},
        "env": {"NAME": "value"},
        "control": True,
        "import_timeout_s": 3.0,
        "stop_timeout_s": 10.0,
        "env_file": None,
        "hang_timeout_s": 20.0,
        "request_timeout_s": 60.0,
        "max_memory_mb": 100,
        "max_requests": 1000,
        "health_path": "/well",
        "health_interval_s": 15.0,
        "health_threshold": 5,
        "smoke": ["/", "/page"],
        "deploy_watch_s": 2.0,
        "workers": 2,
        "pin": False,
        "reload": "replace",
        "before_start": [["true"]],
        "writable": ["data"],
        "process": "field",
        "include": ["teams"],
        "known_good_after_s": 5.0,
        "python": "/opt/x/bin/python",
        "after_import": ["a:b"],
        "bind": "supervisor",
        "requires": [],
        "exclude": ["*.log"],
        "umask": "0027",
        "hardware": ["gpio", "can"],
        "access_log": True,
    }


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to the file's folder, not to the current one."""
    monkeypatch.chdir("/")
    text = '[supervisor]\nstate_dir = "../state"\n' + app(
        'path = "code/../apps"\nhost = "unix:a/s"'
    )
    (tmp_path / "etc").mkdir()
    loaded = load(tmp_path / "etc", text)
    assert loaded.state_dir == tmp_path / "state"
    assert loaded.app_path("coach") == tmp_path / "etc" / "apps"
    assert loaded.address("coach") == (f"unix:{tmp_path}/etc/a/s", None)


def test_absolute_paths_are_kept(tmp_path: Path) -> None:
    """An absolute path doesn't depend on the file's folder."""
    text = '[supervisor]\nstate_dir = "/var/state"\n' + app('path = "/opt/x"\nhost = "unix:/run/s"')
    loaded = load(tmp_path, text)
    assert str(loaded.state_dir) == "/var/state"
    assert str(loaded.app_path("coach")) == "/opt/x"
    assert loaded.address("coach") == ("unix:/run/s", None)


def test_a_relative_file_name_gives_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--config supervisor.toml`` means the same file after a change of the current folder."""
    (tmp_path / "supervisor.toml").write_text(app())
    monkeypatch.chdir(tmp_path)
    loaded = reader.load(Path("supervisor.toml"))
    assert loaded.file == tmp_path / "supervisor.toml"
    assert loaded.app_path("coach") == tmp_path


def test_hosts_default_to_the_supervisors(tmp_path: Path) -> None:
    """The host of an app or of [status] overrides that of [supervisor]."""
    text = '[supervisor]\nhost = "127.0.0.1"\n' + app() + app('host = "::1"', "other", 5002)
    loaded = load(tmp_path, text)
    assert loaded.address("coach") == ("127.0.0.1", 5001)
    assert loaded.address("other") == ("::1", 5002)
    assert loaded.status_address == ("127.0.0.1", 6000)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "::1", "localhost", "unix:x.sock"])
def test_good_hosts(tmp_path: Path, host: str) -> None:
    """Numeric addresses, localhost and Unix sockets are accepted."""
    assert load(tmp_path, app(f'host = "{host}"')).apps["coach"].host == host


@pytest.mark.parametrize(
    "target",
    ["a:b", "a.b:c.d", "_a:make()", "apps.x1:create_app()", "my-app:app", "2fa.web:app",
     "a:make('prod', [1, 2], debug=True)"],
)  # fmt: skip
def test_good_targets(tmp_path: Path, target: str) -> None:
    """A module and an attribute, or a factory with (), are accepted."""
    text = f'[apps.coach]\ntarget = "{target}"\nport = 1\n'
    assert load(tmp_path, text).apps["coach"].target == target


# ---- mistakes in values

SECONDS = "a number of seconds above 0"
HOST = 'a numeric IPv4 or IPv6 address, "localhost" or "unix:/path/of/socket"'
TARGET = '"module:app" or "module:factory()"'
ARGUMENTS = (
    'the arguments are plain values, as in create_app("prod", debug=True), and nothing follows'
)
NO_CONTROL = "a string that is not empty, without control characters"
MISTAKES = {
    "supervisor": [
        ("host", '"raspberrypi.local"', HOST),
        ("host", '"unix:"', HOST),
        ("state_dir", '""', NO_CONTROL),
        ("log_format", '"jason"', 'one of "auto", "console", "json"'),
        ("log_level", "3", 'one of "debug", "info", "warning", "error"'),
        ("shutdown_timeout_s", "0", SECONDS),
        ("shutdown_timeout_s", "inf", SECONDS),
    ],
    "bind": [
        ("attempts", "0", "a whole number from 1 to 100"),
        ("attempts", "1.5", "a whole number from 1 to 100"),
        ("first_delay_s", "nan", SECONDS),
        ("max_delay_s", '"30"', SECONDS),
        ("factor", "true", "a number from 1 to 10"),
        ("factor", "0.5", "a number from 1 to 10"),
    ],
    "status": [
        ("port", "70000", "a port number from 1 to 65535"),
        ("host", '"300.0.0.1"', HOST),
    ],
    "apps.coach": [
        ("target", '"coach/app"', f'{TARGET}; did you mean "coach.app:app"?'),
        ("target", '"coach.app"', f'{TARGET}; did you mean "coach.app:app" or "coach:app"?'),
        ("target", '"app.py:app"', f'{TARGET}; did you mean "app:app"?'),
        ("target", '"coach/web.py:site"', f'{TARGET}; did you mean "coach.web:site"?'),
        ("target", '"my app:app"', f"{TARGET}; rename the file: the name of a module has no space"),
        (
            "target",
            '"/srv/coach.py"',
            TARGET + '; did you mean target = "coach:app" with path = "/srv"?',
        ),
        *(
            ("target", f'"coach:make{call}"', f"{TARGET}; {ARGUMENTS}")
            for call in ("(config)", "(**{})", "()()", "(*[1])", "(1)#", "(1", "(x for x in [])")
        ),
        ("port", '"5001"', "a port number from 1 to 65535"),
        ("port", "0", "a port number from 1 to 65535"),
        ("port", "true", "a port number from 1 to 65535"),
        ("port", "[5001, 5002]", "a port number from 1 to 65535"),
        ("path", '""', NO_CONTROL),
        (
            "path",
            r'"C:\new\table"',
            NO_CONTROL + "; a \\ in \"...\" begins an escape: write it in '...'",
        ),
        ("enabled", '"no"', "true or false"),
        ("control", "1", "true or false"),
        ("threads", "0", "a whole number from 1 to 256"),
        ("env", '"A=5"', "a table"),
        ("import_timeout_s", "-1", SECONDS),
        ("hang_timeout_s", "6", "a number of seconds from 7 to 86400"),
        ("umask", '"22"', 'three octal digits in quotes, as "022"'),
        ("umask", '"0888"', 'three octal digits in quotes, as "022"'),
        ("umask", "18", 'three octal digits in quotes, as "022"'),
        ("access_log", '"yes"', "true or false"),
    ],
}


@pytest.mark.parametrize(
    ("section", "key", "value", "accepted"),
    [(section, *mistake) for section, mistakes in MISTAKES.items() for mistake in mistakes],
)
def test_a_wrong_value(tmp_path: Path, section: str, key: str, value: str, accepted: str) -> None:
    """The message has the file, key path, value and what is accepted."""
    tables = tomllib.loads(app())
    table = tables
    for name in section.split("."):
        table = table.setdefault(name, {})
    table[key] = "VALUE"
    found = problems(tmp_path, to_toml(tables).replace('"VALUE"', value))
    assert found == [f"{section}.{key} = {value}: must be {accepted}"]


def to_toml(tables: dict[str, Any]) -> str:
    """Return two levels of tables (three below ``apps``) as TOML."""
    apps = {f"apps.{name}": keys for name, keys in tables.get("apps", {}).items()}
    sections = {**{n: keys for n, keys in tables.items() if n != "apps"}, **apps}
    lines = []
    for title, keys in sections.items():
        lines += [f"[{title}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (app("env = { A = 5 }"), ["apps.coach.env.A = 5: must be a string"]),
        ("apps = 5", ["apps = 5: must be a table"]),
        (
            app('hardware = ["gpio", "usb"]'),
            [
                'apps.coach.hardware[1] = "usb": must be one of "gpio", "i2c", "spi", "serial", '
                '"camera", "audio", "can"'
            ],
        ),
        (
            app('exclude = ["/tmp/*", "../x"]'),
            [
                'apps.coach.exclude[0] = "/tmp/*": must be a path below the app\'s `path`',
                'apps.coach.exclude[1] = "../x": must be a path below the app\'s `path`',
            ],
        ),
        ("supervisor = 3\n" + app(), ["supervisor = 3: must be a table"]),
        ("[apps]\ncoach = 5", ["apps.coach = 5: must be a table"]),
        (
            "[apps.coach]\nport = 1",
            ["apps.coach.target: this key is required (or `command`)"],
        ),
        ('[apps.coach]\ntarget = "a:b"', ["apps.coach.port: this key is required"]),
    ],
)
def test_a_wrong_shape(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Values in place of tables, and missing keys, are reported."""
    assert problems(tmp_path, text) == expected
