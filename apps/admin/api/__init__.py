"""``/api/v1``: all that the pages do, for programs.

`operations` is the list of what there is, `openapi` makes the document of it, `views` and
`changing` answer. ``python -m apps.admin.api`` prints docs/api.md.
"""

from apps.admin.api import changing, views
from apps.admin.api.operations import api

__all__ = ["api", "changing", "views"]
