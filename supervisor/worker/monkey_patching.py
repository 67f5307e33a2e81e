"""Finds out whether an app has replaced Python's threads by green ones.

``gevent.monkey.patch_all()`` and ``eventlet.monkey_patch()`` make all threads of a process green:
they run only while the main thread waits in a function that is patched too. The main thread of a
worker does not: it waits in the real poll(2), so that a stuck app can't stop its heartbeats. Such
an app would never answer. What else these calls replace does no harm here.
"""

import _thread

from supervisor.worker.import_failure import TargetError

_start_new_thread = _thread.start_new_thread  # the real one: no app has been imported yet
_CALLS = {
    "gevent": ("gevent.monkey.patch_all()", "gevent.monkey.patch_all(thread=False)"),
    "eventlet": ("eventlet.monkey_patch()", "eventlet.monkey_patch(thread=False)"),
}


def has_green_threads() -> bool:
    """Return whether Python's threads have been replaced in this process."""
    return _thread.start_new_thread is not _start_new_thread


def green_threads_error() -> TargetError | None:
    """Return an error that says what to do, if Python's threads have been replaced."""
    if not has_green_threads():
        return None
    library = str(getattr(_thread.start_new_thread, "__module__", "")).partition(".")[0]
    call, instead = _CALLS.get(library, (f"a patch by {library or 'a library'}", ""))
    return TargetError(
        f"{call} replaces Python's threads, in which requests are answered here",
        f"remove it, or call {instead}" if instead else "leave Python's threads unpatched",
    )
