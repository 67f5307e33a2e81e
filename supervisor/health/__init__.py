"""Health: the status app on its own port, checks, facts, metrics, and messages to people.

May use everything up to `worker`, and `policy`. Start with `status_worker`, which serves it all,
and `live_checks`, which runs it: `check_runner` runs the checks of `required_checks`,
`host_watcher` reads the machine, `notifier` tells people of changes, `metrics_text` renders for
Prometheus. `checks` has a function for each kind of check, `app_check` finds out whether an app can
be imported, `probe` sends HTTP requests to an app, `status_client` asks status ports for commands.
"""
