"""The shapes of answers that several operations share; docs/health.md describes their fields."""

from apps.admin.api.operations import NUMBER, OBJECT, TEXT, Schema, list_of, maybe, record

LEVEL: Schema = {"type": "string", "enum": ["pass", "warn", "fail"]}
AGE: Schema = maybe({"type": "number"})

APP = record(
    status=LEVEL,
    state=TEXT,
    serving=TEXT,
    port=maybe(NUMBER),
    reason=maybe(TEXT),
    hint=maybe(TEXT),
    requests=OBJECT,
    memory_mb=AGE,
    release=maybe(OBJECT),
)
CHECK = record(status=LEVEL, reason=maybe(TEXT), hint=maybe(TEXT))
EVENT = record(time=TEXT, age_s=AGE, app=maybe(TEXT), kind=TEXT, text=TEXT)
SAMPLE = record(
    age_s={"type": "number"},
    level=maybe(LEVEL),
    requests=maybe({"type": "integer"}),
    latency_ms=AGE,
    memory_mb=AGE,
)
LINE = record(number=NUMBER, app=TEXT, time=TEXT, text=TEXT, output={"type": "boolean"})
RELEASE = record(name=TEXT, digest=TEXT, created=TEXT, live={"type": "boolean"})
DIFFERENCE = record(added=list_of(TEXT), removed=list_of(TEXT), changed=list_of(TEXT))
SNAPSHOT = record(
    status=LEVEL,
    version=TEXT,
    apps={"type": "object", "additionalProperties": APP},
    checks={"type": "object", "additionalProperties": CHECK},
    events=list_of(EVENT),
)
DEPLOY = record(
    running={"type": "boolean"},
    what=maybe(TEXT),
    app=maybe(TEXT),
    lines=list_of(OBJECT),
    last=NUMBER,
    outcome=maybe(OBJECT),
)
TOKEN = record(id=TEXT, name=TEXT, right=TEXT, created=TEXT, last_used=maybe(TEXT))
BEGUN = record(app=TEXT, begun={"type": "boolean"})
PROBLEM = record(("detail", "code", "hint"), title=TEXT, status=NUMBER, detail=maybe(TEXT))
