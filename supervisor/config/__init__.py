"""The configuration: its keys, reading and checking it, its history, the last good one.

May use `values`, `files` and `process`. Start with `settings`, which has one class a table and one
field a key; `reader.load` returns them for a file.
"""
