"""What every table of this package raises for a pair of state and event that it doesn't know."""


class IllegalTransition(Exception):
    """An event came in a state in which it can't come: a defect of the caller."""
