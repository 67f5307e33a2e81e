"""What a target names: ``module:app``, or ``module:factory()`` with the arguments of its call.

Needs the standard library alone, because a worker may run on the interpreter of the app's own
virtual environment.
"""

import ast
import re
from typing import Any, NamedTuple

# A module's file may have any name: importlib takes `my-app` and `2fa`, only `import` doesn't.
_MODULE = re.compile(r"[\w-]+(\.[\w-]+)*")
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Call(NamedTuple):
    """The arguments of a factory's call."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


class Target(NamedTuple):
    """The attribute ``name``, dotted, of a module; ``call`` if it is a factory."""

    module: str
    name: str
    call: Call | None


def parse(text: str) -> Target:
    """Return what ``text`` names. Raises ValueError if it is no target."""
    module, _, rest = text.partition(":")
    name, bracket, inside = rest.partition("(")
    is_module = _MODULE.fullmatch(module) and not module.endswith(".py")  # that is a file
    if not is_module or not _NAME.fullmatch(name) or not text.isprintable():
        raise ValueError(f"{text!r} is no target")
    return Target(module, name, _call(inside) if bracket else None)


def _call(inside: str) -> Call:
    try:
        node = ast.parse(f"f({inside}", mode="eval").body
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and inside[-1:] == ")":
            named = {str(one.arg): ast.literal_eval(one.value) for one in node.keywords}
            positional = tuple(ast.literal_eval(one) for one in node.args)
            if all(one.arg for one in node.keywords):  # else one is **mapping
                return Call(positional, named)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("its arguments are not readable") from error
    raise ValueError("it is more than one call")


def is_target(text: str) -> bool:
    """Return whether ``text`` is a target."""
    try:
        parse(text)
    except ValueError:
        return False
    return True


def advice(text: str) -> str:
    """Return, for what is no target, how to write what it probably means; "" if unknown."""
    place, colon, name = (part.strip() for part in text.partition(":"))
    if "(" in name and is_target(f"{place}:{name.partition('(')[0]}"):
        return '; the arguments are plain values, as in create_app("prod", debug=True)'
    if " " in place:
        return "; rename the file: the name of a module has no space"
    folder, slash, file = place.rpartition("/")
    module = (file if place.startswith("/") else place).removesuffix(".py").removeprefix("./")
    candidates = [f"{module.replace('/', '.')}:{name or 'app'}"]
    if not colon and "." in module:
        candidates.append(":".join(module.rsplit(".", 1)))
    meant = " or ".join(f'"{one}"' for one in candidates if is_target(one))
    if not meant:
        return ""
    if slash and place.startswith("/"):
        return f'; did you mean target = {meant} with path = "{folder or "/"}"?'
    return f"; did you mean {meant}?"
