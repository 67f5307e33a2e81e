"""The main process: one thread, one asyncio loop, every port; wires all the rest together.

May use everything up to `deploy`. Start with `loop.Supervisor`.
"""
