"""Tells what a Python source imports, and in which circumstances, from its text alone.

Nothing is run, and no file is looked at. What the text doesn't decide is said to be undecided.
"""

import ast
import builtins
import contextlib
import operator
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import field
from enum import IntFlag
from functools import partial
from typing import Any, NamedTuple

from supervisor.values.records import dataclass

# Without these only statements matter; looking at all expressions takes most of the time.
_DEEP = (b"import_module", b"__import__", b"sys.path", b"addsitedir")
_CONJURES_MODULES = (b"sys.modules", b"meta_path", b"path_hooks", b"declare_namespace")
_CHANGES_PATH = re.compile(rb"__path__\s*(?:[+:]?=[^=]|\.[aei])")  # .append, .extend, .insert
_CONJURES_NAMES = re.compile(
    rb"__getattr__|__dict__|import\s*\(?\s*\*|\b(?:globals|locals|vars|exec|setattr)\s*\("
)
_LEAVES = frozenset({"sys.exit", "exit", "quit", "os._exit", "os.abort"})
_ADDS = frozenset({"sys.path.insert", "sys.path.append", "sys.path.extend", "site.addsitedir"})
_IMPORTS = frozenset({"import_module", "importlib.import_module", "__import__"})
_KEEPS_PATH = frozenset({"abspath", "realpath", "normpath", "fspath", "str"})
_NESTED_MAX = 50  # of expressions for a path: deeper ones refer to themselves
_PERHAPS = (  # what is in one of these runs perhaps, or for each of perhaps no elements
    *(ast.For, ast.AsyncFor, ast.While, ast.Match, ast.BoolOp, ast.IfExp, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
_FACTS: dict[str, object] = {
    "TYPE_CHECKING": False,
    "__name__": "",  # an app is imported: never "__main__"
    "os.name": os.name,
    "sys.platform": sys.platform,
    "platform.system()": os.uname().sysname,
    "sys.version_info": sys.version_info[:],
    "sys.version_info[:2]": sys.version_info[:2],
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
    ast.In: lambda left, right: left in right,
}


class Unreadable(Exception):
    """The source can't be compiled; ``skipped``: perhaps it can, but was not looked into."""

    def __init__(self, message: str, line: int | None = None, *, skipped: bool = False) -> None:
        super().__init__(message)
        self.line = line
        self.skipped = skipped


class When(IntFlag):
    """What keeps an import from being run, or from hurting, when its file is imported."""

    AT_START = 0
    CONDITIONAL = 1  # a condition that the text doesn't decide
    LATER = 2  # it is in a function
    CAUGHT_IMPORT = 4  # an ImportError is caught
    CAUGHT_ALL = 8  # every Exception is caught


class Wanted(NamedTuple):
    """What an import asks for: a module, or a ``name`` in it that may be a module too.

    A relative import that leaves its package keeps its dots.
    """

    module: str
    name: str | None = None


class Place(NamedTuple):
    """Where in a source something is.

    ``scope`` is the dotted name of the function or class, empty for the module itself. It runs
    only if in each group of ``instead_of`` something can't be imported.
    """

    when: When = When.AT_START
    scope: str = ""
    instead_of: tuple[tuple[Wanted, ...], ...] = ()

    def under(self, when: When) -> "Place":
        """Give this place in further circumstances."""
        return self._replace(when=self.when | when)

    def within(self, name: str) -> "Place":
        """Give the place of what the function or class ``name`` holds."""
        return self._replace(scope=f"{self.scope}.{name}" if self.scope else name)


@dataclass(slots=True)
class Source:
    """What a source imports, with the lines, and what it adds to ``sys.path``."""

    text: bytes
    imports: list[tuple[Wanted, int, Place]] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)  # names of the module, other than by imports
    added: list[ast.expr] = field(default_factory=list)
    values: dict[str, ast.expr] = field(default_factory=dict)

    def may_have(self, name: str) -> bool:
        """Tell whether ``name`` may be an attribute of this module."""
        return (
            name in self.defined
            or not name.isascii()  # may be written in another encoding
            or name.startswith("__")
            or re.search(rb"(?<!\w)%s(?!\w)" % name.encode(), self.text) is not None
            or _CONJURES_NAMES.search(self.text) is not None
            or conjures_modules(self.text)
        )

    def may_provide(self, module: str) -> bool:
        """Tell whether this may put ``module`` into `sys.modules`, or into its package."""
        name = module.encode(errors="replace")
        if b"sys.modules" in self.text and re.search(
            rb"[\"']%s[.\"']" % re.escape(name), self.text
        ):
            return True
        *parents, last = name.split(b".")
        end = b".".join([*parents[-1:], last])
        return (
            bool(parents)
            and end in self.text  # quick, and seldom so
            and re.search(rb"\b%s\s*=[^=]" % re.escape(end), self.text) is not None
        )

    def added_folders(self, file: str, working_folder: str) -> set[str | None]:
        """Give what is added to the search path; None stands for what can't be known."""
        values = {**self.values, "__file__": ast.Constant(file)}
        paths = {_path(expression, values, 0) for expression in self.added}
        if _has_any(self.text, (b"meta_path", b"path_hooks")):
            paths.add(None)
        return {_joined([working_folder, path]) for path in paths}


def conjures_modules(text: bytes) -> bool:
    """Tell whether a module of this text may make modules appear that have no file."""
    return _has_any(text, _CONJURES_MODULES) or (
        b"__path__" in text and _CHANGES_PATH.search(text) is not None
    )


def _has_any(text: bytes, words: Iterable[bytes]) -> bool:
    return any(word in text for word in words)


def check(text: bytes) -> None:
    """Raise `Unreadable` when an import of this text would fail before it runs."""
    with _explained():
        compile(text, "app", "exec", dont_inherit=True)


def read(text: bytes, package: str, *, factory: str | None = None) -> Source:
    """Read a source whose relative imports start at ``package``; raises `Unreadable`.

    ``factory`` names the function of it that is called at the start.
    """
    with _explained():
        tree = ast.parse(text)
        compile(tree, "app", "exec", dont_inherit=True)  # finds more: a return outside a function
        return _Reader(text, package).read(tree, factory)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except SyntaxError as error:
        raise Unreadable(f"{type(error).__name__}: {error.msg}", error.lineno) from error
    except ValueError as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    except (RecursionError, MemoryError, OverflowError) as error:
        raise Unreadable("it is nested too deeply", skipped=True) from error


class _Reader:
    """Goes through a syntax tree without recursion: the trees of generated files are deep."""

    def __init__(self, text: bytes, package: str) -> None:
        self._source = Source(text)
        self._package = package
        self._deep = _has_any(text, _DEEP)
        self._returns: dict[str, int] = {}  # by scope: the first line

    def read(self, tree: ast.Module, factory: str | None) -> Source:
        stack: list[tuple[ast.AST, Place]] = [(tree, Place())]
        while stack:
            node, place = stack.pop()
            self._note(node, place)
            stack += [(part, at) for nodes, at in self._inside(node, place) for part in nodes]
        for number, (wanted, line, place) in enumerate(self._source.imports):
            if place.scope == factory:
                skipped = line > self._returns.get(factory, line)
                when = place.when & ~When.LATER | (When.CONDITIONAL if skipped else 0)
                self._source.imports[number] = (wanted, line, place._replace(when=when))
        return self._source

    def _inside(self, node: ast.AST, place: Place) -> list[tuple[Iterable[ast.AST], Place]]:
        """Give the parts of ``node`` that matter, each group with its place."""
        if not (self._deep or hasattr(node, "body") or isinstance(node, ast.Match)):
            return []
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                # a try around a function catches nothing that happens when it is called
                when = place.when & When.CONDITIONAL | When.LATER
                return [(node.body, place._replace(when=when).within(node.name))]
            case ast.ClassDef():
                return [(node.body, place.within(node.name))]
            case ast.If():
                truth = _truth(node.test)
                branches = ((node.body, True), (node.orelse, False))
                at = place.under(When.CONDITIONAL) if truth is None else place
                return [(body, at) for body, taken in branches if truth in (taken, None)]
            case ast.Try() | ast.TryStar():
                tried = place.under(_caught(node.handlers))
                imports = (s for s in node.body if isinstance(s, ast.Import | ast.ImportFrom))
                group = tuple(wanted for s in imports for wanted in self._wanted(s))
                instead = place._replace(instead_of=(*place.instead_of, group))
                perhaps = place.under(When.CONDITIONAL)
                handlers = [
                    ([handler], instead if _catches(handler.type) > When.CONDITIONAL else perhaps)
                    for handler in node.handlers
                ]
                return [(node.body + node.orelse, tried), *handlers, (node.finalbody, place)]
            case ast.With() | ast.AsyncWith():
                return [(node.items, place), (node.body, place.under(_suppressed(node.items)))]
        at = place.under(When.CONDITIONAL) if isinstance(node, _PERHAPS) else place
        return [(ast.iter_child_nodes(node), at)]

    def _note(self, node: ast.AST, place: Place) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._source.imports += [(w, node.lineno, place) for w in self._wanted(node)]
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if not place.scope:
                self._source.defined.add(name)
            case ast.Return():
                line = self._returns.get(place.scope, node.lineno)
                self._returns[place.scope] = min(line, node.lineno)
            case ast.Assign(targets=[target]) | ast.AugAssign(target=target):
                whole = target.value if isinstance(target, ast.Subscript) else target
                if _dotted(whole) == "sys.path":
                    self._source.added += _elements(node.value)
                elif isinstance(target, ast.Name):
                    twice = target.id in self._source.values
                    value = ast.Constant(None) if twice or not self._deep else node.value
                    self._source.values[target.id] = value
                    self._source.defined |= set() if place.scope else {target.id}
            case ast.Call():
                self._note_call(node, place)

    def _note_call(self, node: ast.Call, place: Place) -> None:
        called = _dotted(node.func)
        elements = [part for argument in node.args for part in _elements(argument)]
        if called in _ADDS:
            self._source.added += elements[called == "sys.path.insert" :]  # without the index
        elif called in _IMPORTS:
            match node.args, node.keywords:  # relative ones depend on what the app passes
                case ([ast.Constant(value=str(module)), *others], []) if len(others) < 4:
                    if not module.startswith("."):
                        self._source.imports.append((Wanted(module), node.lineno, place))

    def _wanted(self, node: ast.Import | ast.ImportFrom) -> list[Wanted]:
        if isinstance(node, ast.Import):
            return [Wanted(alias.name) for alias in node.names]
        module = node.module or ""
        if node.level:
            parents = [part for part in self._package.split(".") if part]
            kept = parents[: len(parents) - node.level + 1]
            inside = ".".join([*kept, module] if module else kept)
            module = inside if node.level <= len(parents) else "." * node.level + module
        return [Wanted(module, alias.name) for alias in node.names]


def _dotted(node: ast.AST | None) -> str:
    """Give ``a.b.c`` for such an expression, and an empty text for any other."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.List | ast.Tuple) else [node]


def _catches(node: ast.expr | None) -> When:
    """Tell what ``except node`` does about a failed import; CONDITIONAL: that isn't known."""
    if isinstance(node, ast.Tuple):
        return max(map(_catches, node.elts), default=When.AT_START)
    name = _dotted(node).removeprefix("builtins.")
    if node is None or name in ("Exception", "BaseException"):
        return When.CAUGHT_ALL
    if name in ("ImportError", "ModuleNotFoundError"):
        return When.CAUGHT_IMPORT
    return When.AT_START if hasattr(builtins, name) else When.CONDITIONAL


def _caught(handlers: list[ast.ExceptHandler]) -> When:
    for handler in handlers:
        if caught := _catches(handler.type):
            last = handler.body[-1]
            call = last.value if isinstance(last, ast.Expr) else None
            ends = isinstance(call, ast.Call) and _dotted(call.func) in _LEAVES
            return When.AT_START if ends or isinstance(last, ast.Raise) else caught
    return When.AT_START


def _suppressed(items: list[ast.withitem]) -> When:
    calls = [item.context_expr for item in items if isinstance(item.context_expr, ast.Call)]
    suppressing = [c for c in calls if _dotted(c.func) in ("suppress", "contextlib.suppress")]
    caught = [_catches(argument) for call in suppressing for argument in call.args]
    return max(caught, default=When.AT_START)


def _truth(test: ast.expr) -> bool | None:
    """Decide a condition on the platform, the version and the like; None: not decided."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            truth = _truth(operand)
            return None if truth is None else not truth
        case ast.BoolOp(op=op, values=values):
            truths = [_truth(value) for value in values]
            decisive = isinstance(op, ast.Or)
            return decisive if decisive in truths else None if None in truths else not decisive
    try:
        match test:
            case ast.Compare(left=left, ops=[comparison], comparators=[right]):
                return bool(_OPERATORS[type(comparison)](_value(left), _value(right)))
            case ast.Call(func=ast.Attribute(value=text, attr="startswith"), args=[start]):
                return str(_value(text)).startswith(_value(start))
        return bool(_value(test))
    except (KeyError, TypeError, ValueError):
        return None


def _value(node: ast.expr) -> Any:
    text = ast.unparse(node)
    text = "TYPE_CHECKING" if text.endswith(".TYPE_CHECKING") else text
    return _FACTS[text] if text in _FACTS else ast.literal_eval(node)


def _path(node: ast.expr, values: dict[str, ast.expr], depth: int) -> str | None:
    """Give the path that an expression such as ``os.path.dirname(__file__)`` stands for."""
    if depth > _NESTED_MAX:
        return None
    of = partial(_path, values=values, depth=depth + 1)
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) if name in values:
            return of(values[name])
        case ast.Attribute(value=inner, attr="parent"):
            return _joined([of(inner), os.pardir])
        case ast.BinOp(op=ast.Div(), left=left, right=right):
            return _joined([of(left), of(right)])
        case ast.Call(func=ast.Attribute(value=inner, attr="resolve" | "absolute"), args=[]):
            return of(inner)
        case ast.Call(func=function, args=[first, *others]):
            name = _dotted(function).rpartition(".")[2]
            if name == "dirname":
                return _joined([of(first), os.pardir])
            if name in ("join", "Path"):
                return _joined([of(first), *map(of, others)])
            return of(first) if name in _KEEPS_PATH else None
    return None


def _joined(parts: list[str | None]) -> str | None:
    """Join paths as text: a symbolic link on the way is not looked at."""
    known = [part for part in parts if part is not None]
    return os.path.normpath(os.path.join(*known)) if len(known) == len(parts) else None
