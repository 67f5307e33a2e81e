"""Who may import whom, read from the sources: downwards only, and no circles."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import REPOSITORY

PACKAGE = REPOSITORY / "supervisor"
MODULES = sorted(file.stem for file in PACKAGE.glob("*.py"))

# Values, and what is made of plain values alone: use nothing of ours.
VALUES = {
    "__init__",
    "errors",
    "model",
    "events",
    "records",
    "rules",
    "structuring",
    "settings",
    "sources",
    "logbook",
    "figures",
    "elastic",
    "overload",
    "waitress_options",
    "redaction",
    "sandbox",
    "manifest",
}
# Decisions: pure; time and randomness come in as arguments.
DECISIONS = {
    "restart",
    "life",
    "lifecycle",
    "workerlife",
    "generations",
    "health",
    "changes",
    "rollout",
}
# What edges use to write files that last: knows of no policy.
TOOLS = {"durable", "ending"}
# Edges: each owns one kind of IO, and knows of no other edge.
EDGES = {
    "config",
    "listeners",
    "process",
    "importing",
    "serving",
    "channel",
    "watching",
    "sockdiag",
    "statedir",
    "logs",
    "client",
    "tracing",
    "memory",
    "beforestart",
    "ownport",
    "interpreter",
    "systemd",
    "handover",
    "pulse",
    "predecessor",
    "trees",
    "releases",
    "swap",
    "archives",
    "confighistory",
    "gitstate",
    "checks",
    "probing",
}
# Parts of one edge, which has several files: only that edge and its other parts use them.
PARTS = {"serving": {"accepting", "answering", "polling", "pool"}}
PARTS_OF_ALL = {part for parts in PARTS.values() for part in parts}
# Composition: may use everything.
COMPOSITION = {
    "__main__",
    "beats",
    "port",
    "member",
    "staffing",
    "boot",
    "execution",
    "keeping",
    "telling",
    "errands",
    "mains",
    "later",
    "filework",
    "elsewhere",
    "hosting",
    "checking",
    "counting",
    "fleet",
    "pictures",
    "pushing",
    "reconfiguring",
    "cli",
    "cli_check",
    "cli_config",
    "cli_doctor",
    "cli_operate",
    "cli_releases",
    "appwatch",
    "codes",
    "deploying",
    "release_commands",
    "commands",
    "doctor",
    "effective",
    "foreign",
    "output",
    "releasing",
    "conflict",
    "control",
    "keeper",
    "lastgood",
    "configchild",
    "loop",
    "service",
    "socketstore",
    "notifier",
    "unitfile",
    "systemctl",
    "preflight",
    "installing",
    "cli_service",
    "doctor_service",
    "unit",
    "standin",
    "status",
    "warmup",
    "worker",
    "workers",
}
TIERS = {
    "values": VALUES,
    "decisions": DECISIONS,
    "edges": EDGES | PARTS_OF_ALL,
    "tools": TOOLS,
    "composition": COMPOSITION,
}
ALLOWED: dict[str, set[str]] = {
    "values": VALUES,
    "decisions": VALUES | DECISIONS,
    "tools": VALUES,
    "edges": VALUES | TOOLS,
    "composition": VALUES | DECISIONS | TOOLS | EDGES | COMPOSITION,
}
IMPURE = {"time", "os", "socket", "random", "threading", "asyncio", "subprocess"}
# What runs in a worker may have to run on the interpreter of an app's own virtual environment.
IN_WORKERS = {
    "worker",
    "serving",
    *PARTS["serving"],
    "figures",
    "elastic",
    "overload",
    "beats",
    "hosting",
    "ownport",
    "conflict",
    "sockdiag",
    "beforestart",
    "importing",
    "watching",
    "channel",
    "model",
    "errors",
    "records",
    "redaction",
    "handover",
    "pulse",
    "sandbox",
    "trees",
    "manifest",
}


def imported(file: Path) -> Iterator[str]:
    """Give the dotted names of all modules that a source imports, inside of functions too.

    ``from package import name`` gives ``package.name`` when that is a file of ours.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}, line {node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_file = (REPOSITORY / f"{name.replace('.', '/')}.py").exists()
                yield name if is_file else node.module


def of_ours(module: str) -> set[str]:
    """Give the modules of the package that ``module`` imports."""
    names = set(imported(PACKAGE / f"{module}.py"))
    inner = {name.split(".")[1] for name in names if name.startswith("supervisor.")}
    return inner | ({"__init__"} if "supervisor" in names else set())


def of_others(module: str) -> set[str]:
    """Give the top-level names of what else ``module`` imports."""
    return {name.split(".")[0] for name in imported(PACKAGE / f"{module}.py")} - {"supervisor"}


def test_every_module_has_its_tier() -> None:
    """Each file of the package is in exactly one tier, and each name in a tier is a file."""
    placed = [module for tier in TIERS.values() for module in tier]
    new = set(MODULES) - set(placed)
    assert not new, "give it a tier, above"
    assert sorted(placed) == MODULES


def test_the_package_has_no_packages() -> None:
    """All modules lie directly in the package: this test would overlook others."""
    assert {file.parent for file in PACKAGE.rglob("*.py")} == {PACKAGE}


@pytest.mark.parametrize(
    ("tier", "module"), [(tier, name) for tier, names in TIERS.items() for name in sorted(names)]
)
def test_imports_go_downwards(tier: str, module: str) -> None:
    """A module imports only what its tier may use, and an edge its own parts."""
    own = next((parts for edge, parts in PARTS.items() if module in {edge, *parts}), set())
    assert of_ours(module) <= ALLOWED[tier] | own


def test_there_are_no_circles() -> None:
    """No module imports itself by way of others, not even inside of a function."""
    left = {module: of_ours(module) for module in MODULES}
    while left:
        free = [module for module, needs in left.items() if not needs & left.keys()]
        assert free, f"a circle among: {', '.join(left)}"
        for module in free:
            del left[module]


@pytest.mark.parametrize("module", sorted(DECISIONS))
def test_decisions_are_pure(module: str) -> None:
    """Decisions read no clock, use no chance, and do no IO."""
    assert not of_others(module) & IMPURE


@pytest.mark.parametrize("module", sorted(IN_WORKERS))
def test_what_runs_in_a_worker_needs_little(module: str) -> None:
    """A worker's modules use the standard library, waitress, and each other."""
    assert of_ours(module) <= IN_WORKERS
    assert of_others(module) <= sys.stdlib_module_names | {"waitress"}


@pytest.mark.parametrize(
    "file",
    sorted((REPOSITORY / "apps").rglob("*.py")),
    ids=lambda f: str(f.relative_to(REPOSITORY)),
)
def test_apps_know_the_client_only(file: Path) -> None:
    """The example apps talk to the supervisor as any app would."""
    ours = {name for name in imported(file) if name.split(".")[0] == "supervisor"}
    assert ours <= {"supervisor.client", "supervisor.errors"}


def test_these_tests_see_imports(tmp_path: Path) -> None:
    """Every form of import is found."""
    source = """
import os, json.decoder
from supervisor import config, __version__
from supervisor.model import Exit
def f():
    from supervisor import lifecycle as l
    import supervisor.health
"""
    (tmp_path / "x.py").write_text(source)
    assert set(imported(tmp_path / "x.py")) == {
        "os",
        "json.decoder",
        "supervisor.config",
        "supervisor",
        "supervisor.model",
        "supervisor.lifecycle",
        "supervisor.health",
    }


def test_the_main_process_loads_no_more_than_it_needs() -> None:
    """What checks a configuration, or runs a command, is loaded where it is used."""
    program = (
        "import sys\nfrom supervisor import cli, logs, loop, notifier, warmup\nwarmup.warm_up()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "flask" in loaded  # for all workers
    assert not loaded & {"attr", "cattrs", "psutil", "requests", "prometheus_client"}
    assert not {"supervisor.checking", "supervisor.releases"} & set(done.stdout.split())
