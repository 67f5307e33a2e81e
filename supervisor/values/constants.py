"""Numbers and names that several packages share."""

HEARTBEAT_S = 2.0  # between two heartbeats of a worker
SNAPSHOT_MAX_AGE_S = 15.0  # an unchanged one is pushed again: its restarts and latencies age
SWAP_FOLDER = ".flask-supervisor-swap"  # in an app's folder, while a release is swapped in
STAND_IN_HEADER = "X-Flask-Supervisor"  # of the stand-in's answers, and of no other
IMPORT_TAKES_LONG = "its import takes long"  # a reason begins so, but the app is not broken
