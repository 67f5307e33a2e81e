"""Health: the status app on its own port, checks of what apps require, and probes of apps.

May use everything up to `worker`, and `policy`. Start with `status_worker`; `checks` has a function
for each kind of check, `app_check` finds out whether an app can be imported, `probe` sends HTTP
requests to an app.
"""
