"""Programs on ports (`command`) as a service: they outlive the main process, and its sandbox."""

from harness import ask, eventually
from machine import UNIT, Machine, kill_main, pause, systemctl, write_app, write_config
from program_case import SERVER
from test_continuity import check

PROGRAM = ["python", "api.py", "{fd}"]
BEFORE_S, AFTER_S = 0.3, 4.0  # the old worker serves for 2 s more, then its program drains


def test_a_hand_over(machine: Machine) -> None:
    """The program serves on until the next main process has one that is ready: nothing is lost."""
    write_app("api", SERVER)
    write_config({"api": {"port": 5001, "command": PROGRAM}})
    machine.start_anew()
    answer = eventually(lambda: (a := ask(5001)).status == 200 and a.json, timeout_s=30)
    assert answer["VIRTUAL_ENV"] == "/opt/flask-supervisor/venv"
    ends = {"kill -9 of the main process": kill_main, "restart": lambda: systemctl("restart", UNIT)}
    for what, end in ends.items():
        with machine.load("http://127.0.0.1:5001/") as met:
            pause(BEFORE_S)
            end()
            pause(AFTER_S)
        check(met, f"a program, {what}")
        assert ask(5001).json["pid"] != answer["pid"]
