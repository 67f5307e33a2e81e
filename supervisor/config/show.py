"""The configuration in effect: every value, and where it came from."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any

from supervisor.config.secrecy import without_url_passwords
from supervisor.config.settings import Config, NotifySettings
from supervisor.values.redaction import HIDDEN

_TABLES = ("supervisor", "bind", "status", "host", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value; ``value`` is `HIDDEN` for a secret."""

    path: str
    value: Any
    origin: str


def settings(config: Config) -> Iterator[Setting]:
    """Yield every setting in the order of the classes, the apps in that of the file."""
    for table in _TABLES:
        yield from _of_table(config, table, getattr(config, table))
    if config.requires:
        yield _setting(config, "requires", config.requires)
    if config.notify:
        yield _setting(config, "notify", config.notify)
    for name, app in config.apps.items():
        yield from _of_table(config, f"apps.{name}", app)
        for variable, value in config.env_files.get(name, {}).items():
            if variable not in app.env:
                path = f"apps.{name}.env.{variable}"
                hidden = HIDDEN if value else ""
                yield Setting(path=path, value=hidden, origin=str(app.env_file))


def _of_table(config: Config, path: str, table: Any) -> Iterator[Setting]:
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, dict) and value:
            for key, item in value.items():
                yield _setting(config, f"{path}.{field.name}.{key}", item)
        else:
            yield _setting(config, f"{path}.{field.name}", value)


def _setting(config: Config, path: str, value: Any) -> Setting:
    origin = config.origins.by_path.get(path, "default")
    return Setting(
        path=path, value=HIDDEN if config.is_secret(path) else _plain(value), origin=origin
    )


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return without_url_passwords(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not is_dataclass(value) or isinstance(value, type):
        return value
    chosen = ((f, getattr(value, f.name)) for f in fields(value))
    found = {f.name: _plain(one) for f, one in chosen if one != _default(f)}
    hidden = "url" if isinstance(value, NotifySettings) else "token"
    return {**found, hidden: HIDDEN} if found.get(hidden) else found


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
