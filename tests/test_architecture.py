"""The imports of the sources, compared with the table in the documentation."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness import REPOSITORY

SOURCES = REPOSITORY / "supervisor"
DOCUMENT = REPOSITORY / "docs" / "architecture.md"
CLIENT = "client"  # beside the packages: for apps too
LINES_MAX = 350
IMPURE = {"time", "os", "socket", "random", "threading", "asyncio", "subprocess"}


@dataclass
class Rules:
    """The table of packages, in its order: a package may import those above it.

    ``open`` names, by package, the modules that others may import; None stands for all of them.
    """

    packages: list[str] = field(default_factory=list)
    open: dict[str, set[str] | None] = field(default_factory=dict)
    closed: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def from_table(cls, text: str) -> "Rules":
        """Read the rows ``| `package` | what lives there | open to others |``."""
        rules = cls()
        for row in re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", text, re.MULTILINE):
            package, words = row
            rules.packages.append(package)
            names = set(re.findall(r"`(\w+)`", words))
            is_all = words.strip().startswith("all")
            rules.open[package] = None if is_all else names
            rules.closed[package] = names if is_all else set()
        return rules

    def is_open(self, package: str, module: str) -> bool:
        """Return whether other packages may import this module of ``package``."""
        names = self.open[package]
        return module not in self.closed[package] if names is None else module in names


class Code:
    """The modules below ``folder`` by their dotted name, and what each imports of the others."""

    def __init__(self, folder: Path) -> None:
        self.files = {
            ".".join(file.relative_to(folder).with_suffix("").parts): file
            for file in sorted(folder.rglob("*.py"))
        }
        self.imports = {name: set(self._ours(name)) for name in self.files}

    def _ours(self, module: str) -> Iterator[str]:
        for name in imported(self.files[module]):
            parts = name.split(".")
            if parts[0] == "supervisor":
                inner = ".".join(parts[1:])
                known = inner if inner in self.files else ".".join([*parts[1:], "__init__"])
                assert known in self.files, f"{module} imports {name}, which is no module"
                yield known

    def others(self, module: str) -> set[str]:
        """Return the top-level names of what else ``module`` imports."""
        return {name.split(".")[0] for name in imported(self.files[module])} - {"supervisor"}

    def reached_from(self, module: str) -> set[str]:
        """Return ``module`` and all that is imported with it, inside of functions too."""
        found, left = set(), [module]
        while left:
            one = left.pop()
            if one not in found:
                found.add(one)
                left += self.imports[one]
        return found


def imported(file: Path) -> Iterator[str]:
    """Yield the dotted names of all modules that a source imports, inside of functions too.

    ``from package import name`` yields ``package.name`` when that is a module of ours.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}, line {node.lineno}: a relative import"
            assert node.module is not None
            folder = SOURCES.parent / node.module.replace(".", "/")
            for alias in node.names:
                is_file = (folder / f"{alias.name}.py").exists()
                yield f"{node.module}.{alias.name}" if is_file else node.module


def package_of(module: str) -> str | None:
    """Return the package of a module, None for one that lies beside the packages."""
    return module.partition(".")[0] if "." in module else None


def upward(code: Code, rules: Rules) -> list[str]:
    """Return the imports that break the table: of a package below, or of a closed module."""
    found = []
    for module, names in code.imports.items():
        own = package_of(module)
        for name in names:
            package, _, inner = name.partition(".")
            if "." not in name:
                if own is None or name in ("__init__", CLIENT):
                    continue
                found.append(f"{module} imports {name}")
            elif own is None and module != "__main__" and package != "values":
                found.append(f"{module} imports {name}")
            elif own is not None and package != own:
                higher = rules.packages.index(package) < rules.packages.index(own)
                if not higher or not rules.is_open(package, inner):
                    found.append(f"{module} imports {name}")
    return found


def circle(imports: dict[str, set[str]]) -> set[str]:
    """Return modules among which there is a circle; empty where there is none."""
    left = dict(imports)
    while left:
        free = [module for module, needs in left.items() if not (needs - {module}) & left.keys()]
        if not free:
            return set(left)
        for module in free:
            del left[module]
    return set()


CODE = Code(SOURCES)
RULES = Rules.from_table(DOCUMENT.read_text(encoding="utf-8"))


def test_the_table_names_every_package() -> None:
    """The table in the documentation has each package once, and no other."""
    folders = {file.parent.name for file in SOURCES.glob("*/__init__.py")}
    assert sorted(RULES.packages) == sorted(folders)


def test_the_table_names_modules_that_exist() -> None:
    """A module that the table opens or closes is a file of that package."""
    for package in RULES.packages:
        for module in (RULES.open[package] or set()) | RULES.closed[package]:
            assert f"{package}.{module}" in CODE.files


def test_every_package_has_a_door() -> None:
    """Its docstring says what lives there and where to start; it imports nothing."""
    for package in RULES.packages:
        text = (SOURCES / package / "__init__.py").read_text(encoding="utf-8")
        tree = ast.parse(text)
        assert len(ast.get_docstring(tree) or "") > 100, package
        assert len(tree.body) == 1, package


def test_few_modules_lie_beside_the_packages() -> None:
    """Everything has a package, but for the command, the version and the client of apps."""
    beside = {name for name in CODE.files if "." not in name}
    assert beside == {"__init__", "__main__", CLIENT}


def test_imports_follow_the_table() -> None:
    """No package imports one below it, or a module that another one keeps to itself."""
    assert not upward(CODE, RULES)


def test_there_are_no_circles() -> None:
    """No module imports itself by way of others, not even inside of a function."""
    assert not circle(CODE.imports)


def test_files_have_a_size_to_read() -> None:
    """A file that is too long is split by reason to change."""
    long = {
        name: lines
        for name, file in CODE.files.items()
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > LINES_MAX
    }
    assert not long


@pytest.mark.parametrize("module", [name for name in CODE.files if package_of(name) == "policy"])
def test_decisions_are_pure(module: str) -> None:
    """Decisions read no clock, use no chance, and do no IO."""
    assert not CODE.others(module) & IMPURE


def test_what_runs_in_a_worker_needs_little() -> None:
    """A worker on an app's own interpreter needs the standard library and waitress only."""
    reached = CODE.reached_from("worker.venv_entrypoint")
    assert {"worker.entry", "worker.importing", "server.server"} <= reached
    for module in reached:
        assert CODE.others(module) <= sys.stdlib_module_names | {"waitress"}, module


@pytest.mark.parametrize(
    "file",
    sorted((REPOSITORY / "apps").rglob("*.py")),
    ids=lambda f: str(f.relative_to(REPOSITORY)),
)
def test_apps_know_the_client_only(file: Path) -> None:
    """The example apps talk to the supervisor as any app would."""
    ours = {name for name in imported(file) if name.split(".")[0] == "supervisor"}
    assert ours <= {"supervisor.client"}


# ---- that these tests would fail


TABLE = """
| package | what lives there | open to others |
|---|---|---|
| `low` | values | all but `hidden` |
| `high` | the rest | `door` |
"""


def planted(folder: Path, files: dict[str, str]) -> Code:
    """Return the code of a small package with ``files``, by their path."""
    for path in ("low/__init__", "low/open", "low/hidden", "high/__init__", "high/door", "high/in"):
        file = folder / f"{path}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(files.get(path, ""))
    return Code(folder)


@pytest.mark.parametrize(
    ("path", "line", "is_wrong"),
    [
        ("high/in", "from supervisor.low.open import x", False),
        ("low/open", "from supervisor.low.hidden import x", False),
        ("low/open", "from supervisor.high.door import x", True),
        ("low/open", "def f():\n    from supervisor.high.door import x", True),
        ("high/door", "from supervisor.low.hidden import x", True),
    ],
)
def test_a_planted_import_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, line: str, is_wrong: bool
) -> None:
    """An import upwards and one of a closed module are found, what is allowed is not."""
    folder = tmp_path / "supervisor"
    folder.mkdir()
    monkeypatch.setattr(sys.modules[__name__], "SOURCES", folder)
    code = planted(folder, {path: line})
    assert bool(upward(code, Rules.from_table(TABLE))) is is_wrong


def test_a_planted_circle_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two modules that import each other are a circle, even inside of functions."""
    folder = tmp_path / "supervisor"
    folder.mkdir()
    monkeypatch.setattr(sys.modules[__name__], "SOURCES", folder)
    here, there = "from supervisor.low import hidden", "def f():\n    import supervisor.low.open"
    assert circle(planted(folder, {"low/open": here}).imports) == set()
    code = planted(folder, {"low/open": here, "low/hidden": there})
    assert circle(code.imports) == {"low.open", "low.hidden"}


def test_these_tests_see_imports(tmp_path: Path) -> None:
    """Every form of import is found."""
    source = """
import os, json.decoder
from supervisor import client, __version__
from supervisor.values.states import AppState
def f():
    from supervisor.policy import rollout as l
    import supervisor.values.errors
"""
    (tmp_path / "x.py").write_text(source)
    assert set(imported(tmp_path / "x.py")) == {
        "os",
        "json.decoder",
        "supervisor.client",
        "supervisor",
        "supervisor.values.states",
        "supervisor.policy.rollout",
        "supervisor.values.errors",
    }


def test_the_main_process_loads_no_more_than_it_needs() -> None:
    """The modules that check a configuration, or run a command, are not loaded."""
    program = (
        "import sys\nfrom supervisor.cli import main\nfrom supervisor.daemon import log, loop\n"
        "from supervisor.systemd import notifier\nloop.warm_up()\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "flask" in loaded  # for all workers
    heavy = {"psutil", "requests", "prometheus_client", "rich"}
    assert not {name.partition(".")[0] for name in loaded} & heavy
    assert "supervisor.daemon.loop" in loaded
    assert not {"supervisor.health.app_check", "supervisor.releases.store"} & loaded
