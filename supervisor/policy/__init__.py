"""Decisions, as pure tables: what happens next to an app, a process, a worker, a deploy.

May use everything up to `config`. Nothing here reads a clock, a file or a random number: they come
in as arguments. Start with `app_state` and `process_state` (the states), then `app_transitions` and
`process_transitions` (what events do to them).
"""
