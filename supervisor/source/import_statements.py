"""Reads from the text of a Python source what it imports, and in which circumstances.

Nothing is run and no file is opened. What the text does not decide counts as undecided.
"""

import ast
import builtins
import contextlib
import operator
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import field
from enum import IntEnum
from typing import Any, NamedTuple

from supervisor.source.expressions import dotted
from supervisor.source.path_expressions import folder_of
from supervisor.values.records import dataclass

# Calls matter in sources with one of these words only; walking all expressions takes long.
_CALLED = (b"import_module", b"__import__", b"sys.path", b"addsitedir")
_MAKES_MODULES = re.compile(
    rb"sys\.modules|meta_path|path_hooks|declare_namespace|__path__\s*(?:[+:]?=[^=]|\.[aei])"
)
_MAKES_NAMES = re.compile(
    rb"__getattr__|__dict__|import\s*\(?\s*\*|\b(?:globals|locals|vars|exec|setattr)\s*\("
)
_EXITS = ("sys.exit", "exit", "quit", "os._exit", "os.abort")
_PATH_CALLS = frozenset(
    {"sys.path.insert", "sys.path.append", "sys.path.extend", "site.addsitedir"}
)
_IMPORT_CALLS = ("import_module", "importlib.import_module", "__import__")
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")
_FACTS: dict[str, object] = {
    "__name__": "",  # an app is imported: never "__main__"
    "os.name": os.name,
    "sys.platform": sys.platform,
    "sys.version_info": sys.version_info[:],
    "sys.version_info[0]": sys.version_info[0],
    "sys.version_info.major": sys.version_info[0],
}
_OPERATORS: dict[type[ast.cmpop], Any] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Unreadable(Exception):
    """A source that Python cannot compile; with ``skipped``, one that is not read at all."""

    def __init__(self, message: str, line: int | None = None, *, skipped: bool = False) -> None:
        super().__init__(message)
        self.line = line
        self.skipped = skipped


class When(IntEnum):
    """When an import runs, the surest first; of several circumstances the last one counts."""

    AT_START = 0  # when its file is imported
    CONDITIONAL = 1  # under a condition that the text does not decide
    IN_FUNCTION = 2  # when that function is called
    CAUGHT = 3  # where an ImportError is caught


class Wanted(NamedTuple):
    """What an import asks for: a module, or a ``name`` in it that may be a module too.

    A relative import that leaves its package keeps its dots.
    """

    module: str
    name: str | None = None


class Place(NamedTuple):
    """Where something stands: ``scope`` is the dotted name of the function or class."""

    when: When = When.AT_START
    scope: str = ""

    def under(self, when: When) -> "Place":
        """Return this place in further circumstances."""
        return self._replace(when=max(self.when, when))


@dataclass(slots=True)
class Source:
    """What a source imports, with the lines, and what it adds to ``sys.path``."""

    text: bytes
    imports: list[tuple[Wanted, int, Place]] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)  # functions, classes and variables
    added: list[ast.expr] = field(default_factory=list)
    variables: dict[str, ast.expr] = field(default_factory=dict)

    def may_have(self, name: str) -> bool:
        """Return whether ``name`` may be an attribute of this module."""
        return (
            not name.isascii()  # may be written in another encoding
            or name.startswith("__")
            or re.search(rb"(?<!\w)%s(?!\w)" % name.encode(), self.text) is not None
            or _MAKES_NAMES.search(self.text) is not None
            or makes_modules(self.text)
        )

    def may_provide(self, module: str) -> bool:
        """Return whether this source may put ``module`` into `sys.modules` or into its package."""
        name = re.escape(module.encode(errors="replace"))
        if b"sys.modules" in self.text and re.search(rb"[\"']%s[.\"']" % name, self.text):
            return True
        parent, _, last = name.rpartition(rb"\.")
        return bool(parent) and re.search(rb"\.%s\s*=[^=]" % last, self.text) is not None

    def added_folders(self, file: str, working_folder: str) -> set[str | None]:
        """Return the folders added to the search path; None stands for an unknown one."""
        names = {**self.variables, "__file__": ast.Constant(file)}
        folders = {folder_of(expression, names, working_folder) for expression in self.added}
        if b"meta_path" in self.text or b"path_hooks" in self.text:
            folders.add(None)
        return folders


def makes_modules(text: bytes) -> bool:
    """Return whether a module with this text may create modules that have no file."""
    return _MAKES_MODULES.search(text) is not None


def read(text: bytes, package: str, *, factory: str | None = None) -> Source:
    """Return what ``text`` imports; its relative imports start at ``package``.

    ``factory`` names the function in it that is called at the start. Raises `Unreadable`.
    """
    try:
        tree = ast.parse(text)
        compile(tree, "app", "exec", dont_inherit=True)  # finds more: a return outside a function
        return _Reader(text, package, factory).read(tree)
    except SyntaxError as error:
        raise Unreadable(f"{type(error).__name__}: {error.msg}", error.lineno) from error
    except ValueError as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    except (RecursionError, MemoryError, OverflowError) as error:
        raise Unreadable("it is nested too deeply", skipped=True) from error


class _Reader:
    """Collects the imports of one source."""

    def __init__(self, text: bytes, package: str, factory: str | None) -> None:
        self._source = Source(text)
        self._parents = package.split(".") if package else []
        self._factory = factory

    def read(self, tree: ast.Module) -> Source:
        self._walk(tree.body, Place())
        if any(word in self._source.text for word in _CALLED):
            for node in ast.walk(tree):
                self._record_addition(node)
        return self._source

    def _walk(self, body: Sequence[ast.AST], place: Place) -> None:
        """Record the imports in these statements."""
        for node in body:
            match node:
                case ast.Import() | ast.ImportFrom():
                    wanted = self._wanted(node)
                    self._source.imports += [(one, node.lineno, place) for one in wanted]
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._walk_function(node, self._inside(node.name, place))
                case ast.ClassDef():
                    self._walk(node.body, self._inside(node.name, place))
                case ast.Assign(targets=[ast.Name(id=name)]) if not place.scope:
                    self._source.defined.add(name)
                case _:
                    for branch, at in _branches(node, place):
                        self._walk(branch, at)

    def _inside(self, name: str, place: Place) -> Place:
        if not place.scope:
            self._source.defined.add(name)
        return place._replace(scope=f"{place.scope}.{name}" if place.scope else name)

    def _walk_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, place: Place) -> None:
        if place.scope != self._factory:
            # a try around a function catches nothing that happens when it is called
            self._walk(node.body, place._replace(when=When.IN_FUNCTION))
            return
        for statement in node.body:
            self._walk([statement], place)
            if any(isinstance(part, ast.Return) for part in ast.walk(statement)):
                place = place.under(When.CONDITIONAL)

    def _record_addition(self, node: ast.AST) -> None:
        """Record what an expression imports or adds to the search path, and variables for that."""
        match node:
            case ast.Assign(targets=[target]) | ast.AugAssign(target=target):
                whole = target.value if isinstance(target, ast.Subscript) else target
                if dotted(whole) == "sys.path":
                    self._source.added += _elements(node.value)
                elif isinstance(target, ast.Name):
                    is_new = target.id not in self._source.variables
                    self._source.variables[target.id] = node.value if is_new else ast.Constant(None)
            case ast.Call(func=function) if (called := dotted(function)) in _PATH_CALLS:
                elements = [part for argument in node.args for part in _elements(argument)]
                self._source.added += elements[called == "sys.path.insert" :]  # without the index
            case ast.Call(func=function, args=[ast.Constant(value=str(module)), *others]):
                # relative ones depend on what the app passes
                is_absolute = not module.startswith(".") and len(others) < 4 and not node.keywords
                if dotted(function) in _IMPORT_CALLS and is_absolute:
                    place = Place(When.CONDITIONAL)
                    self._source.imports.append((Wanted(module), node.lineno, place))

    def _wanted(self, node: ast.Import | ast.ImportFrom) -> list[Wanted]:
        if isinstance(node, ast.Import):
            return [Wanted(alias.name) for alias in node.names]
        module = node.module or ""
        if node.level > len(self._parents):
            module = "." * node.level + module
        elif node.level:
            kept = self._parents[: len(self._parents) - node.level + 1]
            module = ".".join([*kept, module] if module else kept)
        return [Wanted(module, alias.name) for alias in node.names]


def _branches(node: ast.AST, place: Place) -> list[tuple[Sequence[ast.AST], Place]]:
    """Return the statements that a statement holds, each group with its place."""
    perhaps = place.under(When.CONDITIONAL)
    match node:
        case ast.If():
            truth = _truth(node.test)
            if truth is None:
                return [(node.body, perhaps), (node.orelse, perhaps)]
            return [(node.body if truth else node.orelse, place)]
        case ast.Try() | ast.TryStar():
            tried = place.under(_caught(node.handlers))
            handlers = [(handler.body, perhaps) for handler in node.handlers]
            return [(node.body, tried), (node.orelse, tried), *handlers, (node.finalbody, place)]
        case ast.With() | ast.AsyncWith():
            suppresses = any("suppress" in ast.unparse(item) for item in node.items)
            return [(node.body, place.under(When.CAUGHT) if suppresses else place)]
        case ast.For() | ast.AsyncFor() | ast.While():
            return [(node.body, perhaps), (node.orelse, perhaps)]
        case ast.Match():
            return [(case.body, perhaps) for case in node.cases]
    return []


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.List | ast.Tuple) else [node]


def _caught(handlers: list[ast.ExceptHandler]) -> When:
    """Return `When.CAUGHT` if an ImportError may be caught and the app goes on."""
    for handler in handlers:
        text = "Exception" if handler.type is None else ast.unparse(handler.type)
        names = re.findall(r"\w+", text)
        if any(name in _IMPORT_ERRORS or not hasattr(builtins, name) for name in names):
            last = handler.body[-1]
            call = last.value if isinstance(last, ast.Expr) else None
            ends = isinstance(call, ast.Call) and dotted(call.func) in _EXITS
            return When.AT_START if ends or isinstance(last, ast.Raise) else When.CAUGHT
    return When.AT_START


def _truth(test: ast.expr) -> bool | None:
    """Return what a test of the platform, the version and the like is; None: not decided."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            truth = _truth(operand)
            return None if truth is None else not truth
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return False
        case ast.Constant(value=value):
            return bool(value)
        case ast.Compare(left=left, ops=[comparison], comparators=[right]):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                fact, value = _FACTS[ast.unparse(left)], ast.literal_eval(right)
                return bool(_OPERATORS[type(comparison)](fact, value))
    return None
