"""Who may do what: the password and the tokens, sessions, and the guard before every view.

Start with `guard`; `store` keeps the files, `login` is the page, `throttle` slows down guessing.
"""
