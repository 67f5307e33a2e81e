"""The files in monitoring/: valid, tested, and about metrics that there are."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY
from health_documents import health_document
from prometheus_client.parser import text_string_to_metric_families as read_text

from supervisor.health.metrics_text import metrics_text

FOLDER = REPOSITORY / "monitoring"
RULES = (FOLDER / "flask-supervisor.rules.yml").read_text(encoding="utf-8")
TESTS = (FOLDER / "flask-supervisor.rules.test.yml").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text("utf-8"))


def served() -> set[str]:
    """Return the names of all samples, and of the histogram's series."""
    text, _ = metrics_text(health_document())
    return {sample.name for family in read_text(text.decode()) for sample in family.samples}


def expressions() -> list[str]:
    """Return what the panels of the dashboard ask for."""
    targets = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return [target["expr"] for target in targets]


def run(*words: str | Path, text: str | None = None) -> None:
    """Run a checker, which must have no complaint."""
    done = subprocess.run(
        words, cwd=FOLDER, capture_output=True, text=True, input=text, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.debian("prometheus", program="promtool")
def test_prometheus_takes_the_files() -> None:
    """The configuration with its rules, and the unit tests of the alerts."""
    run("promtool", "check", "config", "prometheus.yml")
    run("promtool", "check", "rules", "flask-supervisor.rules.yml")
    run("promtool", "test", "rules", "flask-supervisor.rules.test.yml")


@pytest.mark.debian("prometheus-alertmanager", program="amtool")
def test_alertmanager_takes_its_file() -> None:
    """The example is valid."""
    run("amtool", "check-config", "alertmanager.yml")


def test_every_alert_is_tested() -> None:
    """Each fires in a test, and each test is of an alert that there is."""
    alerts = set(re.findall(r"- alert: (\w+)", RULES))
    cases = re.findall(r"alertname: (\w+)\n\s+exp_alerts:( \[\])?", TESTS)
    assert {name for name, nothing in cases if not nothing} == alerts
    assert {name for name, _ in cases} == alerts


def test_every_alert_is_documented() -> None:
    """The reference names each alert."""
    page = (REPOSITORY / "docs" / "health.md").read_text(encoding="utf-8")
    missing = [name for name in re.findall(r"- alert: (\w+)", RULES) if f"`{name}`" not in page]
    assert not missing


def test_alerts_and_panels_are_about_metrics_that_there_are() -> None:
    """A metric that is renamed is renamed here as well."""
    text = RULES + " ".join(expressions())
    used = set(re.findall(r"\bflask_supervisor_[a-z0-9_]+", text))
    assert used
    assert used <= served()


@pytest.mark.debian("prometheus", program="promtool")
def test_what_panels_ask_for_is_understood(tmp_path: Path) -> None:
    """Each expression of the dashboard parses, with Grafana's variables filled in."""
    filled = [
        one.replace("$__rate_interval", "5m").replace("$device", ".*").replace("$app", ".*")
        for one in expressions()
    ]
    assert not [one for one in filled if "$" in one]
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(filled)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    run("promtool", "check", "rules", tmp_path / "rules.yml")


def test_the_dashboard_can_be_imported() -> None:
    """It has panels for apps and for machines, no two of one number, and no data source of ours."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == [
        *("Fleet", "Apps", "Machines")
    ]
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "device", "app"}
    places = [
        (x, y)
        for panel in panels
        for grid in [panel["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(places) == len(set(places))  # none lies on another
    assert all(x < 24 for x, _ in places)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
