"""Files: writes that survive a power cut, the state folder, text that people write.

May use `values`. Start with `atomic_file`, which writes every file that has to last; `state_dir`
knows the layout of the supervisor's folder and locks it; `text` reads what an editor saved.
"""
