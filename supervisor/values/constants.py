"""Numbers and names that several packages have to agree on."""

HEARTBEAT_S = 2.0  # a worker sends a heartbeat this often
SNAPSHOT_MAX_AGE_S = 15.0  # then it is sent again: restarts and latencies age
SWAP_FOLDER = ".flask-supervisor-swap"  # in an app's folder, while a version is put in place
