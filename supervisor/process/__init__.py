"""Processes: forking one safely, talking to it, telling that it lives and how it ended.

May use `values`. Start with `fork.fork_child`, which makes every worker, and
`throwaway.run_in_child`, which runs a function that may block in a throw-away child. Nothing here
knows what an app is.
"""
