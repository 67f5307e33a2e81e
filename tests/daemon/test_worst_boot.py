"""A boot that finds everything wrong at once: what answers on each port, second by second."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import Project, eventually
from network_case import ABSENT

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
USES_HELPER = """
from flask import Flask
import helper
app = Flask(__name__)

@app.get("/")
def index():
    return helper.TEXT
"""
# Inside of the network namespace: each second what answers, as one line of JSON.
WATCHER = """
import http.client, json, sys, time
places = json.loads(sys.argv[1])
while True:
    seen = {}
    for name, (host, port) in places.items():
        connection = http.client.HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", "/readyz" if name == "status" else "/")
            answer = connection.getresponse()
            body = answer.read().decode()
            seen[name] = [answer.status, body if answer.status == 200 else json.loads(body)]
        except OSError as error:
            seen[name] = [type(error).__name__, ""]
        finally:
            connection.close()
    print(json.dumps(seen), flush=True)
    time.sleep(1)
"""


def mount(folder: Path, options: str) -> None:
    """Mount a small file system."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


@pytest.mark.root
@pytest.mark.debian("iproute2", program="ip")
@pytest.mark.debian("faketime")
def test_everything_is_wrong_at_once(project: Project) -> None:
    """A read-only state folder, a data disk that isn't mounted, truncated caches, a clock of 1970,
    an address that comes late: each port answers from the first second on, and each fault is over
    when its cause is."""
    project.bind = {"first_delay_s": 0.5, "max_delay_s": 1}
    state, data = project.folder / "state", project.folder / "data"
    state.mkdir()
    data.mkdir()
    project.supervisor["state_dir"] = str(state)
    ports = {
        "well": project.app("well"),
        "cached": project.app("cached", USES_HELPER),
        "late": project.app("late", host=ABSENT),
        "on_disk": project.app("on_disk", path="data"),
    }
    app_on_disk = project.file("on_disk").read_text()
    project.file("cached", "helper.py").write_text("TEXT = 'helped'\n")
    for file in project.file("cached").parent.iterdir():
        os.utime(file, (1e9, 1e9))
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", project.folder / "cached"], check=True
    )
    for file in project.folder.glob("cached/__pycache__/*.pyc"):
        os.truncate(file, 40)
    mount(state, "size=1m,ro")
    up = 'ip link set lo up && exec "$@"'
    clock = project.folder / "clock"
    clock.write_text("@1970-01-01 00:00:10\n")
    running = project.start(
        prefix=["unshare", "--net", "--", "sh", "-c", up, "sh"],
        wait=False,
        env={
            "LD_PRELOAD": FAKETIME,
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    inside = ["nsenter", f"--net=/proc/{running.process.pid}/ns/net", "--"]
    places = {name: ("127.0.0.1", port) for name, port in ports.items()}
    places |= {"late": (ABSENT, ports["late"]), "status": ("127.0.0.1", project.status_port)}
    eventually(lambda: running.log, what="it is in its network namespace")
    watcher = subprocess.Popen(
        [*inside, sys.executable, "-c", WATCHER, json.dumps(places)],
        stdout=subprocess.PIPE,
        text=True,
    )
    began = time.monotonic()

    def seen(**expected: str | int) -> dict[str, list[object]]:
        """Read on until the ports answer as expected; print each second."""
        for line in watcher.stdout:  # type: ignore[union-attr]
            found: dict[str, list[object]] = json.loads(line)
            states = {name: answer for name, (answer, _) in found.items()}
            print(f"{time.monotonic() - began:5.1f} s  {states}")
            if {name: states[name] for name in expected} == expected:
                return found
            assert time.monotonic() < began + 90, found
        raise AssertionError("the watcher has ended")

    try:
        found = seen(well=200, cached=200, on_disk=503, status=503)
        assert found["cached"] == [200, "helped"]
        assert found["late"][0] == "OSError"  # no route: the address is nobody's
        assert "on_disk" in found["on_disk"][1]["detail"]  # type: ignore[index]
        reasons = found["status"][1]["not_ready"]  # type: ignore[index]
        assert set(reasons) == {"late", "on_disk"}
        assert "no network interface has this address yet" in reasons["late"]
        subprocess.run([*inside, "ip", "address", "add", f"{ABSENT}/32", "dev", "lo"], check=True)
        seen(well=200, cached=200, late=200, on_disk=503)
        mount(data, "size=1m")
        (data / "on_disk.py").write_text(app_on_disk)
        seen(well=200, cached=200, late=200, on_disk=200, status=200)
        clock.write_text("+0\n")
        subprocess.run(["mount", "-o", "remount,rw", str(state)], check=True)
        eventually(lambda: (state / "control.sock").is_socket(), timeout_s=30)
        seen(well=200, cached=200, late=200, on_disk=200, status=200)
        assert "is damaged (" in running.log
        assert "the state folder can't be used: its disk is read-only" in running.log
        assert "the state folder is in use again" in running.log
    finally:
        watcher.kill()
        watcher.communicate()
        running.stop()
        for folder in (state, data):
            while folder.is_mount():
                subprocess.run(["umount", "--lazy", str(folder)], check=True)
