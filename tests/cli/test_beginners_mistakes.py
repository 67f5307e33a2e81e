"""Every common mistake gets a message that says what to do, from each command the same one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from beginners_mistakes import CONFIGURATIONS, MISTAKES, Mistake
from harness import Project, ask, eventually, free_ports
from importing_case import write

from supervisor.config import reader
from supervisor.values.errors import ConfigError


@dataclass(frozen=True)
class Answers:
    """What commands and ports say about all apps with a mistake."""

    check: dict[str, Any]
    health: dict[str, Any]
    pages: dict[str, Any]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """All mistakes in one configuration, checked and run once."""
    project = Project(tmp_path_factory.mktemp("mistakes"))
    ports = free_ports(len(MISTAKES))
    for mistake, port in zip(MISTAKES, ports, strict=True):
        write(project.folder / mistake.name, mistake.files)
        keys = {"target": mistake.target, "path": mistake.name, "port": port, **mistake.keys}
        project.apps[mistake.name] = keys
    check = json.loads(project.command("check", "--json", timeout_s=300).stdout)
    running = project.start()
    try:
        health = eventually(lambda: settled(running.health()), timeout_s=120)
        names = [one.name for one in MISTAKES if not one.keys and one.only != "check"]
        pages = {name: ask(project.port(name), accept="application/json").json for name in names}
        yield Answers(check["apps"], health, pages)
    finally:
        project.clean_up()


def settled(health: Any) -> Any:
    """Return the apps when each has a reason, or serves."""
    apps = health["apps"]
    return apps if all(app["reason"] or app["state"] == "ready" for app in apps.values()) else None


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_explained(answers: Answers, mistake: Mistake) -> None:
    """`check`, the status port and the 503 page give the reason and what to do about it."""
    found = {"check": answers.check[mistake.name], "run": answers.health[mistake.name]}
    for command, app in found.items():
        if mistake.only in (None, command):
            assert mistake.reason in (app["reason"] or ""), command
            assert mistake.hint in (app["hint"] or ""), command
    if mistake.name in answers.pages:
        page = answers.pages[mistake.name]
        assert mistake.reason in page["detail"]
        assert mistake.hint in page["hint"]


@pytest.mark.parametrize(("text", "message"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_mistake_in_the_configuration_is_explained(
    tmp_path: Path, text: str, message: str
) -> None:
    """The message about the file says what to write."""
    with pytest.raises(ConfigError) as caught:
        reader.parse_text(text.encode(), tmp_path / "supervisor.toml")
    assert message in caught.value.message
