"""Releases, the copies of an app's code: kept, compared, unpacked, put in place, taken back.

May use everything up to `health`. Runs in throw-away children only. Start with `operations`, which
keeps an app's files and puts new ones in place; `staging` brings a new version beside them,
`store` holds the releases, `swap` replaces the live files.
"""
