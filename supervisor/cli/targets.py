"""What TARGET of `run` and `add` means: a file with an app, or ``module:app``."""

from dataclasses import dataclass
from pathlib import Path

import click

from supervisor.cli.project import usable_name
from supervisor.cli.source_module import module_of
from supervisor.source.app_scan import FoundApp, Interface, scan
from supervisor.values.targets import advice

DEFAULT_PORT = 5000
_USUAL = ("app", "application", "create_app")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An app to serve: ``target`` as the configuration writes it, below the folder ``path``.

    ``port`` is that of the file's own ``app.run(...)``, None if it has none.
    """

    target: str
    path: Path
    port: int | None = None

    @property
    def name(self) -> str:
        """A name for the app, of its module."""
        module = self.target.partition(":")[0].rpartition(".")[2]
        return usable_name(module) or "app"


def read_target(text: str) -> Target:
    """Return what ``text`` names; raise `click.UsageError` if that is no app.

    A file is read and not run.
    """
    if ":" in text:
        return Target(target=text, path=Path.cwd())
    if not text.endswith(".py"):
        raise click.UsageError(
            f"{text!r} is neither a file FILE.py nor a target module:app{advice(text)}"
        )
    file = Path(text).absolute()
    try:
        facts = scan(file.read_bytes())
    except OSError as error:
        raise click.UsageError(f"cannot read {text}: {error.strerror}") from error
    if facts.error is not None:
        raise click.UsageError(f"{text} is not valid Python: {facts.error}")
    app = _chosen(text, facts.apps)
    path, module = module_of(file, Path(file.anchor), facts)
    runs = [run for run in facts.runs if run.app.removesuffix("()") == app.name]
    call = "()" if app.is_factory else ""
    port = runs[0].port if runs else None
    return Target(target=f"{module}:{app.name}{call}", path=path, port=port)


def _chosen(file: str, apps: list[FoundApp]) -> FoundApp:
    """Return the app to serve: the only one, else the one with a usual name."""
    usable = [app for app in apps if app.interface is Interface.WSGI and not app.needs_arguments]
    usual = [app for name in _USUAL for app in usable if app.name == name]
    if len(usable) == 1 or usual:
        return (usual or usable)[0]
    if not usable:
        found = "; ".join(f"{app.name}: {app.framework} ({app.interface})" for app in apps)
        raise click.UsageError(
            f"{file} has no WSGI app" + (f": it has {found}; see docs/programs.md" if found else "")
        )
    names = " or ".join(f"{Path(file).stem}:{app.name}" for app in usable)
    raise click.UsageError(f"{file} has several apps: name one of them: {names}")
