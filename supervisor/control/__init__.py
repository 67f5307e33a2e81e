"""The control socket, and the methods that commands and apps call there.

May use everything up to `supervision`. Start with `methods`; `outcomes` waits for what follows a
request.
"""
