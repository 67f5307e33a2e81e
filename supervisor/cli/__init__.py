"""The command line: one module for each command or group of commands.

May use everything. Start with `main`, which has the table of commands and loads the module of a
command when the command is used. `options` has what commands take, `output` how they print.
"""
