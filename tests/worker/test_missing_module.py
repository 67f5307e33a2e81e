"""Where a missing module is looked for on the disk, before pip is named."""

from pathlib import Path

import pytest
from importing_case import write

from supervisor.worker.missing_module import hint

PIP = "copy sensors.py beside the app, or install the package: pip install sensors"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("Sensors.py", "did you mean Sensors?"),
        ("sensor.py", "did you mean sensor? Else copy sensors.py"),
        ("sensors.py.txt", "rename sensors.py.txt to sensors.py"),
        ("sensors (1).py", "rename sensors (1).py to sensors.py"),
        ("sensors.pyw", "rename sensors.pyw to sensors.py"),
        ("sensors.ipynb", "sensors.ipynb is a notebook: save it as sensors.py"),
        ("sensors.pyc", "there is only the compiled sensors.pyc: copy sensors.py"),
        ("src/sensors.py", "it is in src/: let `path` of this app end in /src"),
        ("src/field/sensors.py", "it is in src/field/: let `path` of this app end in /src/field"),
        ("src/sensors/__init__.py", "it is in src/: let `path` of this app end in /src"),
        (
            "venv/lib/python3.11/site-packages/sensors/__init__.py",
            "it is installed in venv/: let `python` name venv/bin/python",
        ),
        ("node_modules/sensors.py", PIP),
        ("sensors.txt", PIP),
        ("a/b/c/sensors.py", PIP),
    ],
)
def test_a_module_that_lies_elsewhere(tmp_path: Path, file: str, says: str) -> None:
    """A file with a similar name, or in another folder, is named."""
    write(tmp_path, {file: ""})
    assert hint("sensors", tmp_path, "coach:app").startswith(says)


@pytest.mark.parametrize(
    ("file", "target", "says"),
    [
        ("coach.py", "Coach:app", 'write target = "coach:app"'),
        ("coach_app.py", "coach-app:app", 'write target = "coach_app:app"'),
        ("field/__init__.py", "feild.web:app", 'write target = "field.web:app"'),
    ],
)
def test_the_module_of_the_target(tmp_path: Path, file: str, target: str, says: str) -> None:
    """For the target itself the hint is the line to write."""
    write(tmp_path, {file: ""})
    assert hint(target.partition(":")[0].partition(".")[0], tmp_path, target) == says


@pytest.mark.parametrize(
    ("file", "missing", "says"),
    [
        ("scheduler.py", "schedule", "did you mean scheduler? Else copy schedule.py"),
        ("serials.py", "serial", "pip install pyserial"),  # a package that is known
        ("coach.py", "coach_", "pip install coach_"),  # an app doesn't mean itself
        ("Coach_Data.py", "coach_data", "did you mean Coach_Data?"),
    ],
)
def test_an_own_file_that_resembles_it(tmp_path: Path, file: str, missing: str, says: str) -> None:
    """A package may have nearly the name of a file of the app: the guess says what else to do."""
    write(tmp_path, {file: ""})
    found = hint(missing, tmp_path, "coach:app")
    assert says in found and (says[-1] != "?" or found == says)


INSTALLED = {
    "adafruit_dht": "pip install adafruit-circuitpython-dht",
    "libcamera": "sudo apt-get install python3-libcamera",
    "urllib2": "has urllib.request in its place",
    "reqeusts": "did you mean requests? Else copy reqeusts.py",
    "Flask": "did you mean flask? Else copy Flask.py",
    "config": "pip install config",
    "smbus2": "pip install smbus2",
    "distutils": "pip install setuptools",
    "picamera2": "sudo apt-get install python3-picamera2",  # beside a file camera.py
}


@pytest.mark.parametrize(("module", "says"), INSTALLED.items(), ids=INSTALLED)
def test_how_a_module_is_installed(tmp_path: Path, module: str, says: str) -> None:
    """No other package than the one that is meant is named, least of all for a misspelt name."""
    (tmp_path / "camera.py").touch()
    assert says in hint(module, tmp_path, "coach:app", debian="/nowhere")


BELOW: dict[str, tuple[tuple[str, ...], str, str]] = {
    "a file in place of a folder": (("tools.py",), "tools.py is a file", "coach:app"),
    "beside a folder": (("tools.py", "tools/net.py"), "tools.py hides the folder", "coach:app"),
    "the target": (("tools.py",), 'write target = "tools:app"', "tools.net:app"),
    "in the package": (("tools/web.py",), 'write target = "tools.web:app"', "tools.net:app"),
}


@pytest.mark.parametrize(("files", "says", "target"), BELOW.values(), ids=BELOW)
def test_a_module_below_another(
    tmp_path: Path, files: tuple[str, ...], says: str, target: str
) -> None:
    """A file has no modules below it; an app in a file beside is named for the target."""
    write(tmp_path, dict.fromkeys(files, "from flask import Flask\napp = Flask('x')\n"))
    assert says in hint("tools.net", tmp_path, target)


def test_a_path_inside_of_a_package(tmp_path: Path) -> None:
    """An app that imports its own package from above is told so."""
    write(tmp_path, {"field/__init__.py": "", "field/coach.py": ""})
    says = hint("field", tmp_path / "field", "coach:app")
    assert says.endswith('let it be the folder above, and write target = "field.coach:app"')


def test_a_package_of_debians_python(tmp_path: Path) -> None:
    """A package that apt has installed is found by an environment that sees it."""
    write(tmp_path, {"dist/gpiozero/__init__.py": ""})
    says = hint("gpiozero", tmp_path / "app", "coach:app", debian=str(tmp_path / "dist"))
    assert "python3 -m venv --system-site-packages" in says
