"""The stand-in: answers the port of every app that does not serve, with 503 and the reason.

May use `values`, `process`, `server` and `worker`. Start with `entry`, the process; `page` has what
it answers.
"""
