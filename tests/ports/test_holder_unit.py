"""A port held by root's service, named to an ordinary user with its unit, by a real systemd."""

import json
import os
import subprocess
import sys

import pytest
from harness import REPOSITORY, free_ports
from operating_case import AS_USER, NOBODY, open_folder

UNIT = "old-server.service"

# Runs inside, as root: arguments are the folder, the port, and the command line of an ordinary
# user as a Python program with its first argument.
INSIDE = """
import json, os, socket, subprocess, sys, time

folder, port, program, uid = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
config = ["--config", folder + "/supervisor.toml"]

def command(*words, **options):
    words = [sys.executable, "-c", program, uid, *words, *config]
    return subprocess.run(words, capture_output=True, text=True, **options)

def until(probe):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.05)
    raise SystemExit(f"nothing came of {probe.__name__}: {last}")

def answers():
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            while client.recv(4096):  # it closes first: the TIME_WAIT is on its side
                pass
        return True
    except OSError:
        return False

last = None
def named():
    global last
    last = command("status")
    return "in use by a process" in last.stdout and last

def ready():
    global last
    last = command("status")
    return last.returncode == 0 and last

serve = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
subprocess.run(["systemd-run", "--quiet", "--unit=old-server.service", *serve], check=True)
until(answers)
found = {"doctor": command("doctor").stdout}
run = [sys.executable, "-c", program, uid, "run", *config]
with open(folder + "/log", "wb") as log:
    running = subprocess.Popen(run, stdout=log, stderr=log)
try:
    found["status"] = until(named).stdout
    found["as root"] = subprocess.run(
        [sys.executable, "-m", "supervisor", "doctor", *config], capture_output=True, text=True
    ).stdout
    [stop] = {line.strip() for line in found["status"].splitlines() if "free it with" in line}
    stop = stop.removeprefix("free it with: sudo ").split()
    subprocess.run(stop, check=True)  # the command it says to type does it
    found["ready"] = until(ready).stdout
    found["log"] = open(folder + "/log").read()
finally:
    running.terminate()
    running.wait(20)
print(json.dumps(found))
"""


@pytest.mark.root
@pytest.mark.debian("systemd", program="systemd-run")
def test_the_unit_is_named_to_an_ordinary_user() -> None:
    """`doctor` and a supervisor name the unit and the command that frees the port, which works."""
    port, status_port = free_ports(2)
    with open_folder() as folder:
        (folder / "coach.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
        (folder / "supervisor.toml").write_text(
            '[supervisor]\nhost = "127.0.0.1"\n[bind]\nfirst_delay_s = 0.5\nmax_delay_s = 0.5\n'
            f"[status]\nport = {status_port}\n"
            f'[apps.coach]\ntarget = "coach:app"\nport = {port}\n'
        )
        folder.chmod(0o777)
        result = subprocess.run(
            [
                *(REPOSITORY / "tests" / "systemd" / "with-systemd", "--"),
                *(sys.executable, "-c", INSIDE, folder, str(port), AS_USER, str(NOBODY)),
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "WITH_SYSTEMD_TIMEOUT": "100"},
            check=False,
        )
        if result.returncode == 77:
            pytest.skip(result.stderr)
        assert result.returncode == 0, result.stderr + result.stdout
    found = json.loads(result.stdout)
    hidden = "its pid is hidden from this user: use sudo to see it"
    holder = f"port {port} is in use by a process of user root (unit {UNIT}; {hidden})"
    for where in ("doctor", "status"):
        assert holder in found[where], where
        assert f"free it with: sudo systemctl stop {UNIT}" in found[where]
        assert "in TIME_WAIT never block it" in found[where]
    assert f"unit {UNIT})" in found["as root"]
    assert "(python" in found["as root"]
    assert holder in found["log"]
    assert "ready     app" in found["ready"]
