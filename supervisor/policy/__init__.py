"""Decisions, as pure tables: what happens next to an app, a worker, a deploy, the ports.

May use `values` and `config`. Nothing here reads a clock, a file or a random number: they come in
as arguments. Start with `process_state` (the state and its events) and then
`process_transitions.step`, the table of (state, event).
"""
