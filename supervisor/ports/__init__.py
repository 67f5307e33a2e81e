"""Listening sockets: bind them, and name the process that holds a port.

May use `values`. Start with `listeners.bind`; `conflict` puts what the kernel knows about a port
(`sock_diag`) into a sentence.
"""
