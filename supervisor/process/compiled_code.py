"""Lets imports withstand compiled files that a power cut has damaged.

Python writes ``__pycache__/*.pyc`` without syncing. One whose header is whole and whose rest is not
makes every import of its module fail for ever (EOFError: marshal data too short), though the source
beside it is good. Such a file is removed and told of on standard error, and the source is compiled.

`bin/flask-supervisor` and `venv_boot` run this module from its source: nothing else of ours may be
imported here.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source
from types import CodeType

_tell: Callable[[str], None] | None = None
_pid = 0
_installed = SourceFileLoader.get_code
# of Python itself, also where the script has run this module before
_get_code: Callable[[SourceFileLoader, str], CodeType | None]
_get_code = getattr(_installed, "__globals__", {}).get("_get_code", _installed)


def withstand_damage(tell: Callable[[str], None] | None = None) -> None:
    """Let every import of this process withstand damaged compiled files; forks inherit it.

    ``tell`` gets the text in this process, in place of standard error.
    """
    global _tell, _pid
    _tell, _pid = tell, os.getpid()
    SourceFileLoader.get_code = _code_or_recompiled  # type: ignore[method-assign,assignment]


def _code_or_recompiled(self: SourceFileLoader, fullname: str) -> CodeType | None:
    """Return the code of a module; see `importlib.abc.InspectLoader.get_code`."""
    try:
        return _get_code(self, fullname)
    except SyntaxError:
        raise  # of the source
    except Exception as error:  # noqa: BLE001 - whatever marshal makes of damaged data
        return _recompiled(self, fullname, error)


def _recompiled(loader: SourceFileLoader, fullname: str, error: Exception) -> CodeType | None:
    """Return code that is compiled from the source; raise ``error`` if that isn't possible."""
    source = loader.get_filename(fullname)
    compiled = cache_from_source(source)
    done = "removed"
    try:
        os.unlink(compiled)
    except FileNotFoundError:
        raise error from None  # it is the source that is broken
    except OSError as refused:  # a read-only disk, or another user's file
        done = f"ignored, since it can't be removed ({refused.strerror})"
        code: CodeType | None = loader.source_to_code(loader.get_data(source), source)
    else:
        code = _get_code(loader, fullname)
    text = f"the compiled file {compiled} is damaged ({error}): {done}"
    if _tell is not None and os.getpid() == _pid:
        _tell(text)
    else:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed at the start
            sys.stderr.write(f"{text}\n")
    return code
