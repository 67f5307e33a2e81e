"""Copies of an app's code: kept, compared, unpacked, put in place, taken back.

May use everything up to `health`. Runs in throw-away children only. Start with `operations`, which
says what is done with an app's files; `store` keeps the copies and `swap` replaces the live ones.
"""
