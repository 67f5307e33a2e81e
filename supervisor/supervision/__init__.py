"""The processes of the configuration as the main process runs them: apps, ports, workers.

Turns what happens into events and carries out what `policy` decides. May use everything up to
`releases`. Start with `app_process` and the `process_core` inside of it; `process_set` makes one
for each process of the configuration, `runtime` is what all of them use.
"""
