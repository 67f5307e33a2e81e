"""Mistakes that beginners make, each with the message that tells what to do.

Every app lies in a folder of its own, named as the mistake. `reason` and `hint` are parts of what
`check`, `status`, port 6000 and the 503 page say. `CONFIGURATIONS` are files with a mistake, each
with a part of the message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

APP = "from flask import Flask\napp = Flask(__name__)\n"
FACTORY = "from flask import Flask\ndef create_app():\n    return Flask(__name__)\n"
VIEW = APP + "@app.get('/')\ndef index():\n    return 'hello'\n"
ASGI = "async def app(scope, receive, send):\n    pass\n"


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An app with one mistake; ``keys`` are further keys of its section.

    ``only`` is ``"run"`` for what an import on trial can't notice.
    """

    name: str
    files: Mapping[str, str | bytes]
    reason: str
    hint: str
    target: str = "coach:app"
    keys: Mapping[str, Any] = field(default_factory=dict)
    only: str | None = None


def of(name: str, source: str | None, reason: str, hint: str, **more: Any) -> Mistake:
    """Return a mistake in ``coach.py``; ``files`` among ``more`` are others beside it."""
    own = {} if source is None else {"coach.py": source}
    files = {**own, **more.pop("files", {})}
    return Mistake(name=name, files=files, reason=reason, hint=hint, **more)


TARGETS = (
    of(
        "factory_without_call",
        FACTORY,
        "coach:create_app is a function that makes the app, not the app",
        'write target = "coach:create_app()"',
        target="coach:create_app",
    ),
    of(
        "factory_needs_argument",
        "from flask import Flask\ndef create_app(config):\n    return Flask(__name__)\n",
        "create_app() needs the argument 'config'",
        'write target = "coach:create_app(...)" with its value',
        target="coach:create_app()",
    ),
    of(
        "factory_needs_argument_without_call",
        "from flask import Flask\ndef create_app(config, *, name):\n    return Flask(name)\n",
        "coach:create_app is a function that makes the app, not the app",
        "config",
        target="coach:create_app",
    ),
    of(
        "factory_too_many_arguments",
        FACTORY,
        "create_app() can't be called with ('prod')",
        "its arguments are ()",
        target='coach:create_app("prod")',
    ),
    of(
        "factory_returns_nothing",
        "from flask import Flask\ndef create_app():\n    app = Flask(__name__)\n",
        "coach:create_app() returned None",
        "return app",
        target="coach:create_app()",
    ),
    of(
        "app_with_call",
        APP,
        "coach:app is the app itself",
        'write target = "coach:app"',
        target="coach:app()",
    ),
    of(
        "asgi_function",
        ASGI,
        "coach:app is an ASGI app",
        'command = ["uvicorn", "--fd", "{fd}", "coach:app"]',
    ),
    of(
        "asgi_class",
        "class App:\n    async def __call__(self, scope, receive, send): pass\napp = App()\n",
        "coach:app is an ASGI app",
        'command = ["uvicorn", "--fd", "{fd}", "coach:app"]',
    ),
    of(
        "view_function",
        VIEW,
        "coach:index is a view function of the app, not the app",
        'write target = "coach:app"',
        target="coach:index",
    ),
    of(
        "other_function",
        APP + "def main():\n    app.run()\n",
        "coach:main takes no arguments, so it is not a WSGI app",
        'write target = "coach:app"',
        target="coach:main",
    ),
    of(
        "a_class",
        "from flask import Flask\nclass Coach(Flask):\n    pass\n",
        "coach:Coach is a class, not an app",
        "coach:app",
        target="coach:Coach",
    ),
    of(
        "a_blueprint",
        "from flask import Blueprint\napp = Blueprint('coach', __name__)\n",
        "coach:app is a Blueprint, not a WSGI app",
        "register_blueprint",
    ),
    of(
        "a_module",
        None,
        "coach:api is a module, not a WSGI app",
        'write target = "coach.api:app"',
        target="coach:api",
        files={
            "coach/__init__.py": "from coach import api\n",
            "coach/api.py": APP,
        },
    ),
    of(
        "wrong_attribute",
        APP.replace("app =", "application ="),
        "module coach has no attribute 'app'",
        'write target = "coach:application"',
    ),
    of(
        "wrong_case_of_attribute",
        APP,
        "module coach has no attribute 'APP'",
        'write target = "coach:app"',
        target="coach:APP",
    ),
    of(
        "wrong_case_of_module",
        APP,
        "No module named 'COACH'",
        'write target = "coach:app"',
        target="COACH:app",
    ),
    of(
        "package_hides_module",
        APP,
        "module coach has no attribute 'app'",
        "the folder coach/ hides the file coach.py: rename one of them",
        files={"coach/__init__.py": ""},
    ),
    of(
        "module_in_a_subfolder",
        None,
        "No module named 'coach'",
        "it is in src/: let `path` of this app end in /src",
        files={"src/coach.py": APP},
    ),
    of(
        "extension_twice",
        None,
        "No module named 'coach'",
        "rename coach.py.txt to coach.py",
        files={"coach.py.txt": APP},
    ),
    of(
        "app_of_another_file",
        None,
        "No module named 'app'",
        'there is no app.py; write target = "hello:app"',
        target="app:app",
        files={"hello.py": APP},
    ),
    of(
        "app_below_a_file",
        None,
        "No module named 'app.wsgi'",
        'app.py is a file and no folder of modules; write target = "app:app"',
        target="app.wsgi:app",
        files={"app.py": APP},
    ),
    of(
        "app_of_a_package",
        None,
        "module field has no attribute 'app'",
        'write target = "field.web:app"',
        target="field:app",
        files={"field/web.py": APP},
    ),
    of(
        "module_of_python",
        APP,
        "module code has no attribute 'app'",
        'code is a module of Python itself, and `path` has no code.py: write target = "coach:app"',
        target="code:app",
    ),
    of(
        "named_like_a_built_in",
        None,
        "module time has no attribute 'app'",
        "your time.py is hidden by Python's own module of that name: rename it",
        target="time:app",
        files={"time.py": APP},
    ),
    of(
        "local_app",
        "from flask import Flask\ndef main():\n    app = Flask('x')\n    app.run()\n",
        "module coach has no attribute 'app'",
        "app is made inside of main(): make it outside",
    ),
    of(
        "swallowed_error",
        "try:\n    import no_one\n    from flask import Flask\n    app = Flask('x')\n"
        "except ImportError:\n    pass\n",
        "module coach has no attribute 'app'",
        "line 4 makes it, but the import did not get there",
    ),
    of(
        "app_run",
        APP,
        "coach:app.run() returned None, not the app",
        'write target = "coach:app"',
        target="coach:app.run()",
    ),
    of(
        "blueprint_with_call",
        "from flask import Blueprint\nbp = Blueprint('coach', __name__)\n",
        "coach:bp is a Blueprint, not a WSGI app",
        "register_blueprint",
        target="coach:bp()",
    ),
    of(
        "app_in_an_object",
        "from flask import Flask\nclass Server:\n    pass\nserver = Server()\n"
        "server.web = Flask('x')\n",
        "coach:server is a Server, not a WSGI app",
        'write target = "coach:server.web"',
        target="coach:server",
    ),
    of(
        "factory_returns_a_pair",
        "from flask import Flask\ndef create_app():\n    return Flask('x'), None\n",
        "coach:create_app() is a tuple, not a WSGI app",
        "let the function return the app",
        target="coach:create_app()",
    ),
    of(
        "factory_needs_keyword",
        "from flask import Flask\ndef create_app(*, name):\n    return Flask(name)\n",
        "create_app() needs the argument 'name'",
        'write target = "coach:create_app(name=...)" with its value',
        target="coach:create_app()",
    ),
    of(
        "imported_factory",
        "from make import build\n",
        "coach:build is a function that makes the app, not the app",
        'write target = "coach:build()"',
        target="coach:build",
        files={"make.py": FACTORY.replace("create_app()", "build(*args, **kwargs)")},
    ),
    of(
        "property_that_fails",
        "class Server:\n    @property\n    def app(self):\n        return self.web\n"
        "server = Server()\n",
        "AttributeError: 'Server' object has no attribute 'web' (coach.py, line 4)",
        "",
        target="coach:server.app",
    ),
    of(
        "asgi_factory",
        "class Api:\n    async def __call__(self, scope, receive, send): pass\n"
        "def create_app():\n    return Api()\n",
        "coach:create_app() is an ASGI app",
        'command = ["uvicorn", "--fd", "{fd}", "--factory", "coach:create_app"]',
        target="coach:create_app()",
    ),
    of(
        "guarded_app",
        "from flask import Flask\nif __name__ == '__main__':\n    app = Flask('coach')\n",
        "module coach has no attribute 'app'",
        '__name__ == "__main__"',
    ),
)

IMPORTS = (
    of(
        "data_file_elsewhere",
        None,
        "No such file or directory: 'words.txt' (app/coach.py, line 1)",
        "app/words.txt exists, but the working folder is the app's `path`",
        target="app.coach:app",
        files={
            "app/__init__.py": "",
            "app/words.txt": "a",
            "app/coach.py": "words = open('words.txt').read()\n" + APP,
        },
    ),
    of(
        "data_file_missing",
        "words = open('words.txt').read()\n" + APP,
        "No such file or directory: 'words.txt' (coach.py, line 1)",
        "words.txt is not there: was it copied?",
    ),
    of(
        "data_folder_missing",
        "out = open('logs/coach.log', 'a')\n" + APP,
        "No such file or directory: ",
        "the folder logs is not there: create it, or was it not copied?",
    ),
    of(
        "program_missing",
        "import subprocess\nsubprocess.run(['ffmpeg-of-nobody'])\n" + APP,
        "No such file or directory: 'ffmpeg-of-nobody' (coach.py, line 2)",
        "the program ffmpeg-of-nobody is not installed",
    ),
    of(
        "in_its_own_environment",
        "import adafruit_of_nobody\n" + APP,
        "No module named 'adafruit_of_nobody' (coach.py, line 1)",
        "it is installed in .venv/: let `python` name .venv/bin/python",
        files={".venv/lib/python3.11/site-packages/adafruit_of_nobody.py": ""},
    ),
    of(
        "lock_held",
        "import fcntl\nlock = open('lock', 'w')\nfcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "other = open('lock', 'w')\nfcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)\n" + APP,
        "BlockingIOError: [Errno 11] Resource temporarily unavailable (coach.py, line 5)",
        'reload = "replace"',
    ),
    of(
        "port_held",
        "import socket\na = socket.create_server(('127.0.0.1', 0))\n"
        "b = socket.create_server(a.getsockname())\n" + APP,
        "Address already in use",
        'reload = "replace"',
    ),
    of(
        "device_missing",
        "open('/dev/ttyUSB-of-nobody')\n" + APP,
        "No such file or directory: '…/ttyUSB-of-nobody' (coach.py, line 1)",
        "the device ttyUSB-of-nobody is not there: is it connected, and switched on?",
    ),
    of(
        "data_file_of_another_user",
        "open('/home/nobody-at-all/words.txt')\n" + APP,
        "No such file or directory: '…/words.txt' (coach.py, line 1)",
        'open it with Path(__file__).with_name("words.txt")',
        files={"words.txt": "a"},
    ),
    of(
        "data_file_case",
        "open('Words.txt')\n" + APP,
        "No such file or directory: 'Words.txt' (coach.py, line 1)",
        "Words.txt is not there, but words.txt is",
        files={"words.txt": "a"},
    ),
    of(
        "path_of_windows",
        "open('data\\\\words.txt')\n" + APP,
        "No such file or directory: ",
        'this is a path of Windows: here it is "data/words.txt"',
        files={"data/words.txt": "a"},
    ),
    of(
        "program_not_executable",
        "import subprocess\nsubprocess.run(['./run.sh'])\n" + APP,
        "Permission denied: './run.sh' (coach.py, line 2)",
        "make it executable: chmod +x ./run.sh",
        files={"run.sh": "#!/bin/sh\n"},
    ),
    of(
        "folder_of_a_program",
        "import subprocess\nsubprocess.run(['true'], cwd='nodir')\n" + APP,
        "No such file or directory: 'nodir' (coach.py, line 2)",
        "the folder nodir, its cwd, is not there",
    ),
    of(
        "no_such_table",
        "import sqlite3\nsqlite3.connect('c.db').execute('select * from users')\n" + APP,
        "no such table: users (coach.py, line 2)",
        "a relative path begins at the app's `path`",
    ),
    of(
        "template_elsewhere",
        APP + "from flask import render_template\nwith app.app_context():\n"
        "    render_template('index.html')\n",
        "TemplateNotFound: index.html (coach.py, line 5)",
        "Flask looks in the folder templates/ beside the app: move index.html there",
        files={"index.html": ""},
    ),
    of(
        "service_not_there",
        "import socket\nsocket.create_connection(('127.0.0.1', 1))\n" + APP,
        "Connection refused (coach.py, line 2)",
        "what it connects to does not answer",
    ),
    of(
        "variable_in_dotenv",
        "import os\nos.environ['COACH_KEY']\n" + APP,
        "KeyError: 'COACH_KEY' (coach.py, line 2)",
        "the file .env sets COACH_KEY: let `env_file` name it",
        files={".env": "export COACH_KEY=1\n"},
    ),
    of(
        "getpass",
        "import getpass\ngetpass.getpass()\n" + APP,
        "EOFError (coach.py, line 2)",
        "input() waits for a keyboard",
    ),
    of(
        "command_line",
        "import sys\nport = int(sys.argv[1])\n" + APP,
        "IndexError: list index out of range (coach.py, line 2)",
        "the command line is the supervisor's here",
    ),
    of(
        "argparse",
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('config')\n"
        "options = parser.parse_args()\n" + APP,
        "sys.exit(2) was called (coach.py, line 4)",
        "argparse reads the command line",
    ),
    of(
        "input",
        "name = input('Name? ')\n" + APP,
        "EOFError: EOF when reading a line (coach.py, line 1)",
        "input() waits for a keyboard",
    ),
    of(
        "from_main",
        APP + "import models\n",
        "cannot import name 'app' from '__main__'",
        "__main__ is flask-supervisor here: import it from coach",
        files={"models.py": "from __main__ import app\n"},
    ),
    of(
        "relative_import",
        "from . import models\n" + APP,
        "attempted relative import with no known parent package (coach.py, line 1)",
        'target = "relative_import.coach:app"',
        files={"__init__.py": "", "models.py": ""},
    ),
    of(
        "relative_import_without_package",
        "from .models import Team\n" + APP,
        "attempted relative import with no known parent package (coach.py, line 1)",
        "from models import",
        files={"models.py": "class Team: pass\n"},
    ),
    of(
        "merge_conflict",
        "<<<<<<< HEAD\nPORT = 1\n=======\nPORT = 2\n>>>>>>> other\n" + APP,
        "SyntaxError: invalid syntax (coach.py, line 1)",
        "conflict",
    ),
    of(
        "own_flask",
        APP,
        "",
        "your own file flask.py hides the package flask",
        files={"flask.py": "app = 1\n"},
    ),
    of(
        "own_folder",
        "from email.mime.text import MIMEText\n" + APP,
        "No module named 'email.mime'",
        "your own folder email/ hides the package email",
        files={"email/__init__.py": ""},
    ),
    of(
        "missing_part_of_a_folder_like_a_package",
        "import json.no_such\n" + APP,
        "No module named 'json.no_such'",
        "the file json/no_such.py is missing: was it copied?",
        files={"json/__init__.py": "from decimal import Decimal\ndumps = loads = print\n"},
    ),
    of(
        "imports_itself",
        "import coach\ncoach.no_such\n" + APP,
        "partially initialized module 'coach'",
        "coach.py imports itself",
    ),
    of(
        "missing_part_of_its_package",
        None,
        "cannot import name 'routes' from partially initialized module 'web'",
        "was web/routes.py copied?",
        target="web:app",
        files={"web/__init__.py": "from . import routes\n" + APP},
    ),
    of(
        "too_many_dots",
        None,
        "attempted relative import beyond top-level package (web/coach.py, line 1)",
        "it has more dots than there are packages above",
        target="web.coach:app",
        files={"web/__init__.py": "", "web/coach.py": "from .. import models\n" + APP},
    ),
    of(
        "misspelt_module",
        "import reqeusts\n" + APP,
        "No module named 'reqeusts' (coach.py, line 1)",
        "did you mean requests?",
    ),
    of(
        "misspelt_class",
        "from flask import Falsk\n" + APP,
        "cannot import name 'Falsk' from 'flask'",
        "did you mean Flask?",
    ),
    of(
        "older_flask",
        "from flask import Markup\n" + APP,
        "cannot import name 'Markup' from 'flask'",
        "has no Markup: the app was written for another version",
    ),
    of(
        "method_of_an_older_flask",
        APP + "@app.before_first_request\ndef begin(): pass\n",
        "'Flask' object has no attribute 'before_first_request' (coach.py, line 3)",
        "has no Flask.before_first_request: the app was written for another version",
    ),
    of(
        "misspelt_method",
        APP + "@app.rout('/')\ndef page(): return ''\n",
        "'Flask' object has no attribute 'rout' (coach.py, line 3)",
        "did you mean route?",
    ),
    of(
        "older_werkzeug",
        "from werkzeug.urls import url_quote\n" + APP,
        "cannot import name 'url_quote' from 'werkzeug.urls'",
        "has no url_quote: the app was written for another version",
    ),
    of(
        "moved_to_abc",
        "from collections import Mapping\n" + APP,
        "cannot import name 'Mapping' from 'collections'",
        "write from collections.abc import Mapping",
    ),
    of(
        "older_copy_of_an_own_file",
        "from helpers import team_of\n" + APP,
        "cannot import name 'team_of' from 'helpers' (helpers.py)",
        "helpers.py has no team_of: is it an older copy than the file that imports it?",
        files={"helpers.py": "def coach(): pass\n"},
    ),
    of(
        "older_copy_of_an_own_module",
        "import helpers\nhelpers.team_of()\n" + APP,
        "module 'helpers' has no attribute 'team_of' (coach.py, line 2)",
        "helpers.py has no team_of: is it an older copy than the file that imports it?",
        files={"helpers.py": "def coach(): pass\n"},
    ),
    of(
        "two_views_of_one_name",
        APP + "@app.get('/')\ndef page(): return ''\n@app.get('/a')\ndef page(): return ''\n",
        "View function mapping is overwriting an existing endpoint function: page",
        "two views have this name: rename one, or write @functools.wraps(function)",
    ),
    of(
        "json_that_a_power_cut_emptied",
        "import json\njson.load(open('teams.json'))\n" + APP,
        "JSONDecodeError: Expecting value",
        "the JSON that it reads is empty: was the file cut off",
        files={"teams.json": ""},
    ),
    of(
        "json_with_single_quotes",
        "import json\njson.load(open('teams.json'))\n" + APP,
        "JSONDecodeError: Expecting property name enclosed in double quotes",
        "correct line 2 of the JSON that it reads",
        files={"teams.json": "{\n'password': 'secret'}\n"},
    ),
    of(
        "web_page_in_place_of_the_file",
        "<!DOCTYPE html>\n<html></html>\n",
        "SyntaxError: invalid syntax (coach.py, line 1)",
        "this is a web page about the file: download the file itself",
    ),
    of(
        "prompt_of_python",
        ">>> import os\n" + APP,
        "SyntaxError: invalid syntax (coach.py, line 1)",
        "remove the >>> and ...",
    ),
    of(
        "command_for_the_terminal",
        "pip install flask\n" + APP,
        "SyntaxError: invalid syntax (coach.py, line 1)",
        "this is a command for the terminal, and no Python: remove the line",
    ),
    of(
        "quotes_of_a_web_page",
        APP + "TEAM = \u201cred\u201d\n",
        "invalid character '\u201c' (U+201C) (coach.py, line 3)",
        "write straight quotes",
    ),
    of(
        "module_of_python2",
        "import urllib2\n" + APP,
        "No module named 'urllib2' (coach.py, line 1)",
        "has urllib.request in its place",
    ),
    of(
        "name_without_underscores",
        APP.replace("__name__", "name"),
        "name 'name' is not defined (coach.py, line 2)",
        "did you mean __name__?",
    ),
    of(
        "import_forgotten",
        "app = Flask(__name__)\n",
        "name 'Flask' is not defined (coach.py, line 1)",
        "is the line missing above: from flask import Flask",
    ),
    of(
        "exported_notebook",
        "get_ipython().system('ls')\n" + APP,
        "name 'get_ipython' is not defined (coach.py, line 1)",
        "remove the lines that only a notebook runs",
    ),
    of(
        "tabs_and_spaces",
        APP + "if app:\n        x = 1\n\tx = 2\n",
        "inconsistent use of tabs and spaces in indentation (coach.py, line 5)",
        "indent every line of the file with spaces alone",
    ),
    of(
        "utf16",
        None,
        "null bytes",
        "save it as UTF-8",
        files={"coach.py": APP.encode("utf-16")},
    ),
    of(
        "configuration_object",
        APP + "app.config.from_object('settings')\n",
        "import_string() failed for 'settings'",
        "copy settings.py beside the app",
    ),
    of(
        "own_requests",
        "import requests\nrequests.get\n" + APP,
        "module 'requests' has no attribute 'get'",
        "your own file requests.py hides the package requests",
        files={"requests.py": "import json\n"},
    ),
    of(
        "exit_with_text",
        "import sys\nsys.exit('no sensor on /dev/ttyUSB0')\n" + APP,
        "sys.exit('no sensor on …/ttyUSB0') was called (coach.py, line 2)",
        "the text is the app's own",
    ),
    of(
        "exit_without_text",
        APP + "import sys\nsys.exit()\n",
        "sys.exit() was called (coach.py, line 4)",
        'if __name__ == "__main__":',
    ),
    of(
        "two_missing",
        "import no_one\nimport no_two\n" + APP,
        "No module named 'no_one' (coach.py, line 1)",
        "2 modules are missing, see all with: flask-supervisor check",
        only="run",
    ),
    of(
        "missing_file_of_package",
        "from field import settings_manager\n" + APP,
        "cannot import name 'settings_manager' from 'field'",
        "was field/settings_manager.py copied?",
        files={"field/__init__.py": ""},
    ),
    of(
        "python2",
        "print 'hello'\n" + APP,
        "Missing parentheses in call to 'print'",
        "Python 2",
    ),
    of(
        "circular",
        "import models\n" + APP,
        "partially initialized module 'coach'",
        "import each other",
        files={"models.py": "from coach import app\n"},
    ),
    of(
        "not_utf8",
        APP,
        "settings.py",
        "UTF-8",
        files={"settings.py": b"name = 'Caf\xe9'\n", "coach.py": "import settings\n" + APP},
    ),
    of(
        "environment_variable",
        "import os\nkey = os.environ['COACH_KEY']\n" + APP,
        "KeyError: 'COACH_KEY' (coach.py, line 2)",
        "set it in `env` or `env_file`",
    ),
    of(
        "database_folder",
        "import sqlite3\ndb = sqlite3.connect('data/coach.db')\n" + APP,
        "unable to open database file (coach.py, line 2)",
        "folder",
    ),
    of(
        "database_locked",
        "import sqlite3\na = sqlite3.connect('c.db')\na.execute('begin exclusive')\n"
        "sqlite3.connect('c.db', timeout=0).execute('begin exclusive')\n" + APP,
        "database is locked (coach.py, line 4)",
        'reload = "replace"',
    ),
    of(
        "signal_in_thread",
        "import signal\ndef serve():\n    signal.signal(signal.SIGTERM, signal.SIG_DFL)\n",
        "signal only works in main thread",
        "thread",
        target="coach:serve",
        keys={"bind": "app"},
        only="run",
    ),
    of(
        "loop_in_thread",
        "import asyncio\ndef serve():\n    asyncio.get_event_loop()\n",
        "There is no current event loop in thread",
        "asyncio.new_event_loop()",
        target="coach:serve",
        keys={"bind": "app"},
        only="run",
    ),
)
MISTAKES = TARGETS + IMPORTS

_SECTION = '[apps.coach]\ntarget = "coach:app"\nport = 5001\n'
CONFIGURATIONS = {
    "no_quotes": ("[apps.coach]\ntarget = coach:app\n", "a string needs quotes (at line 2"),
    "windows_path": (_SECTION + 'path = "C:\\Users\\pi"\n', "write a Windows path in '...'"),
    "two_windows_escapes": (_SECTION + 'path = "C:\\new"\n', "write it in '...'"),
    "section_without_apps": (_SECTION.replace("apps.", ""), "an app is [apps.coach]"),
    "double_brackets": (
        _SECTION.replace("[apps.coach]", "[[apps.coach]]"),
        "must be a table: [NAME] and no [[NAME]]",
    ),
    "capital_key": (_SECTION + "THREADS = 4\n", 'did you mean "threads"?'),
    "command_as_text": (
        _SECTION.replace('target = "coach:app"', 'command = "python coach.py"'),
        'must be a list, as ["one", "two"]',
    ),
    "conflict": (_SECTION + "<<<<<<< HEAD\n", "git left a conflict"),
    "json": ('{"apps": {}}', "this is JSON, and TOML has tables"),
    "yaml": ("apps:\n  coach:\n", "this is YAML, and TOML has tables"),
    "unit": (_SECTION + "max_memory_mb = 200MB\n", "a number has no unit"),
    "target_of_windows": (_SECTION.replace("coach:", "web\\\\coach.py:"), '"web.coach:app"?'),
    "target_of_a_drive": (_SECTION.replace("coach:app", "C:/pi/coach.py"), '"coach:app"?'),
    "target_in_quotes": (_SECTION.replace('"coach:app"', "'\"coach:app\"'"), '"coach:app"?'),
    "command_as_target": (_SECTION.replace("coach:app", "gunicorn coach:app"), '"coach:app"?'),
    "import_as_target": (
        _SECTION.replace("coach:app", "from coach import app"),
        'did you mean "coach:app"?',
    ),
    "target_above": (
        _SECTION.replace("coach:app", "../coach.py"),
        'did you mean target = "coach:app" with path = ".."?',
    ),
    "yes": (_SECTION + "control = yes\n", "write true"),
    "colon": (_SECTION + "threads: 4\n", "separated by = and not by :"),
    "typographic_quotes": ("[apps.coach]\ntarget = “coach:app”\n", "write a straight one"),
    "table_twice": (_SECTION * 2, "the table [apps.coach] is declared twice, first in line 1"),
    "port_as_text": (_SECTION.replace("5001", '"5001"'), "must be a port number from 1 to 65535"),
    "misspelt_key": (_SECTION + "thread = 4\n", 'did you mean "threads"?'),
    "a_file_as_target": (_SECTION.replace("coach:app", "coach.py"), 'did you mean "coach:app"?'),
    "port_of_status": (_SECTION.replace("5001", "6000"), "is already taken by the status server"),
    "no_apps": ("[supervisor]\n", "add a table [apps.NAME] with `target` and `port`"),
}
