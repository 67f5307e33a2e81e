"""Files that survive a power cut: atomic writes, and the state folder.

May use `values`. Start with `atomic_file`, which writes every file that has to last; `state_dir`
knows the layout of the supervisor's folder and locks it.
"""
