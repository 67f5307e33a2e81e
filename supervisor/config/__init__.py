"""The configuration: its keys, reading it from every source, its history, its last good text.

May use `values`, `files` and `process`. Start with `settings`, which has one class a table and one
field a key; `reader.load` reads a file into it.
"""
