"""The command line: one module a group of commands, and what they print.

May use everything. Start with `main`, the group with `run` and `status`; each other command is
loaded when it is used.
"""
