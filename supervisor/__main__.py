"""The command ``flask-supervisor``, which ``python -m supervisor`` is too."""

import gc


def main() -> None:
    """Run the command line and exit.

    Loading makes much and frees little: looking for garbage meanwhile is 4 % of a start. The
    command line turns it on again; `run` does so when everything is loaded.
    """
    gc.disable()
    from supervisor.cli.main import main as run_command_line

    run_command_line()


if __name__ == "__main__":
    main()
