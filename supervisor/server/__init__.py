"""HTTP: waitress, extended by limits, an own loop, a drain and metrics.

May use `values`. Start with `server.Server`. Runs in workers, so it needs the standard library and
waitress alone.
"""
