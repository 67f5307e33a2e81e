"""The configuration as it is in effect: every value, and where it came from."""

from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from supervisor.config.settings import Config
from supervisor.values.records import dataclass
from supervisor.values.redaction import HIDDEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value; ``value`` is `HIDDEN` for one that must not be printed."""

    path: str
    value: Any
    origin: str


def settings(config: Config) -> Iterator[Setting]:
    """Give every setting in the order of the classes, apps by name as in the file."""
    for table in ("supervisor", "bind", "status", "host"):
        yield from _of_table(getattr(config, table), table, config)
    if config.requires:
        yield _setting(config, "requires", config.requires)
    for name, app in config.apps.items():
        yield from _of_table(app, f"apps.{name}", config)


def _of_table(table: Any, path: str, config: Config) -> Iterator[Setting]:
    for field in fields(table):
        value = getattr(table, field.name)
        inner = f"{path}.{field.name}"
        if isinstance(value, dict) and value:
            for key, item in value.items():
                yield _setting(config, f"{inner}.{key}", item)
        else:
            yield _setting(config, inner, value)
    for name, text in config.env_files.get(path.removeprefix("apps."), {}).items():
        if name not in table.env:
            origin = f"{table.env_file}"
            yield Setting(
                path=f"{path}.env.{name}",
                value=HIDDEN if text else "",
                origin=origin,
            )


def _setting(config: Config, path: str, value: Any) -> Setting:
    hidden = config.is_secret(path)
    origin = config.sources.origins.get(path, "default")
    plain = _plain(value)
    return Setting(path=path, value=HIDDEN if hidden else plain, origin=origin)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not is_dataclass(value) or isinstance(value, type):
        return value
    found = asdict(value)
    return {**found, "token": HIDDEN} if found.get("token") else found
