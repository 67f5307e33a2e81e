"""Finds what a target names in its module, and refuses what can't be served.

A target that is nearly right would answer each request with 500, or with nothing: a factory
without its call, a view function, a class, an ASGI app. The error has the line to write instead.
Needs the standard library alone, as `importing` does.
"""

import importlib
import inspect
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from supervisor.values import targets
from supervisor.worker.import_failure import TargetError
from supervisor.worker.target_hints import absent, apps_in, instead, is_flask, scan, write

_WSGI = ("environ", "start_response")
_ASGI = ("scope", "receive", "send")
_EXAMPLE = ', as in create_app("prod") or create_app(name="prod")'


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
        found, path = _made(found, path, meant.call, module), target
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
            if name in dir(owner):  # a property of the app's, which raises it
                raise
            kind = "module " if isinstance(owner, ModuleType) else ""
            owner_name = getattr(owner, "__name__", type(owner).__name__)
            raise TargetError(
                f"{kind}{owner_name} has no attribute {name!r}", absent(owner, name)
            ) from error
    return owner


def a(value: object) -> str:
    """Return what kind of object ``value`` is: ``an int``."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


# ---- what can't be served


def _made(factory: Any, path: str, call: targets.Call, module: ModuleType) -> Any:
    """Return what a factory makes. Raises `TargetError` if it can't be called so."""
    signature = _signature(factory)
    if is_flask(factory) or (signature is not None and _required(signature) == [*_WSGI]):
        raise TargetError(f"{path} is the app itself, not a function that makes it", write(path))
    if not callable(factory):
        raise _not_callable(factory, path, module)
    if signature is not None and not _binds(signature, *call.positional, **call.named):
        raise _wrong_call(path, signature, call)
    made = factory(*call.positional, **call.named)
    if made is None:
        others = [one for one in dict(apps_in(module)).values() if not one.endswith(")")]
        hint = instead(module) if others else "let the function end with: return app"
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
            f"{write(_call_of(path, signature))} with its value" + _EXAMPLE,
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
        return TargetError(f"{path} is a module, not a WSGI app", write(f"{found.__name__}:app"))
    if isinstance(found, type):
        return _class_problem(found, path)
    if not callable(found):
        return _not_callable(found, path, module)
    if isinstance(found, FunctionType) and _app_of_view(found, module):
        app = _app_of_view(found, module)
        return TargetError(
            f"{path} is a view function of the app, not the app",
            write(f"{module.__name__}:{app}"),
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
    if isinstance(found, FunctionType) and path.partition(":")[2] in _factories(found, module):
        return _factory_problem(path, signature)
    if _binds(signature, *_WSGI) and (_required(signature) or _is_open(signature)):
        return None
    if isinstance(found, FunctionType) and not _required(signature):
        return _plain_function_problem(found, path, signature, module)
    shown = ", ".join(signature.parameters)
    return TargetError(
        f"{path} takes ({shown}), so it is not a WSGI app, which takes (environ, start_response)",
        instead(module, path),
    )


def _class_problem(found: type, path: str) -> TargetError | None:
    if hasattr(found, "__iter__"):  # the class of PEP 3333, whose objects are the answers
        return None
    module, _, name = path.partition(":")
    hint = f"make an app of it, app = {name}(...), and {write(f'{module}:app')}"
    if name.endswith(")"):
        hint = "let the function return an app that it makes of it"
    return TargetError(f"{path} is a class, not an app", hint)


def _not_callable(found: Any, path: str, module: ModuleType) -> TargetError:
    hint = instead(module, path)
    try:
        inner = [name for name, value in vars(found).items() if is_flask(value)]
    except TypeError:  # it has no attributes of its own
        inner = []
    if inner and not path.endswith(")"):
        hint = write(f"{path}.{inner[0]}")
    elif type(found).__name__ == "Blueprint":
        hint = "a Blueprint is a part of an app: name the app that calls register_blueprint with it"
    return TargetError(f"{path} is {a(found)}, not a WSGI app: it can't be called", hint)


def _app_of_view(found: Any, module: ModuleType) -> str | None:
    """Return the name of the app of which ``found`` is a view function."""
    for name, value in vars(module).items():
        views = vars(value).get("view_functions") if is_flask(value) else None
        if isinstance(views, dict) and any(found is view for view in views.values()):
            return name
    return None


def _asgi_problem(path: str) -> TargetError:
    name = f'"--factory", "{path[:-2]}"' if path.endswith("()") else f'"{path}"'
    return TargetError(
        f"{path} is an ASGI app, not a WSGI app",
        f'in place of `target` write command = ["uvicorn", "--fd", "{{fd}}", {name}]',
    )


def _factories(found: FunctionType, module: ModuleType) -> set[str]:
    """Return the names of the functions that make apps, where the target is and in its own file."""
    from supervisor.source.app_scan import FACTORY_NAMES

    places = {module, sys.modules.get(found.__module__, module)}
    return set(FACTORY_NAMES).union(
        *({app.name for app in scan(one).apps if app.is_factory} for one in places)
    )


def _factory_problem(path: str, signature: inspect.Signature) -> TargetError:
    needed = _required(signature)
    with_values = f" with values for {', '.join(needed)}" if needed else ""
    return TargetError(
        f"{path} is a function that makes the app, not the app",
        write(_call_of(path, signature)) + with_values,
    )


def _call_of(path: str, signature: inspect.Signature) -> str:
    """Return how a factory is called, with dots for the values that it needs."""
    named = [
        f"{name}=..."
        for name in _required(signature)
        if signature.parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    ]
    given = ["..."] if len(_required(signature)) > len(named) else []
    return f"{path}({', '.join([*given, *named])})"


def _plain_function_problem(
    found: FunctionType, path: str, signature: inspect.Signature, module: ModuleType
) -> TargetError:
    hint = instead(module, path)
    is_maker = not path.endswith(")") and not inspect.isgeneratorfunction(found)
    if is_maker and not dict(apps_in(module)):
        hint = f"if it returns the app, {write(f'{path}()')}"
    what = "takes no arguments" if not signature.parameters else "needs no arguments"
    return TargetError(f"{path} {what}, so it is not a WSGI app", hint)


def _self_bound_problem(found: Any, path: str, module: ModuleType) -> TargetError | None:
    """Return why ``found`` can't be called to bind a port itself, None if it may be."""
    if is_flask(found):
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
