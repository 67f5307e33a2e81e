"""Files that outlive a power cut: the state folder, and writes that are whole or not there.

May use `values`. Start with `atomic_file`, which everything that lasts is written with;
`state_dir` says what lies where in the supervisor's folder.
"""
