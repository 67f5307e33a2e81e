"""The OpenAPI document, and docs/api.md: both made of the list of operations."""

import re
from typing import Any

from apps.admin.access.guard import Right
from apps.admin.api import schemas
from apps.admin.api.operations import OPERATIONS, PREFIX, TEXT, Operation

_VERSION = "1"
_NAME = re.compile(r"<(\w+)>")
_RIGHTS = {
    Right.NONE: "none",
    Right.GLANCE: "read (or nobody's, with `[admin] anonymous`)",
    Right.READ: "read",
    Right.OPERATE: "operate",
}
_PATTERNS = {
    "verb": {"type": "string", "enum": ["start", "stop", "restart", "reload"]},
}


def document() -> dict[str, Any]:
    """Return the OpenAPI document (version 3.1)."""
    paths: dict[str, dict[str, Any]] = {}
    for one in _in_order():
        path = _NAME.sub(r"{\1}", one.path)
        paths.setdefault(path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flask-supervisor",
            "version": _VERSION,
            "description": "All that the pages of the admin app do. Errors are problem documents "
            "(RFC 9457), also 404 for a path that is not here and 405 for another method.",
        },
        "servers": [{"url": PREFIX}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": schemas.PROBLEM},
        },
        "security": [{"token": []}],
        "paths": paths,
    }


def _in_order() -> list[Operation]:
    return sorted(OPERATIONS, key=lambda one: one.path)


def _operation(one: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "description": f"Right: {_RIGHTS[one.right]}.",
        "responses": {
            str(one.status): {
                "description": "done" if one.status != 202 else "begun",
                "content": {"application/json": {"schema": one.answer}},
            },
            **{str(status): _problem(why) for status, why in sorted(one.errors.items())},
        },
    }
    if one.right is Right.NONE:
        found["security"] = []
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PATTERNS.get(name, TEXT)}
        for name in _NAME.findall(one.path)
    ]
    for name, schema in one.query.items():
        plain = {key: value for key, value in schema.items() if key != "required"}
        required = schema.get("required", False)
        parameters.append({"name": name, "in": "query", "required": required, "schema": plain})
    if parameters:
        found["parameters"] = parameters
    for kind, taken in (("application/json", one.body), ("multipart/form-data", one.form)):
        if taken is not None:
            found["requestBody"] = {"required": True, "content": {kind: {"schema": taken}}}
    return found


def _problem(why: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": why, "content": {"application/problem+json": {"schema": schema}}}


def markdown() -> str:
    """Return docs/api.md."""
    return _HEAD + "".join(_section(one) for one in _in_order())


def _section(one: Operation) -> str:
    path = _NAME.sub(r"{\1}", one.path)
    parts = [f"## `{one.method} {path}`", f"{one.summary}.", f"Right: {_RIGHTS[one.right]}."]
    for title, taken in (("Body, JSON", one.body), ("Body, form", one.form)):
        if taken is not None:
            parts.append(f"{title}: {_names(taken['properties'])}.")
    if one.query:
        parts.append(f"Query: {_names(one.query)}.")
    properties = one.answer.get("properties")
    parts.append(f"Answers {one.status}: {_names(properties) if properties else 'an object'}.")
    if one.errors:
        rows = [f"| {status} | {why} |" for status, why in sorted(one.errors.items())]
        parts.append("\n".join(["| status | when |", "|---|---|", *rows]))
    return "\n" + "\n\n".join(parts) + "\n"


def _names(fields: dict[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in fields)


_HEAD = """\
# The API

The admin app answers programs at `/api/v1` on its port, with all that its pages do. An API token
comes from its Settings page; one that may `read` changes nothing. A program shows it with each
request: `curl -H "Authorization: Bearer $TOKEN" localhost:5000/api/v1/apps/coach`.

Errors are problem documents (RFC 9457, `application/problem+json`): `title`, `status`, `detail`,
and where the supervisor refused, its `code` and a `hint`; also 404 for a path that is not here, and
405, with `Allow`, for another method. A body may have 500,000 bytes, an archive 200 MiB. When the
supervisor doesn't answer, 503 comes within seconds. Nobody needs a token for
`/api/v1/openapi.json`, which describes all of this for programs.

This page is made of the same list: `python -m apps.admin.api > docs/api.md`.
"""
