"""The guard: starts the commands of one contender, and ends their whole process tree.

A process of its own between the harness and what it measures: when its standard input ends,
however the harness ended, nothing that it started goes on. It takes one argument, a JSON list of
``{"argv", "cwd"}``, and says ``up``; on the line ``go`` it starts them and prints their pids. The
variable ``BENCH_LOG`` names the file for their output.
"""

import json
import os
import select
import subprocess
import sys

from benchmarks.processes import become_subreaper, end_descendants, reap

GRACE_S = 3.0
LIMIT_S = 10.0
_REAP_S = 0.2


def main() -> int:
    """Run the guard; return the exit code, 1 if a process could not be ended."""
    become_subreaper()
    print("up", flush=True)
    if sys.stdin.readline() == "go\n":
        print(json.dumps(_start(json.loads(sys.argv[1]))), flush=True)
        while not select.select([sys.stdin], [], [], _REAP_S)[0]:
            reap()
    left = end_descendants(grace_s=GRACE_S, limit_s=LIMIT_S)
    if left:
        sys.stderr.write(f"cannot end the processes {left}\n")
    return 1 if left else 0


def _start(commands: list[dict[str, str]]) -> list[int]:
    pids = []
    environment = dict(os.environ)
    with open(environment.pop("BENCH_LOG"), "ab") as log:
        for command in commands:
            started = subprocess.Popen(
                command["argv"],
                cwd=command["cwd"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            pids.append(started.pid)
            started.returncode = 0  # `reap` waits for it: Popen must not warn
    return pids


if __name__ == "__main__":
    sys.exit(main())
