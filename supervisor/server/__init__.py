"""HTTP: waitress, extended by a loop, a drain, limits and metrics of our own.

May use `values`. Start with `server.Server`. It runs in workers, so it needs the standard library
and waitress alone.
"""
