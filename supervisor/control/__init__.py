"""The control socket: the server, and the methods behind the commands of operators.

May use everything up to `supervision`. Start with `methods`. The client is `supervisor.client`.
"""
