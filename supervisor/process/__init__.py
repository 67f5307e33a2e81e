"""Processes: fork them safely, exchange messages with them, see that they live and how they ended.

May use `values`. Start with `fork.fork_child`, which forks every worker, and
`throwaway.run_in_child`, which runs a function that may block in a throw-away child. No module here
knows what an app is.
"""
