"""Reads single expressions and statements of a Python source's syntax tree. Pure."""

import ast
from collections.abc import Iterator, Mapping

_PORT_MAX = 65535
_NESTED_MAX = 5  # names that stand for names


def statements(body: list[ast.stmt], *, is_main: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """Yield the statements of a module, and whether they run only if it is the main program."""
    for node in body:
        yield node, is_main
        match node:
            case ast.If(test=test):
                yield from statements(node.body, is_main=is_main or _is_main_test(test))
                yield from statements(node.orelse, is_main=is_main)
            case ast.Try() | ast.TryStar():
                bodies = [node.body, *(h.body for h in node.handlers), node.orelse, node.finalbody]
                for inner in bodies:
                    yield from statements(inner, is_main=is_main)
            case ast.With():
                yield from statements(node.body, is_main=is_main)


def _is_main_test(test: ast.expr) -> bool:
    """Return whether a condition is ``__name__ == "__main__"``, or alike."""
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    return "__name__" in names


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield what a function contains, in order of the text, but not its inner functions."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield node
            yield from own_nodes(node)


def dotted(node: ast.AST | None) -> str:
    """Return ``a.b.c`` for such an expression, an empty text for any other."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def called(node: ast.expr | None) -> str:
    """Return how an expression names an app: ``app``, ``create_app()``, or ``"module:app"``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # for uvicorn
        return node.value.replace(":", ".")
    if isinstance(node, ast.Call):
        return f"{dotted(node.func)}()"
    return dotted(node)


def argument(call: ast.Call, place: int | None, name: str) -> ast.expr | None:
    """Return the argument of a call by its name or place, None if it isn't given."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    return call.args[place] if place is not None and place < len(call.args) else None


def number(node: ast.expr, constants: Mapping[str, ast.expr], depth: int = 0) -> int | None:
    """Return the port that an expression stands for: a number, or the default of a variable."""
    found: int | None = None
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            found = value
        case ast.Constant(value=str(text)) if text.isascii() and text.isdigit():
            found = int(text)
        case ast.Name(id=name) if name in constants and depth < _NESTED_MAX:
            found = number(constants[name], constants, depth + 1)
        case ast.Call(args=[inner]) if dotted(node.func) == "int":
            found = number(inner, constants, depth + 1) if depth < _NESTED_MAX else None
        case ast.Call(args=[_, default]) if dotted(node.func) in (
            "os.environ.get",
            "os.getenv",
            "environ.get",
            "getenv",
        ):
            found = number(default, constants, depth + 1) if depth < _NESTED_MAX else None
        case ast.BoolOp(op=ast.Or(), values=[*_, last]):
            found = number(last, constants, depth + 1) if depth < _NESTED_MAX else None
    return found if found is not None and 0 < found <= _PORT_MAX else None
