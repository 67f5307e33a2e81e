"""systemd: notifications, sockets it keeps, handing over between main processes, installation.

May use `values`, `files`, `process`, `ports` and `config`. Start with `unit`, the main process as
a service; `installation` and `unit_file` are for `flask-supervisor service`.
"""
