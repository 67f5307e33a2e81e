"""Prints docs/api.md."""

from apps.admin.api.openapi import markdown

print(markdown(), end="")
