"""The first thing that the interpreter of an app's own virtual environment runs.

It is run as a script, by `interpreter`, with a memory file's descriptor and the folders of our
packages, and has to be readable for any Python 3. Of ours only ``supervisor`` and ``waitress`` can
be imported afterwards: everything else is the app's own.
"""

import sys

TOO_OLD = 3  # exit code

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - for the very Python that is too old
        sys.stderr.write("Python %d.%d is too old\n" % sys.version_info[:2])  # noqa: UP031
        sys.exit(TOO_OLD)
    from importlib.machinery import PathFinder

    sys.path[0] = ""  # it was the folder of this file, whose modules have common names
    _fd, *_roots = sys.argv[1:]

    class _Ours:
        @staticmethod
        def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
            if path is None and name in ("supervisor", "waitress"):
                return PathFinder.find_spec(name, _roots, target)
            return None

    sys.meta_path.insert(0, _Ours)
    from supervisor.worker.venv_entrypoint import main

    main(int(_fd))
