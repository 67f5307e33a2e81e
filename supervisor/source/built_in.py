"""Which modules Python has in itself: no file of an app can replace them."""

import sys
from importlib.machinery import FrozenImporter

_BUILT_IN = frozenset({*sys.builtin_module_names, "__main__", "encodings"})


def is_built_in(name: str) -> bool:
    """Return whether the top-level module ``name`` is there before any folder is searched."""
    return name in _BUILT_IN or FrozenImporter.find_spec(name) is not None


def hidden_text(file: str) -> str:
    """Return what is wrong with an app's own ``file`` whose module Python has in itself."""
    return f"your {file} is hidden by Python's own module of that name: rename it"
