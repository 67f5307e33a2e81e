"""Listening sockets: binding them, and naming the process that holds one.

May use `values`. Start with `listeners.bind`; `conflict` turns what the kernel says about a port
(`sock_diag`) into a sentence for people.
"""
