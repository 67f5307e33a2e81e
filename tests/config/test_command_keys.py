"""The keys of an app that is a program of its own."""

from pathlib import Path

import pytest
from test_consistency import problems

from supervisor.config import reader
from supervisor.config.command_keys import entry_of

COMMAND = 'command = ["uvicorn", "--fd", "{fd}", "api:app"]'


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("port = 5001", "apps.api.target: this key is required (or `command`"),
        (f'port = 5001\n{COMMAND}\ntarget = "a:b"', "apps.api.target: exclude each other"),
        ("port = 5001\ncommand = []", 'apps.api.command: must be a list of words, as ["uvicorn"'),
        ('port = 5001\ncommand = "uvicorn"', 'apps.api.command = "uvicorn": must be a list'),
        (f"port = 5001\n{COMMAND}\nworkers = 2", "apps.api.workers = 2: must be 1 with `command`"),
        (f"port = 5001\n{COMMAND}\nthreads = 8", "apps.api.threads: has no effect with `command`"),
        (f'port = 5001\n{COMMAND}\nprocess = "x"', "apps.api.process: has no effect"),
        (
            'port = 5001\ncommand = ["x", "{FD}"]',
            'apps.api.command = "{FD}": unknown placeholder {FD}; did you mean "fd"?',
        ),
        ('port = 5001\ncommand = ["x", "{socket}"]', "(known here: fd, port)"),
        (COMMAND, 'apps.api.command = "{fd}": {fd} is the listener of the app\'s port'),
        ('command = ["x", "{port}"]', 'apps.api.command = "{port}": the app has no port'),
        ('command = ["x"]\nhealth_path = "/"', "apps.api.health_path: needs a `port`"),
        ('command = ["x"]\nbind = "app"', "apps.api.port: this key is required"),
        (f'port = 5001\nbind = "app"\n{COMMAND}', "and here is none"),
    ],
)
def test_mistakes(tmp_path: Path, keys: str, expected: str) -> None:
    """Each mistake is reported with what to write in its place."""
    found = problems(tmp_path, f"[apps.api]\n{keys}\n")
    assert any(expected in one for one in found), found


@pytest.mark.parametrize(
    ("keys", "background", "once"),
    [
        (f"port = 5001\n{COMMAND}", False, False),
        (f'host = "unix:/run/api.sock"\n{COMMAND}', False, True),
        ('command = ["awk", "{print $1}", "{}"]', True, True),
        ('port = 5001\nbind = "app"\ncommand = ["x", "{port}"]', False, True),
    ],
)
def test_what_is_accepted(tmp_path: Path, keys: str, background: bool, once: bool) -> None:
    """With a port it is served, without one it is a background process."""
    file = tmp_path / "supervisor.toml"
    file.write_text(f"[apps.api]\n{keys}\n", encoding="utf-8")
    config = reader.load(file)
    assert config.is_background("api") is background
    assert config.apps["api"].runs_once is once


@pytest.mark.parametrize(
    ("words", "entry"),
    [
        (["uvicorn", "--fd", "{fd}", "api:app"], "api:app"),
        (["gunicorn", "--threads", "4", "shop.wsgi:create_app()"], "shop.wsgi:create_app()"),
        (["python", "sensor.py"], "sensor"),
        (["python3", "-m", "sensors.loop"], "sensors.loop"),
        (["node", "server.js", "--host", "::1"], ""),
        (["gunicorn", "--bind", "unix:/run/x.sock"], ""),
        (["./serve"], ""),
    ],
)
def test_the_module_that_a_command_names(words: list[str], entry: str) -> None:
    """Servers of Python name an app as `target` does; scripts and -m name a module."""
    assert entry_of(words) == entry
