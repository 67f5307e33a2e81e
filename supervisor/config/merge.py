"""Merges into the tables of the file what variables and other files set, and records who set what.

Variables override keys, ``{ env = "NAME" }`` and ``{ file = "/path" }`` stand for a value that is
kept elsewhere, and ``env_file`` holds variables of an app.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.config import env_file
from supervisor.config.problems import Problem, Problems
from supervisor.config.secrecy import is_secret
from supervisor.config.settings import Origins
from supervisor.files import text as text_file
from supervisor.values.terminal import printable

OVERRIDE_PREFIX = "FLASK_SUPERVISOR__"
_PLACES = frozenset({"host", "port", "path", "target", "state_dir"})  # log and status show them

Raw = dict[str, Any]


class Merge:
    """The merging of one configuration; its methods change the tables that they are given."""

    def __init__(self, file: Path, environment: Mapping[str, str]) -> None:
        self._file = file
        self._environment = environment
        self._origins: dict[str, str] = {}
        self._created: dict[str, str] = {}  # tables that are not in the file: by which variable
        self._variables: set[str] = set()
        self._secrets: set[str] = set()
        self._hidden: set[str] = set()
        self.problems = Problems(lambda path: is_secret(path, self._hidden))

    def override(self, raw: Raw) -> None:
        """Set the keys that ``FLASK_SUPERVISOR__TABLE__KEY`` variables name."""
        for variable, text in sorted(self._environment.items()):
            if not variable.startswith(OVERRIDE_PREFIX):
                continue
            *tables, key = _keys_of(variable)
            path = ".".join([*tables, key])
            self._origins[path] = variable
            self._variables.add(variable)
            table: Any = raw
            for depth, name in enumerate(tables, 1):
                if isinstance(table, dict) and name not in table:
                    self._created[".".join(tables[:depth])] = variable
                table = table.setdefault(name, {}) if isinstance(table, dict) else None
            if isinstance(table, dict):
                table[key] = text if _is_app_variable((*tables, key)) else _toml_value(text)
            else:
                self.problems.add(path, f"{'.'.join(tables)} is not a table")

    def resolve_references(self, table: Raw, path: tuple[str, ...] = ()) -> None:
        """Replace each reference below ``path`` by the value that it stands for."""
        for key, value in table.items():
            inner = (*path, key)
            if isinstance(value, list):
                for number, item in enumerate(value):
                    if isinstance(item, dict):
                        self.resolve_references(item, (*path, f"{key}[{number}]"))
            elif isinstance(value, dict):
                if _is_reference(value, inner):
                    text = self._referenced(value, ".".join(inner))
                    table[key] = text if _is_app_variable(inner) else _toml_value(text)
                    if isinstance(table[key], str) and key not in _PLACES:
                        self._secrets.add(text)
                else:
                    self.resolve_references(value, inner)
            self._origins.setdefault(".".join(inner), self._file.name)

    def _referenced(self, reference: dict[str, str], path: str) -> str:
        [(kind, name)] = reference.items()
        self._hidden.add(path)
        if kind == "env":
            self._variables.add(name)
            self._origins[path] = f"variable {name}"
            if name not in self._environment:
                self.problems.add(path, f"the variable {name} is not set")
            return self._environment.get(name, "")
        self._origins[path] = f"file {name}"
        return self._read(name, path).rstrip("\n")

    def read_env_files(self, raw: Raw) -> dict[str, dict[str, str]]:
        """Return the variables in the ``env_file`` of each app that has one."""
        found = {}
        apps = raw.get("apps")
        for name, app in apps.items() if isinstance(apps, dict) else ():
            given = app.get("env_file") if isinstance(app, dict) else None
            if not isinstance(given, str) or not given:
                continue
            path = f"apps.{name}.env_file"
            found[name], wrong = env_file.parse(self._read(given, path))
            for line, why in wrong:
                self.problems.add(path, f"{given}, line {line}: {why}")
        return found

    def _read(self, name: str, path: str) -> str:
        """Return the text of the file that the key at ``path`` names; empty where it can't."""
        try:
            return text_file.read(self._file.absolute().parent / name)
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            why = getattr(error, "strerror", None) or error
            self.problems.add(path, f"cannot read {name}: {why}")
            return ""

    def origins(self) -> Origins:
        """Return where the values came from."""
        return Origins(
            self._origins,
            frozenset(self._hidden),
            frozenset(self._variables),
            frozenset(self._secrets),
            dict(self._environment),
        )

    def text_of(self, problem: Problem) -> str:
        """Return a mistake in one line, with the file, or with the variable that overrides it."""
        origin = self._origins.get(problem.path) or self._creator_of(problem.path)
        place = origin if origin.startswith(OVERRIDE_PREFIX) else self._file
        return printable(f"{place}: {problem.path}{problem.text}")

    def _creator_of(self, path: str) -> str:
        """Return the variable that created the table of a key; empty if it is in the file."""
        while "." in path:
            path = path.rpartition(".")[0]
            if path in self._created:
                return self._created[path]
        return ""


def _keys_of(variable: str) -> list[str]:
    """Return the keys that an override names; variables of an app keep their case."""
    given = variable.removeprefix(OVERRIDE_PREFIX).split("__")
    keys = [key.lower() for key in given]
    if len(given) > 3 and keys[0] == "apps" and keys[2] == "env":
        return [*keys[:3], "__".join(given[3:])]
    return keys


def _is_app_variable(path: tuple[str, ...]) -> bool:
    return len(path) == 4 and path[0] == "apps" and path[2] == "env"


def _is_reference(value: dict[str, Any], path: tuple[str, ...]) -> bool:
    is_env_table = len(path) == 3 and path[0] == "apps" and path[2] == "env"  # any name is a key
    return (
        not is_env_table
        and len(value) == 1
        and set(value) <= {"env", "file"}
        and all(isinstance(name, str) for name in value.values())
    )


def _toml_value(text: str) -> Any:
    """Return ``text`` read as a TOML value, or as it is where it is none."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if len(document) == 1 else text
