"""Finds what a target names in its module, and refuses what can't be served.

A target that is nearly right would answer each request with 500, or with nothing: a factory
without its call, a view function, a class, an ASGI app. The error has the line to write instead.
Needs the standard library alone, as `importing` does.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from supervisor.values import targets
from supervisor.worker.import_failure import TargetError

if TYPE_CHECKING:
    from supervisor.source.app_scan import SourceFacts

_WSGI = ("environ", "start_response")
_ASGI = ("scope", "receive", "send")


def load(target: str, *, self_bound: bool = False) -> Callable[..., Any]:
    """Import the module of ``target`` and return the WSGI app that it names.

    ``self_bound``: return what is called without arguments, and binds a port itself. Raises
    `TargetError`, and whatever the app's code raises.
    """
    meant = targets.parse(target)
    module = importlib.import_module(meant.module)
    found: Any = attribute(module, meant.name)
    path = f"{meant.module}:{meant.name}"
    if meant.call is not None:
        found, path = _made(found, path, meant.call), target
    problem = _self_bound_problem if self_bound else _problem
    error = problem(found, path, module)
    if error is not None:
        raise error
    return found  # type: ignore[no-any-return]


def attribute(owner: object, names: str) -> Any:
    """Return the attribute of ``owner`` with the dotted name. Raises `TargetError`."""
    for name in names.split("."):
        try:
            owner = getattr(owner, name)
        except AttributeError as error:
            kind = "module " if isinstance(owner, ModuleType) else ""
            owner_name = getattr(owner, "__name__", type(owner).__name__)
            hint = _absent_hint(owner, name) if isinstance(owner, ModuleType) else None
            close = _similar(name, [one for one in dir(owner) if one[0] != "_"])
            hint = hint or (f"did you mean {close}?" if close else _NO_APP)
            raise TargetError(f"{kind}{owner_name} has no attribute {name!r}", hint) from error
    return owner


def a(value: object) -> str:
    """Return what kind of object ``value`` is: ``an int``."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


# ---- what isn't there

_NO_APP = "no Flask app was found in it; correct `target` in the configuration"


def _absent_hint(module: ModuleType, name: str) -> str | None:
    """Return what to do when a module lacks the attribute of the target."""
    file = _file_of(module)
    if file is not None and file.name == "__init__.py":
        hidden = file.parent.with_suffix(".py")
        if hidden.exists():
            package = file.parent.name
            return f"the folder {package}/ hides the file {hidden.name}: rename one of them"
    apps = dict(_apps_in(module))
    similar = _similar(name, list(apps))
    if similar or len(apps) == 1:
        return _write(f"{module.__name__}:{apps[similar or next(iter(apps))]}")
    if apps:
        return "it has: " + ", ".join(f"{module.__name__}:{one}" for one in apps.values())
    if name in _scan(file).guarded:
        return (
            f'{name} is made under if __name__ == "__main__": and an import skips that; make it '
            "above, and leave only app.run() there"
        )
    return None


def _similar(name: str, names: list[str]) -> str | None:
    for one in names:
        if one.lower() == name.lower():
            return one
    return next(iter(difflib.get_close_matches(name, names, n=1)), None)


def _apps_in(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yield the apps of a module, and then its factories: the name, and how a target writes it."""
    names = vars(module)
    for name, value in names.items():
        if _is_flask(value) and not name.startswith("_"):
            yield name, name
    for app in _scan(_file_of(module)).apps:
        if app.interface != "WSGI" or app.name.partition(".")[0] not in names:
            continue
        if app.is_factory:
            yield app.name, f"{app.name}({'...' if app.needs_arguments else ''})"
        else:
            yield app.name, app.name


def _is_flask(value: object) -> bool:
    return hasattr(type(value), "wsgi_app")  # of the type: a proxy may raise anything


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file) if isinstance(file, str) else None


def _scan(file: Path | None) -> "SourceFacts":
    from supervisor.source import app_scan  # for a wrong target only

    try:
        return app_scan.scan(b"" if file is None else file.read_bytes())
    except (OSError, ValueError):
        return app_scan.SourceFacts()


# ---- what can't be served


def _made(factory: Any, path: str, call: targets.Call) -> Any:
    """Return what a factory makes. Raises `TargetError` if it can't be called so."""
    if _is_flask(factory):
        raise TargetError(f"{path} is the app itself, not a function that makes it", _write(path))
    if not callable(factory):
        raise TargetError(
            f"{path}() can't be called: it is {a(factory)}", "leave out the () in `target`"
        )
    signature = _signature(factory)
    if signature is not None and not _binds(signature, *call.positional, **call.named):
        raise _wrong_call(path, signature, call)
    made = factory(*call.positional, **call.named)
    if made is None:
        hint = "let the function end with: return app"
        raise TargetError(f"{path}() returned None, not the app", hint)
    if inspect.iscoroutine(made):
        made.close()
        hint = "make the app in a plain function"
        raise TargetError(f"{path}() is an async function, which returned no app", hint)
    return made


def _wrong_call(path: str, signature: inspect.Signature, call: targets.Call) -> TargetError:
    name = path.partition(":")[2]
    if not call.positional and not call.named:
        needed = ", ".join(_required(signature))
        return TargetError(
            f"{name}() needs the argument{'s' if ',' in needed else ''} {needed!r}",
            f'{_write(f"{path}(...)")} with its value, as in create_app("prod")',
        )
    given = [repr(one) for one in call.positional]
    given += [f"{key}={value!r}" for key, value in call.named.items()]
    shown = ", ".join(signature.parameters)
    return TargetError(
        f"{name}() can't be called with ({', '.join(given)})", f"its arguments are ({shown})"
    )


def _problem(found: Any, path: str, module: ModuleType) -> TargetError | None:
    """Return why ``found`` is no WSGI app, None if it may be one."""
    if isinstance(found, ModuleType):
        return TargetError(f"{path} is a module, not a WSGI app", _write(f"{found.__name__}:app"))
    if isinstance(found, type):
        return _class_problem(found, path)
    if not callable(found):
        return TargetError(
            f"{path} is {a(found)}, not a WSGI app: it can't be called",
            _not_callable_hint(found, module),
        )
    if isinstance(found, FunctionType) and _app_of_view(found, module):
        app = _app_of_view(found, module)
        return TargetError(
            f"{path} is a view function of the app, not the app",
            _write(f"{module.__name__}:{app}"),
        )
    called = found if inspect.isroutine(found) else type(found).__call__
    signature = _signature(found)
    is_async = inspect.iscoroutinefunction(called)
    if is_async and signature is not None and not _binds(signature, *_ASGI):
        return TargetError(
            f"{path} is an async function, not a WSGI app", "make the app in a plain function"
        )
    if is_async or (signature is not None and _required(signature) == [*_ASGI]):
        return _asgi_problem(path)
    if signature is None or _required(signature) == [*_WSGI]:
        return None
    if isinstance(found, FunctionType) and path.partition(":")[2] in _factories(module):
        return _factory_problem(path, signature)
    if _binds(signature, *_WSGI) and (_required(signature) or _is_open(signature)):
        return None
    if isinstance(found, FunctionType) and not _required(signature):
        return _plain_function_problem(path, signature, module)
    shown = ", ".join(signature.parameters)
    return TargetError(
        f"{path} takes ({shown}), so it is not a WSGI app, which takes (environ, start_response)",
        _instead(module),
    )


def _class_problem(found: type, path: str) -> TargetError | None:
    if hasattr(found, "__iter__"):  # the class of PEP 3333, whose objects are the answers
        return None
    module, _, name = path.partition(":")
    return TargetError(
        f"{path} is a class, not an app",
        f"make an app of it, app = {name}(...), and {_write(f'{module}:app')}",
    )


def _not_callable_hint(found: Any, module: ModuleType) -> str:
    if type(found).__name__ == "Blueprint":
        return "a Blueprint is a part of an app: name the app that calls register_blueprint with it"
    return _instead(module)


def _instead(module: ModuleType) -> str:
    """Return the hint that names the apps of the module."""
    apps = list(dict(_apps_in(module)).values())
    if len(apps) == 1:
        return _write(f"{module.__name__}:{apps[0]}")
    if apps:
        return "it has: " + ", ".join(f"{module.__name__}:{one}" for one in apps)
    return "let the target name the Flask object, or the function that makes it with ()"


def _app_of_view(found: Any, module: ModuleType) -> str | None:
    """Return the name of the app of which ``found`` is a view function."""
    for name, value in vars(module).items():
        views = vars(value).get("view_functions") if _is_flask(value) else None
        if isinstance(views, dict) and any(found is view for view in views.values()):
            return name
    return None


def _asgi_problem(path: str) -> TargetError:
    return TargetError(
        f"{path} is an ASGI app, not a WSGI app",
        f'in place of `target` write command = ["uvicorn", "--fd", "{{fd}}", "{path}"]',
    )


def _factories(module: ModuleType) -> set[str]:
    from supervisor.source.app_scan import FACTORY_NAMES

    return {*FACTORY_NAMES} | {app.name for app in _scan(_file_of(module)).apps if app.is_factory}


def _factory_problem(path: str, signature: inspect.Signature) -> TargetError:
    needed = _required(signature)
    call = f"{path}({'...' if needed else ''})"
    with_values = f" with values for {', '.join(needed)}" if needed else ""
    return TargetError(
        f"{path} is a function that makes the app, not the app", _write(call) + with_values
    )


def _plain_function_problem(
    path: str, signature: inspect.Signature, module: ModuleType
) -> TargetError:
    hint = _instead(module)
    if path.endswith(")"):
        hint = "let the function return the app"
    elif not dict(_apps_in(module)):
        hint = f"if it returns the app, {_write(f'{path}()')}"
    what = "takes no arguments" if not signature.parameters else "needs no arguments"
    return TargetError(f"{path} {what}, so it is not a WSGI app", hint)


def _self_bound_problem(found: Any, path: str, module: ModuleType) -> TargetError | None:
    """Return why ``found`` can't be called to bind a port itself, None if it may be."""
    if _is_flask(found):
        return TargetError(
            f"{path} is a WSGI app, which binds no port itself", 'leave out bind = "app"'
        )
    if not callable(found):
        return TargetError(
            f"{path} is {a(found)}: it can't be called",
            'with bind = "app" the target is a function that binds the port itself',
        )
    signature = _signature(found)
    if signature is not None and not _binds(signature):
        needed = ", ".join(_required(signature))
        return TargetError(
            f'{path} needs ({needed}), and bind = "app" calls it without arguments',
            "write a function without arguments that calls it",
        )
    return None


# ---- signatures


def _signature(function: Any) -> inspect.Signature | None:
    """Return how something is called, None if it doesn't tell, as code in C."""
    try:
        return inspect.signature(function)
    except Exception:  # noqa: BLE001 - it asks the app's object for attributes; not to know is fine
        return None


def _binds(signature: inspect.Signature, *arguments: Any, **named: Any) -> bool:
    try:
        signature.bind(*arguments, **named)
    except TypeError:
        return False
    return True


def _required(signature: inspect.Signature) -> list[str]:
    """Return the names of the arguments that a call has to give."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        one.name
        for one in signature.parameters.values()
        if one.default is inspect.Parameter.empty and one.kind not in variable
    ]


def _is_open(signature: inspect.Signature) -> bool:
    """Return whether a call may give any number of arguments, as one of a decorator."""
    kinds = [one.kind for one in signature.parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds


def _write(target: str) -> str:
    quote = "'" if '"' in target else '"'
    return f"write target = {quote}{target}{quote}"
