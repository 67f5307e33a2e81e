"""Keeps several Flask apps answering on their ports, whatever happens to one of them."""

__version__ = "0.1.0"
