"""A real Prometheus, Alertmanager and blackbox exporter see what they should."""

import json
import re
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from children import beside
from harness import GOOD_APP, REPOSITORY, Project, ask, eventually, free_ports

MONITORING = REPOSITORY / "monitoring"


@contextmanager
def process(folder: Path, *words: str) -> Iterator[None]:
    """Run a program until the end of the block."""
    with (folder / f"{words[0]}.log").open("w") as log:
        started = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            started.terminate()
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


class Webhook(HTTPServer):
    """Receives what Alertmanager sends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.alerts: list[dict[str, Any]] = []

    def statuses(self, name: str) -> list[str]:
        """Return the statuses in which an alert came."""
        return [one["status"] for one in self.alerts if one["labels"]["alertname"] == name]


class Receiver(BaseHTTPRequestHandler):
    """Takes one message."""

    server: Webhook

    def do_POST(self) -> None:
        """Keep its alerts."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.alerts += json.loads(body)["alerts"]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


def write_configurations(folder: Path, *, target: int, alertmanager: int, webhook: int) -> None:
    """Write the shipped files into ``folder``, with these ports, and quicker."""
    text = (MONITORING / "prometheus.yml").read_text()
    text = re.sub(r"(scrape|evaluation)_(interval|timeout): \d+s", r"\1_\2: 1s", text)
    (folder / "prometheus.yml").write_text(
        text.replace("localhost:9093", f"localhost:{alertmanager}")
    )
    rules = (MONITORING / "flask-supervisor.rules.yml").read_text()
    (folder / "flask-supervisor.rules.yml").write_text(re.sub(r"for: \d+[mhd]", "for: 1s", rules))
    (folder / "targets").mkdir()
    (folder / "targets" / "mine.yml").write_text(
        f'- targets: ["127.0.0.1:{target}"]\n  labels: {{device: bench}}\n'
    )
    text = (MONITORING / "alertmanager.yml").read_text()
    text = re.sub(r"group_(wait|interval): \w+", r"group_\1: 1s", text)
    (folder / "alertmanager.yml").write_text(text.replace("localhost:9094", f"127.0.0.1:{webhook}"))


def query(port: int, expression: str) -> list[Any]:
    """Return what Prometheus answers to an expression."""
    answer = ask(port, f"/api/v1/query?query={urllib.parse.quote(expression)}")
    assert answer.status == 200, answer.text  # it starts
    return list(answer.json["data"]["result"])


@pytest.mark.debian("prometheus")
@pytest.mark.debian("prometheus-alertmanager")
def test_an_alert_reaches_somebody_and_resolves(project: Project, tmp_path: Path) -> None:
    """An app is broken: the alert fires and is sent; it is repaired: that is sent as well."""
    project.app("coach")
    running = project.start()
    running.wait_for("coach", state="ready")
    prometheus, alertmanager = free_ports(2)
    webhook = Webhook()
    folder = tmp_path / "monitoring"
    folder.mkdir()
    write_configurations(
        folder,
        target=project.status_port,
        alertmanager=alertmanager,
        webhook=webhook.server_address[1],
    )
    with ExitStack() as stack:
        stack.enter_context(beside(lambda: webhook.serve_forever(poll_interval=0.05)))
        stack.callback(webhook.shutdown)
        stack.enter_context(
            process(
                folder,
                "prometheus-alertmanager",
                "--config.file=alertmanager.yml",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
                f"--storage.path={folder}/alerts",
            )
        )
        stack.enter_context(
            process(
                folder,
                "prometheus",
                "--config.file=prometheus.yml",
                f"--web.listen-address=127.0.0.1:{prometheus}",
                f"--storage.tsdb.path={folder}/data",
            )
        )
        up = 'flask_supervisor_app_up{app="coach", device="bench"}'
        eventually(
            lambda: [one["value"][1] for one in query(prometheus, up)] == ["1"],
            timeout_s=60,
            what="it is scraped",
        )
        project.file("coach").write_text("import nosuch\n")
        project.command("restart", "coach")
        eventually(
            lambda: "firing" in webhook.statuses("AppDown"), timeout_s=60, what="the alert came"
        )
        [fired] = [one for one in webhook.alerts if one["labels"]["alertname"] == "AppDown"][:1]
        assert fired["annotations"]["summary"] == "coach on bench does not serve"
        project.file("coach").write_text(GOOD_APP.format(text="coach"))
        running.wait_for("coach", state="ready")
        eventually(
            lambda: "resolved" in webhook.statuses("AppDown"), timeout_s=60, what="it is over"
        )
        [target] = ask(prometheus, "/api/v1/targets").json["data"]["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
    webhook.server_close()


@pytest.mark.debian("prometheus-blackbox-exporter")
def test_the_blackbox_exporter(project: Project, tmp_path: Path) -> None:
    """Its HTTP probe takes the codes of the paths as they are meant."""
    project.app("admin")
    project.app("coach", "raise RuntimeError\n")
    running = project.start()
    running.wait_for("admin", state="ready")
    running.wait_for("coach", serving="stand-in")
    (tmp_path / "blackbox.yml").write_text(
        "modules:\n  http_2xx:\n    prober: http\n    http: {preferred_ip_protocol: ip4}\n"
    )
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    words = ("prometheus-blackbox-exporter", "--config.file=blackbox.yml")
    with process(tmp_path, *words, f"--web.listen-address={address}"):
        found = {}
        for path in ("/livez", "/readyz", "/health/admin", "/health/coach", "/metrics"):
            target = urllib.parse.quote(f"http://127.0.0.1:{project.status_port}{path}")
            answer = eventually(
                lambda target=target: ask(port, f"/probe?module=http_2xx&target={target}"),
                what="the exporter answers",
            )
            found[path] = float(re.findall(r"^probe_success (\S+)$", answer.text, re.M)[0])
    assert found == {
        "/livez": 1,
        "/readyz": 0,
        "/health/admin": 1,
        "/health/coach": 0,
        "/metrics": 1,
    }
