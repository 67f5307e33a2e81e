"""structlog for the log alone: apps that use it import theirs, as by hand.

structlog loads rich for console lines of its own wherever that is installed, which we don't use:
half a start's processor time, and memory of every worker. An app in a forked worker may want it.
"""

import sys

__all__ = ["structlog"]

_UNUSED = dict.fromkeys({"rich", "better_exceptions"} - sys.modules.keys())
_LOADED = [name for name in sys.modules if name.partition(".")[0] == "structlog"]

sys.modules.update(_UNUSED)  # type: ignore[arg-type]  # None: an import of it fails
try:
    import structlog
finally:
    for _name in _UNUSED:
        del sys.modules[_name]
if not _LOADED:
    for _name in [name for name in sys.modules if name.partition(".")[0] == "structlog"]:
        del sys.modules[_name]
