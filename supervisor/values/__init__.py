"""Values that every package speaks in: states, reports, events, errors, redaction, metrics.

Uses nothing but the standard library, and nothing here does IO. Start with `reports`: an app's
`AppState`, the `Cause` that people read, and the `ImportReport` of a failed import.
"""
