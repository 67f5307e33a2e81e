"""What runs inside a worker: the isolated import, the apps that it hosts, heartbeats, its end.

May use `values`, `process`, `ports`, `source`, `systemd` (hand-over) and `server`, and nothing
from outside but the standard library and waitress: a worker may run on an app's own interpreter.
Start with `entry`.
"""
