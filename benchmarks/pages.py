"""How long the admin app's pages take, and how large they are, with twenty apps.

    .venv/bin/python -m benchmarks.pages [TREE...]

TREE is a checkout of this repository, this one by default. Several are measured in turns, in one
run: seconds depend on the machine, and on what else it does. Two of the apps can't be imported; the
charts have a full hour. A page counts with its style sheet, script and icon. Prints a table in
Markdown.
"""

import http.client
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from werkzeug.security import generate_password_hash

from benchmarks.fleet import Fleet, write_fleet
from benchmarks.polling import wait_until_all_answer
from benchmarks.processes import become_subreaper
from benchmarks.tree import REPOSITORY, Command, Tree

APPS = 20  # with the admin app
ROUNDS = 40
PASSWORD = "measured"  # noqa: S105 - of a supervisor that lives for a minute
PAGES = (
    "/",
    "/apps/app_1",
    "/apps/app_0",
    "/apps/app_1/logs",
    "/apps/app_1/releases",
    "/apps/app_1/releases?old=live&new=live",
    "/events",
    "/checks",
    "/configuration",
    "/configuration/edit",
    "/machine",
    "/machines",
    "/settings",
    "/deploy",
)


class Visitor:
    """Somebody who has logged in; each request has a connection of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cookie = ""
        _, page = self.get("/login")
        token = re.search(rb'name="csrf_token" value="([^"]+)"', page)
        assert token, page
        self.get("/login", f"csrf_token={token[1].decode()}&password={PASSWORD}")

    def get(self, path: str, form: str | None = None) -> tuple[float, bytes]:
        """Return the milliseconds until a page is here, and the page."""
        headers = {"Cookie": self._cookie, "Accept": "text/html", "Accept-Encoding": "gzip"}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        began_s = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("GET" if form is None else "POST", path, form, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status >= 400 or (answer.status == 302 and form is None):
            raise RuntimeError(f"{path} answers {answer.status}")
        if cookie := answer.headers["Set-Cookie"]:
            self._cookie = cookie.partition(";")[0]
        return (time.perf_counter() - began_s) * 1000, body

    def size_kb(self, path: str) -> float:
        """Return what a browser loads that knows nothing of the page yet."""
        _, page = self.get(path)
        files = set(re.findall(rb'<(?:link|script)[^>]* (?:href|src)="(/[^"]+)"', page))
        return (len(page) + sum(len(self.get(one.decode())[1]) for one in files)) / 1000


@dataclass(frozen=True, slots=True)
class Site:
    """The command that serves a checkout, the admin app's port, and what answers when it is up."""

    command: Command
    port: int
    pages: list[tuple[int, str]]


def prepare(tree: Path, folder: Path) -> Site:
    """Write the apps and the configuration for a checkout into a folder."""
    fleet = write_fleet(folder, count=APPS - 1, broken=(0, 2))
    variable = f"PYTHONPATH={tree}"
    file = str(_configuration(fleet, tree))
    command = [sys.executable, "-m", "supervisor", "run", "--config", file]
    admin, status, _ = fleet.spare_ports
    healthy = [(app.port, "/") for app in fleet.apps if app.name not in ("app_0", "app_2")]
    pages = [(admin, "/login"), (status, "/livez"), *healthy]
    return Site(Command(["env", variable, *command], folder), admin, pages)


def _configuration(fleet: Fleet, tree: Path) -> Path:
    admin, status, _ = fleet.spare_ports
    text = f'[supervisor]\nhost = "127.0.0.1"\n[status]\nport = {status}\n'
    text += '[apps.admin]\ntarget = "apps.admin:create_app()"\ncontrol = true\n'
    text += f"port = {admin}\npath = {json.dumps(str(tree))}\n"
    for app in fleet.apps:
        text += f'[apps.{app.name}]\ntarget = "{app.name}:app"\nport = {app.port}\n'
        text += f'path = "{app.name}"\nknown_good_after_s = 1\n'
    own = fleet.folder / ".flask-supervisor" / "admin"
    own.mkdir(parents=True)
    own.parent.chmod(0o700)
    password = {"hash": generate_password_hash(PASSWORD), "one_time": False, "id": "0"}
    (own / "password").write_text(json.dumps(password), encoding="utf-8")
    (own / "samples").write_text(json.dumps(_hour(fleet)), encoding="utf-8")
    file = fleet.folder / "supervisor.toml"
    file.write_text(text, encoding="utf-8")
    return file


def _hour(fleet: Fleet) -> dict[str, object]:
    """Return the samples of the last hour, as the admin app keeps them over a reload."""
    now_s, rng = time.monotonic(), random.Random(1)
    apps = {
        app.name: [
            [now_s - 15 * n, "pass", 9000 - 30 * n, rng.uniform(1, 50), rng.uniform(30, 40)]
            for n in range(240, 0, -1)
        ]
        for app in fleet.apps
    }
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return {"boot": boot, "apps": apps}


def main(trees: list[Path]) -> None:
    """Measure the pages of each checkout, and print a table."""
    become_subreaper()
    with tempfile.TemporaryDirectory(prefix="bench-") as given:
        folder = Path(given)
        sites = [prepare(tree.resolve(), folder / str(n)) for n, tree in enumerate(trees)]
        environment = {"PATH": os.environ["PATH"], "HOME": given}
        commands = [site.command for site in sites]
        with Tree(commands, log=folder / "log", environment=environment):
            wait_until_all_answer([page for site in sites for page in site.pages], timeout_s=60)
            print(table([tree.name for tree in trees], [Visitor(site.port) for site in sites]))


def table(names: list[str], visitors: list[Visitor]) -> str:
    """Return the sizes and times of the pages, in Markdown."""
    lines = [f"| page | kB | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for page in PAGES:
        times: list[list[float]] = [[] for _ in visitors]
        for _ in range(ROUNDS):
            for visitor, taken in zip(visitors, times, strict=True):
                taken.append(visitor.get(page)[0])
        cells = [f"{statistics.median(one):.0f}" for one in times]
        lines.append(f"| `{page}` | {visitors[-1].size_kb(page):.0f} | {' | '.join(cells)} |")
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return "\n".join([*lines, "", f"Median milliseconds of {ROUNDS}; load {load}."])


if __name__ == "__main__":
    main([Path(one) for one in sys.argv[1:]] or [REPOSITORY])
