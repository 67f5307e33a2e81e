"""``flask-supervisor run TARGET``: one app without a configuration file."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import MARK, ask, eventually, free_ports
from operating_case import environment

HELLO = """
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "hello\\n"

if __name__ == "__main__":
    app.run(port={port})
"""


class Served:
    """A supervisor that was started by ``run TARGET`` in a folder."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.status_port = free_ports(1)[0]
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", "run", *words],
            cwd=folder,
            env=environment(
                FLASK_SUPERVISOR__STATUS__PORT=str(self.status_port), **{MARK: str(folder)}
            ),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the same folder, without a configuration."""
        return subprocess.run(
            [sys.executable, "-m", "supervisor", *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=environment(),
            timeout=60,
            check=False,
        )

    def stop(self) -> int:
        """Stop it, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self._log.close()
        return code


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[type[Served]]:
    """Yield a function that starts a supervisor; all of them have to stop in order."""
    started: list[Served] = []

    def make(*words: str) -> Served:
        started.append(Served(tmp_path, *words))
        return started[-1]

    yield make  # type: ignore[misc]
    for one in started:
        assert one.stop() == 0, (tmp_path / "log").read_text()


FORMS = {
    "a file": ["hello.py", "--port", "{port}"],
    "a file with its own port": ["hello.py"],
    "a target": ["hello:app", "--port", "{port}", "--host", "127.0.0.1"],
    "a file in a folder": ["sub/deeper/world.py", "--port", "{port}"],
}


@pytest.mark.parametrize("words", FORMS.values(), ids=FORMS)
def test_one_app(tmp_path: Path, serve: type[Served], words: list[str]) -> None:
    """It is served like any other, and commands in that folder find its supervisor."""
    port = free_ports(1)[0]
    (tmp_path / "hello.py").write_text(HELLO.format(port=port))
    (tmp_path / "sub" / "deeper").mkdir(parents=True)
    (tmp_path / "sub" / "deeper" / "world.py").write_text(HELLO.format(port=1))
    running = serve(*[word.format(port=port) for word in words])  # type: ignore[arg-type]
    eventually(lambda: ask(port).text == "hello\n")
    name = "world" if "world" in words[0] else "hello"
    assert list(ask(running.status_port, "/health").json["apps"]) == [name]
    status = eventually(lambda: running.command("status", "--json"))
    assert json.loads(status.stdout)["pid"] == running.process.pid
    assert running.command("reload", name).returncode == 0
    refused = running.command("reload")
    assert refused.returncode == 1
    assert "<command line>" in refused.stderr
    assert not list(tmp_path.glob("*.toml"))


def test_a_broken_file_is_repaired(tmp_path: Path, serve: type[Served]) -> None:
    """A file whose import fails is answered for by the stand-in, until it is repaired."""
    port = free_ports(1)[0]
    file = tmp_path / "hello.py"
    file.write_text("import nosuch_module\n" + HELLO.format(port=port))
    serve("hello.py")  # type: ignore[arg-type]
    eventually(lambda: "nosuch_module" in ask(port).json["detail"])
    file.write_text(HELLO.format(port=port))
    eventually(lambda: ask(port).text == "hello\n")


WRONG = {
    "neither": (["hello"], 'nor a target module:app; did you mean "hello:app"?'),
    "no file": (["nowhere.py"], "cannot read nowhere.py: No such file or directory"),
    "no app": (["none.py"], "none.py has no WSGI app"),
    "an ASGI app": (["api.py"], "it has api: FastAPI (ASGI); see docs/programs.md"),
    "several apps": (["two.py"], "two.py has several apps: name one of them: two:a or two:b"),
    "no Python": (["broken.py"], "broken.py is not valid Python: SyntaxError"),
    "a port alone": (["--port", "5001"], "--port and --host need a TARGET"),
    "and a configuration": (["none.py", "-c", "x.toml"], "served without a configuration"),
    "no such port": (["two:a", "--port", "0"], "0 is not in the range"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_wrong_usage(tmp_path: Path, words: list[str], message: str) -> None:
    """Exit code 2 and the reason, before anything is started."""
    flask = "from flask import Flask\n"
    files = {
        "none.py": "x = 1\n",
        "api.py": "from fastapi import FastAPI\napi = FastAPI()\n",
        "two.py": f"{flask}a = Flask('a')\nb = Flask('b')\n",
        "broken.py": "def f(:\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", "run", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(COLUMNS="200"),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())
    assert not os.path.exists(tmp_path / ".flask-supervisor")
