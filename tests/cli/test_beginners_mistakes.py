"""Every common mistake gets a message that says what to do, everywhere the same one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from beginners_mistakes import CONFIGURATIONS, MISTAKES, Mistake
from harness import Project, ask, eventually, free_ports
from importing_case import import_target, write

from supervisor.config import reader
from supervisor.values.errors import ConfigError


@dataclass(frozen=True)
class Served:
    """What the ports of a supervisor say about apps with a mistake."""

    health: dict[str, Any]
    pages: dict[str, Any]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Some mistakes of each kind in one configuration, which is run once."""
    project = Project(tmp_path_factory.mktemp("mistakes"))
    chosen = [*MISTAKES[::8], *(one for one in MISTAKES if one.only == "run")]
    for mistake, port in zip(chosen, free_ports(len(chosen)), strict=True):
        write(project.folder / mistake.name, mistake.files)
        keys = {"target": mistake.target, "path": mistake.name, "port": port, **mistake.keys}
        project.apps[mistake.name] = keys
    running = project.start(wait=False)
    try:
        health = eventually(lambda: settled(running.health()), timeout_s=100)
        names = [one.name for one in chosen if not one.keys]
        pages = {name: ask(project.port(name), accept="application/json").json for name in names}
        yield Served(health, pages)
    finally:
        project.clean_up()


def settled(health: Any) -> Any:
    """Return the apps when each has a reason, or serves."""
    apps = health["apps"]
    return apps if all(app["reason"] or app["state"] == "ready" for app in apps.values()) else None


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_explained(tmp_path: Path, served: Served, mistake: Mistake) -> None:
    """An import says the reason and what to do about it; the ports of a supervisor say the same."""
    if mistake.only != "run":
        folder = tmp_path / mistake.name
        write(folder, mistake.files)
        found = import_target(folder, mistake.target)
        assert mistake.reason in found["reason"]
        assert mistake.hint in (found["hint"] or "")
    if mistake.name in served.health:
        app = served.health[mistake.name]
        assert mistake.reason in app["reason"]
        assert mistake.hint in (app["hint"] or "")
    if mistake.name in served.pages:
        page = served.pages[mistake.name]
        assert mistake.reason in page["detail"]
        assert mistake.hint in (page["hint"] or "")


@pytest.mark.parametrize(("text", "message"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_mistake_in_the_configuration_is_explained(
    tmp_path: Path, text: str, message: str
) -> None:
    """The message about the file says what to write."""
    with pytest.raises(ConfigError) as caught:
        reader.parse_text(text.encode(), tmp_path / "supervisor.toml")
    assert message in caught.value.message
