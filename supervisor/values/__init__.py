"""What all packages exchange: states, reports, events, errors, metrics, and redaction of secrets.

Uses only the standard library and does no IO. Start with `reports` (the `Cause` that people read,
the `ImportReport` of a failed import) and with `states`.
"""
