"""Writes configurations as text: a new one for `init`, and a further app for `add`. Pure."""

import json
import tomllib
from collections.abc import Mapping

from supervisor.cli.project import Project, Proposal
from supervisor.values.errors import SupervisorError

_HEAD = """\
# The configuration of flask-supervisor, written by `flask-supervisor init`.
# Paths are relative to the folder of this file.
"""
_COMMENT_COLUMN = 36


def quoted(text: str) -> str:
    """Return a text as TOML writes it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def new_configuration(project: Project) -> str:
    """Return the text of a configuration that serves what was found."""
    parts = [_HEAD]
    if project.status_port != 6000:
        line = _line("port", str(project.status_port), "health; an app uses the default, 6000")
        parts.append(f"[status]\n{line}")
    parts += [_section(proposal) for proposal in project.proposals]
    if project.skipped:
        lines = [f"# not served: {what}\n#   {why}\n" for what, why in project.skipped]
        parts.append("".join(lines))
    return "\n".join(parts)


def _section(app: Proposal) -> str:
    port_note = f"from {app.port_from}" if app.port_from else "chosen by init: change it freely"
    what = f"{app.framework}, {app.place}"
    lines = [
        _line("command", f"[{', '.join(map(quoted, app.command))}]", what)
        if app.command
        else _line("target", quoted(app.target), what),
        _line("port", str(app.port), port_note),
    ]
    if app.path != ".":
        lines.append(_line("path", quoted(app.path), "the first folder of sys.path"))
    if app.python is not None:
        lines.append(_line("python", quoted(app.python), "the app's own virtual environment"))
    if app.env_file is not None:
        lines.append(_line("env_file", quoted(app.env_file), "its values are secrets"))
    if app.device is not None:
        what = f"{app.device.module} ({app.device_place}) holds {app.device.kind}"
        lines.append(f'# It can\'t run twice: {what}.\nreload = "replace"\n')
    return f"[apps.{app.name}]\n{''.join(lines)}"


def _line(key: str, value: str, comment: str) -> str:
    return f"{f'{key} = {value}':<{_COMMENT_COLUMN}}  # {comment}\n"


def with_app(text: str, name: str, keys: Mapping[str, str | int]) -> str:
    """Return the text of a configuration with a further section [apps.NAME]; comments stay.

    Raises `SupervisorError` if the apps are written in a way that can't be extended.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError
    from tomlkit.items import InlineTable

    wanted = tomllib.loads(text)
    wanted.setdefault("apps", {})[name] = dict(keys)
    try:
        document = tomlkit.parse(text)
        if "apps" not in document:
            document["apps"] = tomlkit.table(is_super_table=True)
        apps = document["apps"]
        is_inline = isinstance(apps, InlineTable)
        section = tomlkit.inline_table() if is_inline else tomlkit.table()
        section.update(keys)
        if not is_inline:
            section.add(tomlkit.nl())
        apps[name] = section
        changed = tomlkit.dumps(document).rstrip("\n") + "\n"
    except (TOMLKitError, TypeError, ValueError):
        changed = ""
    if not changed or tomllib.loads(changed) != wanted:
        lines = [f"{key} = {quoted(v) if isinstance(v, str) else v}" for key, v in keys.items()]
        raise SupervisorError(
            "cannot add the app: the apps of this file are not written as tables [apps.NAME]",
            hint="add it by hand: " + "; ".join([f"[apps.{name}]", *lines]),
        )
    return changed
