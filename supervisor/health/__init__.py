"""What monitors ask: the status app on its own port, and the checks of what apps require.

May use everything up to `worker`, and `policy`. Start with `status_worker`; `checks` has a function
for each kind of check, `app_check` imports an app to see whether it could serve.
"""
