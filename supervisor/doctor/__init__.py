"""`flask-supervisor doctor`: diagnoses what commonly keeps a supervisor from working.

May use everything up to `systemd`, and changes nothing. Start with `machine`, which runs all
diagnoses in their order; `ports` diagnoses the ports, `service` the systemd unit.
"""
