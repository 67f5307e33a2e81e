"""systemd: notifications, its file descriptor store, the hand-over between main processes, install.

May use `values`, `files`, `process`, `ports` and `config`. Start with `unit`, the main process as
a service; `installation` and `unit_file` are for `flask-supervisor service`.
"""
