"""The script that `interpreter` starts on the interpreter of an app's own virtual environment.

Its arguments are the descriptor of a memory file and the folders of our packages. Any Python 3 has
to be able to compile it. It lets that interpreter import ``supervisor`` and ``waitress`` from ours;
everything else comes from the virtual environment.
"""

import sys

TOO_OLD = 3  # exit code

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - for the very Python that is too old
        sys.stderr.write("Python %d.%d is too old\n" % sys.version_info[:2])  # noqa: UP031
        sys.exit(TOO_OLD)
    from importlib.machinery import PathFinder

    sys.path[0] = ""  # it was the folder of this script, whose modules have common names
    _fd, *_roots = sys.argv[1:]

    class _Ours:
        names = {"supervisor", "waitress"}  # noqa: RUF012 - `own_modules` takes out what an app has

        @classmethod
        def find_spec(cls, name, path=None, target=None):  # type: ignore[no-untyped-def]
            if path is None and name in cls.names:
                return PathFinder.find_spec(name, _roots, target)
            return None

    sys.meta_path.insert(0, _Ours)
    _file = _roots[0] + "/supervisor/process/compiled_code.py"
    _names = {"__name__": "compiled_code"}
    with open(_file, "rb") as _stream:
        exec(compile(_stream.read(), _file, "exec"), _names)  # noqa: S102 - a file of ours
    _names["withstand_damage"]()  # type: ignore[operator]
    from supervisor.worker.venv_entrypoint import main

    main(int(_fd))
