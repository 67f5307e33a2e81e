"""Reads the configuration: the file, what variables override, values from other files.

Every mistake is reported at once, each with the file, its key path, its value and what is accepted.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from supervisor.config import consistency, tables, toml_syntax
from supervisor.config.merge import Merge, Raw
from supervisor.config.problems import Problems
from supervisor.config.settings import Config, SupervisorSettings
from supervisor.files import text as text_file
from supervisor.values.errors import ConfigError


def load(
    file: Path, environment: Mapping[str, str] = os.environ, *, may_lack_apps: bool = False
) -> Config:
    """Return the configuration in ``file``; raises `ConfigError` with every mistake in it.

    ``may_lack_apps``: no app is no mistake.
    """
    return parse_text(_read(file), file, environment, may_lack_apps=may_lack_apps)


def load_state_dir(file: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the state folder that ``file`` names, mistakes in the rest of the file aside.

    That is enough to find the running supervisor: it may know secrets that this user doesn't, and
    may have been started before somebody broke the file. Raises `ConfigError`.
    """
    raw = _parsed(_read(file), file)
    merge = Merge(file, environment)
    merge.override(raw)
    table = raw.get("supervisor", {})
    if isinstance(table, dict):
        merge.resolve_references(table, ("supervisor",))
        kept = {key: value for key, value in table.items() if key == "state_dir"}
        problems = Problems()
        settings = tables.build(SupervisorSettings, kept, problems)
        is_known = all(problem.path != "supervisor.state_dir" for problem in merge.problems.found)
        if settings is not None and is_known:
            return Config(supervisor=settings, file=file.absolute()).state_dir
    return load(file, environment).state_dir  # raises, with all other mistakes


def parse_text(
    text: bytes,
    file: Path,
    environment: Mapping[str, str] = os.environ,
    *,
    may_lack_apps: bool = False,
) -> Config:
    """Return the configuration ``text`` as if it were in ``file``; as `load`."""
    config = parse(_parsed(text, file), file, environment, may_lack_apps=may_lack_apps)
    return dataclasses.replace(config, text=text)


def parse(
    raw: Raw,
    file: Path,
    environment: Mapping[str, str] | None = None,
    *,
    may_lack_apps: bool = False,
) -> Config:
    """Return the configuration in a parsed TOML document, which is changed.

    ``environment`` (None: an empty one) may override keys, and has the values of
    ``{ env = "NAME" }``. Raises `ConfigError` with every mistake.
    """
    merge = Merge(file, environment or {})
    merge.override(raw)
    merge.resolve_references(raw)
    env_files = merge.read_env_files(raw)
    config = tables.build(Config, raw, merge.problems)
    consistency.check(raw, merge.problems, may_lack_apps=may_lack_apps)
    if config is None or merge.problems.found:
        raise ConfigError(sorted({merge.text_of(problem) for problem in merge.problems.found}))
    return dataclasses.replace(
        config, file=file.absolute(), origins=merge.origins(), env_files=env_files
    )


def _read(file: Path) -> bytes:
    try:
        return text_file.read_bytes(file)
    except FileNotFoundError as error:
        raise ConfigError(
            [f"{file}: there is no such file"], hint="name the right one with --config FILE"
        ) from error
    except text_file.NotText as error:
        raise ConfigError([f"{file}: cannot read it: {error}"]) from error
    except OSError as error:
        hint = "use sudo, or be its owner" if isinstance(error, PermissionError) else None
        raise ConfigError([f"{file}: cannot read it: {error.strerror}"], hint=hint) from error


def _parsed(text: bytes, file: Path) -> Raw:
    try:
        return toml_syntax.parse(text_file.decode(text))
    except toml_syntax.TomlMistake as error:
        raise ConfigError([f"{file}: {error}"], hint=error.excerpt or None) from error
    except text_file.NotText as error:
        raise ConfigError([f"{file}: {error}"]) from error
