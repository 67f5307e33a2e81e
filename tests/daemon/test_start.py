"""What a worker finds when it starts."""

from harness import Project, ask

GARBAGE = """
import gc
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return {"enabled": gc.isenabled(), "frozen": gc.get_freeze_count()}
"""


def test_garbage_is_collected_in_apps_but_not_in_what_they_share(project: Project) -> None:
    """Collecting is off only while the supervisor loads; what it loaded stays out of it."""
    port = project.app("coach", GARBAGE)
    running = project.start()
    running.wait_for("coach", state="ready")
    found = ask(port).json
    assert found["enabled"] is True
    assert found["frozen"] > 10_000
