"""``python -m supervisor`` is ``flask-supervisor``."""

from supervisor.cli import main

if __name__ == "__main__":
    main()
