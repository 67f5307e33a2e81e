"""What a target names: ``module:app``, or ``module:factory()`` with the arguments of its call.

Needs the standard library alone, because a worker may run on the interpreter of the app's own
virtual environment.
"""

import ast
import re
from typing import Any, NamedTuple

# A module's file may have any name: importlib takes `my-app` and `2fa`, only `import` doesn't.
_MODULE = re.compile(r"[\w-]+(\.[\w-]+)*")
_COMMANDS = frozenset({"flask", "gunicorn", "python", "python3", "uvicorn", "waitress-serve"})
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
    meant = _plain(text)
    if is_target(meant):
        return _did_you_mean(meant)
    place, colon, name = meant.partition(":")
    if "(" in name and is_target(f"{place}:{name.partition('(')[0]}"):
        return (
            '; the arguments are plain values, as in create_app("prod", debug=True), '
            "and nothing follows"
        )
    if " " in place:
        return "; rename the file: the name of a module has no space"
    folder, slash, file = place.removesuffix("/").rpartition("/")
    is_elsewhere = place.startswith(("/", ".."))
    module = file if is_elsewhere else f"{folder}{slash}{file}"
    module = module.removesuffix(".py").removeprefix("./").replace("/", ".")
    candidates = [f"{module.removesuffix('.__init__')}:{name or 'app'}"]
    if not colon and not slash and "." in module:
        candidates.append(":".join(module.rsplit(".", 1)))
    candidates = [one for one in candidates if is_target(one)]
    if not candidates:
        return ""
    return _did_you_mean(*candidates, path=(folder or "/") if is_elsewhere else None)


def _plain(text: str) -> str:
    """Return what names the app in a command, without quotes, spaces and a drive of Windows."""
    words = text.split()
    if words[:1] == ["from"] and words[2:3] == ["import"]:
        return ":".join(words[1::2])
    if words and words[0] in _COMMANDS:
        text = next((one for one in words[1:] if is_target(one) or one.endswith(".py")), "")
    text = re.sub(r"\s*([:(])\s*", r"\1", text.strip(" \t\n'\"")).replace("\\", "/")
    if "(" not in text:
        text = text.replace('"', "").replace("'", "")
    return re.sub("^[A-Za-z]:/(.*/)?", "", text)


def _did_you_mean(*found: str, path: str | None = None) -> str:
    shown = " or ".join(quoted(one) for one in found)
    if path is not None:
        return f'; did you mean target = {shown} with path = "{path}"?'
    return f"; did you mean {shown}?"


def quoted(target: str) -> str:
    """Return a target as the configuration writes it."""
    return f"'{target}'" if '"' in target else f'"{target}"'
