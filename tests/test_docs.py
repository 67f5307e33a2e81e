"""The documentation names every command, option, key, path and field."""

import dataclasses
import re
from pathlib import Path
from typing import get_args, get_type_hints

import click
import health_documents
import pytest
from harness import REPOSITORY

from supervisor.cli import main
from supervisor.config import settings
from supervisor.health import checks, status_worker
from supervisor.health.check_runner import Check, document_of, outcome_of
from supervisor.health.check_settings import describe
from supervisor.policy import check_state
from supervisor.policy.app_state import AppRecord, AppView
from supervisor.policy.health_document import AppFacts, SupervisorFacts, app_document, document
from supervisor.policy.host_warnings import host_warnings
from supervisor.policy.process_state import Limits, ProcessState, WorkerPhase
from supervisor.values.events import EventKind
from supervisor.values.states import AppState, Serving, Status

DOCS = REPOSITORY / "docs"
TABLES = {
    "supervisor": settings.SupervisorSettings,
    "bind": settings.BindSettings,
    "status": settings.StatusSettings,
    "host": settings.HostSettings,
    "admin": settings.AdminSettings,
    "apps.NAME": settings.AppSettings,
}
REQUIREMENT = "`[[requires]]` and `[[apps.NAME.requires]]`"


def section(file: Path, title: str) -> str:
    """Return the text below a heading, to the next heading."""
    parts = re.split(r"^## (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = [text for head, text in zip(parts[1::2], parts[2::2], strict=True) if head == title]
    assert found, f"{file.name} has no section {title!r}"
    return found[0]


@pytest.mark.parametrize("title", TABLES)
def test_every_key_has_a_row_with_its_default(title: str) -> None:
    """The reference describes each key of the configuration, with its true default."""
    text = section(DOCS / "configuration.md", f"`[{title}]`")
    for field in dataclasses.fields(TABLES[title]):
        row = re.search(rf"^\| `{field.name}` \| (.*?) \|", text, flags=re.MULTILINE)
        assert row, f"{title}.{field.name} has no row"
        default = field.default
        if isinstance(default, bool):
            assert row[1] == f"`{str(default).lower()}`"
        elif isinstance(default, str):
            assert row[1] == f'`"{default}"`'
        elif isinstance(default, int | float):
            assert row[1] == f"`{default:g}`"


def test_every_key_of_a_destination_has_a_row() -> None:
    """The reference describes each key of the tables of who is told."""
    text = section(DOCS / "configuration.md", "`[[notify]]`")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert set(rows) == {field.name for field in dataclasses.fields(settings.NotifySettings)}


def test_no_row_describes_a_key_that_is_gone() -> None:
    """Every row of the reference belongs to a key that exists."""
    for title, table in TABLES.items():
        text = section(DOCS / "configuration.md", f"`[{title}]`")
        rows = set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE))
        assert rows == {field.name for field in dataclasses.fields(table)}


def test_every_key_of_a_requirement_has_a_row() -> None:
    """The reference describes each key of the tables of requirements."""
    rows = re.findall(
        r"^\| `(\w+)` \|", section(DOCS / "configuration.md", REQUIREMENT), re.MULTILINE
    )
    assert set(rows) == {field.name for field in dataclasses.fields(settings.Requirement)}


def test_every_kind_of_requirement_is_complete() -> None:
    """Each kind is a value of ``kind``, and has its keys, its check, a name and a row."""
    hints = get_type_hints(settings.Requirement)
    kinds = set(get_args(hints["kind"]))
    rows = re.findall(
        r'^\| `"(\w+)"` \|', section(DOCS / "configuration.md", REQUIREMENT), re.MULTILINE
    )
    assert kinds == set(rows) == set(settings.REQUIREMENT_KEYS) == set(checks.KINDS)
    for kind in kinds:
        about = {"path": "a", "port": 1, "url": "http://a", "name": "a", "command": ["a"]}
        assert not describe(settings.Requirement(kind=kind, **about)).endswith("None")


def commands(group: click.Group, prefix: str = "") -> list[tuple[str, click.Command]]:
    """Return every command with its full name, those of groups too."""
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += commands(command, f"{prefix}{name} ")
        else:
            found.append((f"{prefix}{name}", command))
    return found


def test_every_command_and_option_is_described() -> None:
    """The operator's guide has a row for each command, and each help text has an example."""
    text = section(DOCS / "operating.md", "Commands")
    for name, command in commands(main.cli):
        row = re.search(rf"^\| `{name}\b.*$", text, flags=re.MULTILINE)
        assert row, f"command {name} has no row"
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name != "config_file":
                assert parameter.opts[0] in row[0], f"{name}: {parameter.opts[0]}"
        assert command.epilog, name
        assert command.epilog.startswith(f"Example: flask-supervisor {name}")


def live_check_words() -> set[str]:
    """Return the fields of a check, the facts about a machine and the checks made of them."""
    state = check_state.new(0.0)
    rule = check_state.CheckRule(interval_s=1.0, timeout_s=1.0, threshold=1)
    check = Check(name="x", app=None, critical=True, rule=rule, definition=1, run=lambda: None)
    fields = document_of(outcome_of(check, state), 0.0)
    warnings = host_warnings(health_documents.HOST, settings.HostSettings())
    inner = [fact for fact in health_documents.HOST.values() if isinstance(fact, dict)]
    return {*fields, *warnings, *health_documents.HOST, *(key for one in inner for key in one)}


def test_every_endpoint_and_field_is_described() -> None:
    """The health reference names each path, field, state, check and event kind."""
    text = (DOCS / "health.md").read_text(encoding="utf-8")
    process = ProcessState(since=0.0, limits=Limits(import_timeout_s=1.0))
    facts = AppFacts(
        name="a",
        port=1,
        address="",
        control=False,
        view=AppView(app=AppRecord(since=0.0), process=process),
        since_wall="",
        stand_in_answers=False,
    )
    about = SupervisorFacts(version="", pid=1, started_wall="", started_s=0.0)
    words = {
        *status_worker.ENDPOINTS,
        *document(about, [], [], [], 0.0, event_counts={}, main_loop_lag_s=0.0),
        *app_document(facts, 0.0),
        *app_document(facts, 0.0)["requests"],
        *map(str, WorkerPhase),
        *map(str, [*AppState, *Status, *EventKind]),
        *map(str, Serving),
        "main_process",
        "status_port",
        *live_check_words(),
    }
    missing = [word for word in words if f"`{word}`" not in text]
    assert not missing


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link and every named file in the documentation exists."""
    for page in [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_recipes_work_on_a_fresh_machine() -> None:
    """It has no list of packages yet: `apt-get update` comes before `apt-get install`."""
    for page in [REPOSITORY / "README.md", *DOCS.glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        for command in re.findall(
            r"^\$ .*apt-get install.*|`[^`\n]*apt-get install[^`]*`", text, re.M
        ):
            assert "sudo apt-get update && sudo apt-get install" in command, page.name


def test_the_architecture_page_names_files_that_exist() -> None:
    """Every path of a source in the guide for newcomers is a file of the repository."""
    text = section(DOCS / "architecture.md", "Where do I find ...")
    paths = re.findall(r"`((?:supervisor|tests|docs)/[\w./]+)`", text)
    assert len(paths) > 20
    assert not [path for path in paths if not (REPOSITORY / path).exists()]


def test_the_glossary_explains_each_term_once() -> None:
    """The glossary has one row a term, and a meaning in each."""
    rows = re.findall(
        r"^\| ([\w -]+) \| (.+) \|$", section(DOCS / "architecture.md", "Glossary"), re.MULTILINE
    )
    terms = [term for term, _ in rows if term not in ("term", "---")]
    assert len(terms) == len(set(terms)) >= 31
