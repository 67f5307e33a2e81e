"""Evaluates the expressions that apps add to ``sys.path``, without running them."""

import ast
import os
from collections.abc import Mapping
from functools import partial

from supervisor.source.expressions import dotted

_SAME_PATH = frozenset({"abspath", "realpath", "normpath", "fspath", "str", "Path"})
_NESTED_MAX = 50  # names that refer to themselves end here


def folder_of(
    expression: ast.expr, names: Mapping[str, ast.expr], working_folder: str
) -> str | None:
    """Return the folder that ``expression`` stands for, None where that is not known.

    ``names`` holds the values of variables, ``__file__`` among them. Links are not resolved.
    """
    return _joined([working_folder, _path(expression, names, 0)])


def _path(node: ast.expr, names: Mapping[str, ast.expr], depth: int) -> str | None:
    if depth > _NESTED_MAX:
        return None
    of = partial(_path, names=names, depth=depth + 1)
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) if name in names:
            return of(names[name])
        case ast.Attribute(value=inner, attr="parent"):
            return _joined([of(inner), os.pardir])
        case ast.BinOp(op=ast.Div(), left=left, right=right):
            return _joined([of(left), of(right)])
        case ast.Call(func=ast.Attribute(value=inner, attr="resolve" | "absolute"), args=[]):
            return of(inner)
        case ast.Call(func=function, args=[first, *others]):
            name = dotted(function).rpartition(".")[2]
            if name == "dirname":
                return _joined([of(first), os.pardir])
            if name == "join":
                return _joined([of(first), *map(of, others)])
            return of(first) if name in _SAME_PATH and not others else None
    return None


def _joined(parts: list[str | None]) -> str | None:
    known = [part for part in parts if part is not None]
    return os.path.normpath(os.path.join(*known)) if len(known) == len(parts) else None
