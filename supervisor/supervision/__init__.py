"""One process of the configuration, as the main process sees it, and the set of all.

Owns ports and workers, and carries out what `policy` decides. May use everything up to `releases`.
Start with `app_process`; `process_set` makes one for each process of the configuration.
"""
