"""The command ``flask-supervisor``; ``python -m supervisor`` is the same."""

import gc

from supervisor.process.compiled_code import withstand_damage


def main() -> None:
    """Run the command line and exit.

    Imports allocate much and free little: garbage collection during them takes 4 % of a start. The
    command line enables it again; `run` does so when everything is loaded.
    """
    gc.disable()
    withstand_damage()
    from supervisor.cli.main import main as run_command_line

    run_command_line()


if __name__ == "__main__":
    main()
