"""Says what to do about a module that an import did not find: looks at the disk, then names pip."""

import sys
from collections.abc import Iterator
from pathlib import Path

from supervisor.source.required_module import has_source
from supervisor.worker.target_hints import apps_beside, one_of, similar

# Modules whose package on PyPI has another name; those that are common on Raspberry Pis. What pip
# would install for some of these names is something else.
_PACKAGE_OF_MODULE = {
    "Crypto": "pycryptodome",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "PIL": "Pillow",
    "RPi": "RPi.GPIO",
    "adafruit_dht": "adafruit-circuitpython-dht",
    "bluetooth": "PyBluez",
    "board": "adafruit-blinka",
    "bs4": "beautifulsoup4",
    "can": "python-can",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "digitalio": "adafruit-blinka",
    "distutils": "setuptools",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "PyMuPDF",
    "flask_sqlalchemy": "Flask-SQLAlchemy",
    "git": "GitPython",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "lxml": "lxml",
    "magic": "python-magic",
    "mysql": "mysql-connector-python",
    "neopixel": "adafruit-circuitpython-neopixel",
    "paho": "paho-mqtt",
    "pkg_resources": "setuptools",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "slugify": "python-slugify",
    "smbus": "smbus2",
    "socketio": "python-socketio",
    "speech_recognition": "SpeechRecognition",
    "telegram": "python-telegram-bot",
    "usb": "pyusb",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
_DEBIAN_ONLY = {  # what pip can't install, or not without a compiler
    "dbus": "python3-dbus",
    "gi": "python3-gi",
    "libcamera": "python3-libcamera",
    "picamera2": "python3-picamera2",
    "tkinter": "python3-tk",
}
_GONE = {  # modules of an older Python, and what to import instead
    "ConfigParser": "configparser",
    "Queue": "queue",
    "StringIO": "io",
    "Tkinter": "tkinter",
    "cPickle": "pickle",
    "imp": "importlib",
    "urllib2": "urllib.request",
    "urlparse": "urllib.parse",
}
_INTO_ENVIRONMENT = (
    "make the app an environment that sees it, python3 -m venv --system-site-packages .venv, and "
    "let `python` name .venv/bin/python"
)
_ENTRIES_MAX = 500  # of a folder
_MISSPELT_MIN = 4  # letters: shorter names resemble too many others
DEBIAN = "/usr/lib/python3/dist-packages"
_ENVIRONMENTS = (".venv", "venv", "env")
_SKIPPED = frozenset({"__pycache__", "node_modules", *_ENVIRONMENTS})


def hint(missing: str, path: Path, target: str, *, debian: str = DEBIAN) -> str:
    """Return the hint for a module that is ``missing`` for the app in the folder ``path``.

    It was not copied, has a slightly different name, lies elsewhere, or is a package. ``debian`` is
    where the packages of Debian's own Python are.
    """
    top, *rest = missing.split(".")
    module, _, attribute = target.partition(":")
    if rest and (path / f"{top}.py").is_file():
        return _below_file(missing, path, target)
    if rest and (path / top).is_dir():
        return _inside_package(missing, path, target)
    if rest and top in sys.modules:
        return f"the installed {top} has no such module: is it the right version?"
    first, dot, inner = module.partition(".")
    if close := close_name(top, [one for one in _modules_in(path) if one != first]):
        if first == top:
            return f'write target = "{close}{dot}{inner}:{attribute}"'
        if _as_one_word(close) == _as_one_word(top):
            return f"did you mean {close}?"
        if top not in _PACKAGE_OF_MODULE | _DEBIAN_ONLY | _GONE:
            return _perhaps(close, top)
    if top in _GONE:
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} has {_GONE[top]} in its place"
    found = _other_name(top, path) or _elsewhere(top, path, target, debian)
    if found is None and missing == module and (apps := apps_beside([path])):
        found = f"there is no {top}.py; {one_of(apps)}"
    return found or _installing(top)


def _installing(top: str) -> str:
    """Return how to get a module that is nowhere on this machine."""
    if top in _DEBIAN_ONLY:
        return f"sudo apt-get install {_DEBIAN_ONLY[top]}, then {_INTO_ENVIRONMENT}"
    package = _PACKAGE_OF_MODULE.get(top)
    known = None if package or len(top) < _MISSPELT_MIN else close_name(top, _importable())
    if known and abs(len(known) - len(top)) < 2 and not (known + top)[-1].isdigit():
        return _perhaps(known, top)
    return f"copy {top}.py beside the app, or install the package: pip install {package or top}"


def _perhaps(close: str, top: str) -> str:
    """Return a guess, and what to do if it is wrong: packages of PyPI resemble own files too."""
    return f"did you mean {close}? Else copy {top}.py beside the app, or install its package"


def _as_one_word(name: str) -> str:
    return name.lower().replace("-", "_")


def _importable() -> list[str]:
    """Return the names of Python's own modules and of those that are installed."""
    folders = [Path(folder) for folder in sys.path if folder.endswith("-packages")]
    return [*sys.stdlib_module_names, *(name for one in folders for name in _modules_in(one))]


def _below_file(missing: str, path: Path, target: str) -> str:
    """Return the hint for ``import a.b`` where ``a.py`` is a file of the app."""
    top, inner, *_ = missing.split(".")
    if (path / top / f"{inner}.py").is_file():
        return f"the file {top}.py hides the folder {top}/: rename one of them"
    if target.startswith(f"{missing}:") and (apps := apps_beside([path])):
        return f"{top}.py is a file and no folder of modules; {one_of(apps)}"
    return f"{top}.py is a file and no folder of modules: was a folder {top}/ copied?"


def _inside_package(missing: str, path: Path, target: str) -> str:
    *parents, last = missing.split(".")
    folder, package = path.joinpath(*parents), ".".join(parents)
    if close := close_name(last, _modules_in(folder)):
        return f"did you mean {package}.{close}?"
    if target.startswith(f"{missing}:") and (apps := apps_beside([folder], f"{package}.")):
        return one_of(apps)
    return f"the file {missing.replace('.', '/')}.py is missing: was it copied?"


def close_name(name: str, names: list[str]) -> str | None:
    """Return which of ``names`` differs in case or dashes alone, or else is nearly the same."""
    # a slip is seldom in the first letter: camera is no other spelling of picamera2
    alike = [one for one in names if one[:1].lower() == name[:1].lower()]
    same = (one for one in alike if _as_one_word(one) == _as_one_word(name))
    return next(same, None) or similar(name, alike, cutoff=0.8)


def _other_name(top: str, path: Path) -> str | None:
    """Return what to do about a file that was saved or downloaded under another name."""
    for entry in _entries(path):
        stem = entry.name.partition(".")[0].strip().lower()
        is_copy = stem.startswith((f"{top.lower()} (", f"{top.lower()}(", f"{top.lower()} -"))
        if entry.is_file() and (stem == top.lower() or is_copy):
            if entry.suffix == ".ipynb":
                return f"{entry.name} is a notebook: save it as {top}.py"
            if entry.suffix == ".pyc":
                return f"there is only the compiled {entry.name}: copy {top}.py"
            if ".py" in entry.name.lower():
                return f"rename {entry.name} to {top}.py"
    return None


def _elsewhere(top: str, path: Path, target: str, debian: str) -> str | None:
    """Return what to do about a module that lies where the app doesn't look."""
    for folder in _folders_below(path):
        if has_source(folder, top):
            shown = folder.relative_to(path)
            return f"it is in {shown}/: let `path` of this app end in /{shown}"
    if path.name == top and (path / "__init__.py").is_file():
        module, _, attribute = target.partition(":")
        return (
            f"`path` is inside the package {top}: let it be the folder above, and write "
            f'target = "{top}.{module}:{attribute}"'
        )
    for name in _ENVIRONMENTS:
        if any(has_source(site, top) for site in path.glob(f"{name}/lib/python3*/site-packages")):
            return f"it is installed in {name}/: let `python` name {name}/bin/python"
    if has_source(Path(debian), top) and debian not in sys.path:
        return f"it is installed for Debian's own Python: {_INTO_ENVIRONMENT}"
    return None


def _folders_below(path: Path) -> Iterator[Path]:
    for folder in _entries(path):
        if folder.is_dir() and folder.name not in _SKIPPED and not folder.name.startswith("."):
            yield folder
            yield from (
                inner
                for inner in _entries(folder)
                if inner.is_dir() and inner.name.isidentifier() and inner.name not in _SKIPPED
            )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())[:_ENTRIES_MAX]
    except OSError:
        return []


def _modules_in(folder: Path) -> list[str]:
    return [
        entry.stem
        for entry in _entries(folder)
        if entry.suffix == ".py" or (entry / "__init__.py").exists()
    ]
