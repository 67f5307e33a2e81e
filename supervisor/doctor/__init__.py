"""`flask-supervisor doctor`: looks for what commonly keeps a supervisor from working.

May use everything up to `systemd`, and changes nothing. Start with `machine`; `service` looks at
the systemd unit.
"""
