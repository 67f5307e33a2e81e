"""A group of apps in one process has a last known good release too: one of the whole process."""

import pytest
from grouping import REGISTRY, Field
from harness import Project, Running, eventually


def start_kept(project: Project) -> tuple[Field, Running]:
    """Start a group without a self-bound app; return when it is known to be good."""
    field = Field.make(project, devices=False, known_good_after_s=1)
    running = project.start()
    field.pid(running)
    eventually(
        lambda: "good" in project.command("releases", "coach").stdout,
        timeout_s=30,
        what="the group is kept",
    )
    return field, running


@pytest.mark.parametrize("app", ["admin", "coach"])
def test_a_broken_registry_at_boot_falls_back(project: Project, app: str) -> None:
    """All its apps serve what was good, with the registry that they share; a repair ends it."""
    field, running = start_kept(project)
    running.stop()
    field.write("registry", "values = {\n")
    running = project.start()
    for name in ("admin", "coach"):
        health = running.wait_for(name, serving="last-known-good", status="warn", timeout_s=30)
        assert "SyntaxError" in health["reason"]
    assert field.get("admin", "/store/a/1") == "stored"
    assert field.get("coach", "/show/a") == "1"
    field.write("registry", REGISTRY)
    running.wait_for(app, serving="app", status="pass", timeout_s=30)
    assert field.get("admin") == field.get("coach")


def test_the_releases_of_a_group_are_those_of_each_app(project: Project) -> None:
    """A rollback by the name of one of them puts the files of all back."""
    field, running = start_kept(project)
    listed = [project.command("releases", name).stdout for name in ("admin", "coach")]
    assert listed[0] == listed[1]
    field.write("registry", REGISTRY + "NEW = 1\n")
    field.write("coach", "import nosuch\n")
    result = project.command("rollback", "coach")
    assert result.returncode == 0, result.stderr
    assert (project.folder / "field" / "registry.py").read_text() == REGISTRY
    running.wait_for("coach", serving="app", status="pass", timeout_s=30)
    assert field.get("admin") == field.get("coach")
