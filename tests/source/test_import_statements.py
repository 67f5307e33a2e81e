"""What a source imports, and when, is read from its text; what it doesn't tell stays open."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.source.import_statements import Unreadable, Wanted, When, read

TRY = "try:\n    import gone\nexcept {}:\n    {}\n"
NOW, PERHAPS, LATER, CAUGHT = When

# the source, and when it imports the modules `gone` and `lost`
WHEN = [
    ("import gone", [NOW]),
    ("import gone as lost", [NOW]),
    ("from gone import *", [NOW]),
    ("class A:\n    import gone", [NOW]),
    ("with open(__file__):\n    import gone", [NOW]),
    # functions
    ("def go():\n    import gone", [LATER]),
    ("async def go():\n    with x:\n        import gone", [LATER]),
    ("class A:\n    def go(self):\n        from gone import x", [LATER]),
    ("if x:\n    def go():\n        import gone", [LATER]),
    ("try:\n    def go():\n        import gone\nexcept ImportError:\n    pass", [LATER]),
    (
        "def go():\n    try:\n        import gone\n    except ImportError:\n        pass",
        [CAUGHT],
    ),
    # guards
    (TRY.format("ImportError", "gone = None"), [CAUGHT]),
    (TRY.format("builtins.ModuleNotFoundError", "pass"), [CAUGHT]),
    (TRY.format("(OSError, ImportError)", "pass"), [CAUGHT]),
    (TRY.format("Exception as error", "print(error)"), [CAUGHT]),
    (TRY.format("(ImportError, BaseException)", "pass"), [CAUGHT]),
    ("try:\n    import gone\nexcept:\n    pass", [CAUGHT]),
    (TRY.format("ImportError", "if x:\n        raise"), [CAUGHT]),
    ("with contextlib.suppress(ImportError):\n    import gone", [CAUGHT]),
    ("with suppress(OSError):\n    import gone", [CAUGHT]),
    (TRY.format("ValueError", "pass"), [NOW]),
    (TRY.format("SOME_ERRORS", "pass"), [CAUGHT]),
    (TRY.format("ImportError", "raise"), [NOW]),
    (TRY.format("ImportError as error", "raise SystemExit from error"), [NOW]),
    (TRY.format("ImportError", "print(1); sys.exit('no')"), [NOW]),
    (TRY.format("ImportError", "raise\nexcept Exception:\n    pass"), [NOW]),
    ("try:\n    x\nexcept ValueError:\n    import gone", [PERHAPS]),
    ("try:\n    x\nfinally:\n    import gone", [NOW]),
    ("try:\n    x\nexcept ImportError:\n    pass\nelse:\n    import gone", [CAUGHT]),
    ("try:\n    x\nexcept* Exception:\n    import gone", [PERHAPS]),
    # conditions
    ("if TYPE_CHECKING:\n    import gone", []),
    ("if typing.TYPE_CHECKING:\n    import gone\nelse:\n    import lost", [NOW]),
    ("if not t.TYPE_CHECKING:\n    import gone", [NOW]),
    ("if sys.platform == 'win32':\n    import gone", []),
    ("if os.name == 'nt':\n    import gone", []),
    ("if os.name == 'posix' and x:\n    import gone", [PERHAPS]),
    ("if sys.version_info < (3, 8):\n    import gone\nelif x:\n    import lost", [PERHAPS]),
    ("if sys.version_info[0] == 2:\n    import gone", []),
    ("if sys.version_info >= 'x':\n    import gone", [PERHAPS]),
    ("if __name__ == '__main__':\n    import gone", []),
    ("if 0:\n    import gone", []),
    ("if x:\n    import gone\nelse:\n    import lost", [PERHAPS, PERHAPS]),
    ("for x in y:\n    import gone", [PERHAPS]),
    ("while True:\n    import gone", [PERHAPS]),
    ("match x:\n    case 1:\n        import gone", [PERHAPS]),
    # calls
    ("importlib.import_module('gone')", [PERHAPS]),
    ("x = f(lambda: __import__('gone'))", [PERHAPS]),
    ("x = y and importlib.import_module('gone')", [PERHAPS]),
    ("def go():\n    return [import_module('gone') for x in y]", [PERHAPS]),
    ("importlib.import_module(gone)", []),
    ("importlib.import_module('.gone', 'lost')", []),
]


@pytest.mark.parametrize(("source", "expected"), WHEN)
def test_when_an_import_runs(source: str, expected: list[When]) -> None:
    """The statements around an import decide when it runs, and whether a failure is caught."""
    found = [w for w in read(source.encode(), "app").imports if w[0].module in ("gone", "lost")]
    assert sorted(place.when for _, _, place in found) == expected


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import a.b, c as d", "", [Wanted("a.b"), Wanted("c")]),
        ("from a.b import c, d as e", "x.y", [Wanted("a.b", "c"), Wanted("a.b", "d")]),
        ("from . import c", "x.y", [Wanted("x.y", "c")]),
        ("from .a import c", "x.y", [Wanted("x.y.a", "c")]),
        ("from ..a.b import *", "x.y", [Wanted("x.a.b", "*")]),
        ("from ...a import c", "x.y", [Wanted("...a", "c")]),
        ("from . import c", "", [Wanted(".", "c")]),
    ],
)
def test_what_an_import_wants(source: str, package: str, expected: list[Wanted]) -> None:
    """Relative imports start at the package, and keep their dots where they leave it."""
    assert [wanted for wanted, _, _ in read(source.encode(), package).imports] == expected


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("x = 1", "x", True),
        ("import y as x", "x", True),
        ("for x in y: pass", "x", True),
        ("def f():\n    global x", "x", True),
        ("x_y = 1", "x", False),
        ("", "x", False),
        ("", "__path__", True),
        ("from y import *", "x", True),
        ("def __getattr__(name): pass", "x", True),
        ("globals().update(y)", "x", True),
        ("sys.modules[__name__] = y", "x", True),
        ("", "größe", True),
    ],
)
def test_whether_a_module_may_have_a_name(source: str, name: str, expected: bool) -> None:
    """Only a text that doesn't mention the name, and does nothing dynamic, surely lacks it."""
    assert read(source.encode(), "").may_have(name) is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sys.path.insert(0, '/opt/lib')", {"/opt/lib"}),
        ("sys.path += ['lib', '/opt/./lib/']", {"/app/lib", "/opt/lib"}),
        ("sys.path[:0] = ['.']", {"/app"}),
        ("site.addsitedir('..')", {"/"}),
        ("sys.path.append(os.path.dirname(__file__))", {"/app/pkg"}),
        (
            "HERE = Path(__file__).resolve().parent\nsys.path.append(str(HERE / 'a' / 'b'))",
            {"/app/pkg/a/b"},
        ),
        ("def f():\n    sys.path.append(os.path.join(os.path.dirname(__file__), '..'))", {"/app"}),
        ("sys.path.append(os.environ['HOME'])", {None}),
        ("sys.path = [p for p in sys.path if p]", {None}),
        ("a = a\nsys.path.append(a)", {None}),
        ("a = '/x'\na = '/y'\nsys.path.append(a)", {None}),
        ("sys.meta_path.append(Finder())", {None}),
        ("print(sys.path)", set()),
    ],
)
def test_what_is_added_to_the_search_path(source: str, expected: set[str | None]) -> None:
    """Simple expressions are understood, others are known to be unknown."""
    assert read(source.encode(), "").added_folders("/app/pkg/x.py", "/app") == expected


@pytest.mark.parametrize(
    ("text", "line", "skipped"),
    [
        (b"x = 1\ndef f(:\n", 2, False),
        (b"return 1", 1, False),
        (b"a = '\xff'", 1, False),
        (b"# coding: nonsense\n", None, False),
        (b"a = 1\0", None, False),
        (b"x = " + b"9" * 5000, 1, False),
        (b"-" * 200_000 + b"1", None, True),
        (b"x = 1" + b" + 1" * 20_000, None, True),
    ],
)
def test_what_cannot_be_compiled_is_refused(text: bytes, line: int | None, skipped: bool) -> None:
    """The error has the line where Python knows it; what is nested too deeply is skipped."""
    with pytest.raises(Unreadable) as raised:
        read(text, "")
    assert raised.value.skipped is skipped
    assert line is None or raised.value.line == line


@given(st.binary(max_size=200))
def test_no_bytes_break_it(text: bytes) -> None:
    """Whatever a file holds is read or refused."""
    try:
        ast.parse(text)
        compile(text, "", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        with pytest.raises(Unreadable):
            read(text, "")
    else:
        read(text, "")
