"""The main process: one thread, one asyncio loop, every port; puts all parts together.

May use everything up to `deploy`. Start with `loop.Supervisor`, then `scheduler`, which says
what is done when.
"""
