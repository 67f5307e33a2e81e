"""The list of operations: what each takes and answers, declared where it is done."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, abort, request

from apps.admin.access.guard import Right, needs

PREFIX = "/api/v1"
NUMBER_MAX = 2**31

api = Blueprint("api", __name__, url_prefix=PREFIX)

Schema = dict[str, Any]
View = Callable[..., Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX}
OBJECT: Schema = {"type": "object"}


def maybe(schema: Schema) -> Schema:
    """Return the schema of what may be null too."""
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def record(optional: tuple[str, ...] = (), **fields: Schema) -> Schema:
    """Return the schema of an object; all fields but the ``optional`` ones are always there."""
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": fields, **({"required": required} if required else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path; schemas are those of JSON Schema."""

    name: str
    method: str
    path: str  # as Flask writes it, below `PREFIX`
    summary: str
    right: Right
    status: int
    answer: Schema
    errors: dict[int, str]
    query: dict[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    form: Schema | None = None  # multipart/form-data


OPERATIONS: list[Operation] = []

_ALWAYS = {
    503: "the supervisor does not answer",
}
_CLOSED = {
    401: "no token, or one that is not known",
    403: "the token may not do this",
}


def operation(
    method: str,
    path: str,
    summary: str,
    *,
    right: Right,
    answer: Schema,
    status: int = 200,
    errors: dict[int, str] | None = None,
    query: dict[str, Schema] | None = None,
    body: Schema | None = None,
    form: Schema | None = None,
) -> Callable[[View], View]:
    """Register a view as an operation; its name is that of the function."""
    found = dict(_ALWAYS if right is not Right.NONE else {})
    found |= _CLOSED if right is not Right.NONE else {}
    if query or body or form:
        found[400] = "a parameter is missing, or not as described"
    if body or form:
        found |= {413: "it is too large", 415: "the body has another type"}
    if "<" in path:
        found[404] = "there is no such thing"

    def add(view: View) -> View:
        OPERATIONS.append(
            Operation(
                name=view.__name__,
                method=method,
                path=path,
                summary=summary,
                right=right,
                status=status,
                answer=answer,
                errors={**found, **(errors or {})},
                query=query or {},
                body=body,
                form=form,
            )
        )
        return api.route(path, methods=[method])(needs(right)(view))

    return add


def number(name: str, default: int = 0) -> int:
    """Return a query parameter that is a whole number; aborts with 400 for anything else."""
    given = request.args.get(name)
    if given is None:
        return default
    if not given.isascii() or not given.isdecimal() or int(given[:12]) > NUMBER_MAX:
        abort(400, f'"{name}" has to be a whole number')
    return int(given)


def words(name: str) -> str:
    """Return a query parameter that has to be there; aborts with 400."""
    given = request.args.get(name)
    if not given:
        abort(400, f'"{name}" is missing')
    return given


def fields(**kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """Return the fields of the request's JSON object; aborts with 400 where they differ.

    A field of type ``str`` has to be a text that isn't empty.
    """
    try:
        content = request.get_json()
        json.dumps(content, ensure_ascii=False).encode()
    except (RecursionError, UnicodeEncodeError):
        abort(400, "the body is nested too deeply, or has half a character (a lone surrogate)")
    if not isinstance(content, dict):
        abort(400, "the body has to be a JSON object")
    for name in content:
        if name not in kinds:
            abort(400, f'"{name}" is not known; known: {", ".join(kinds)}')
    for name, kind in kinds.items():
        if not isinstance(content.get(name), kind) or content[name] == "":
            abort(400, f'"{name}" has to be a text' if kind is str else f'"{name}" is not right')
    return content
