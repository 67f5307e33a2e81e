"""Writes a new configuration as text, for `init`. Pure."""

import json

from supervisor.cli.project import Project, Proposal

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
    lines = [
        _line("target", quoted(app.target), f"{app.framework}, {app.place}"),
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
