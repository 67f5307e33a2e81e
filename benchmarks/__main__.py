"""``python -m benchmarks``: take the measures, print tables, and save the samples as JSON.

Exit code 0 when every measure was taken, 1 when a sample failed.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from benchmarks import report, session, soak
from benchmarks.contenders import Places
from benchmarks.environments import about, prepare
from benchmarks.managers import ALL
from benchmarks.measures import Times
from benchmarks.processes import become_subreaper
from benchmarks.suite import MEASURES
from benchmarks.tree import REPOSITORY

_QUICK_TIMES = Times(idle_s=3.0, load_s=1.0)
_FILES = 4096  # open at the same time, while a port doesn't answer


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks as the command line asks, and return the exit code."""
    options = _parser().parse_args(arguments)
    become_subreaper()
    _allow_many_files()
    places = _places(options)
    if options.soak_s:
        return soak.run(places, limit_s=options.soak_s, requests=options.soak_requests)
    facts = about(places)
    results: session.Results = {}
    text, began_s = "", time.monotonic()
    for measure in MEASURES:
        if measure.name in options.only:
            results[measure.name] = session.take(
                measure,
                places,
                contenders=options.contenders,
                rounds=options.rounds or (1 if options.quick else measure.rounds),
                times=_QUICK_TIMES if options.quick else Times(),
                log=session.to_stderr,
            )
            facts |= {"quick": options.quick, "seconds": round(time.monotonic() - began_s)}
            text = report.tables(results)
            _keep(options.results, text, report.document(results, facts))  # so far
    print(text)
    rows = [row for taken in results.values() for row in taken.values()]
    return 1 if any(row.problems for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    measures = [measure.name for measure in MEASURES]
    names = [contender.name for contender in ALL]
    parser.add_argument(
        "--only",
        type=_some_of(measures),
        default=measures,
        metavar="NAME,...",
        help=f"the measures: {', '.join(measures)}; all by default",
    )
    parser.add_argument(
        "--contenders",
        type=_some_of(names),
        default=names,
        metavar="NAME,...",
        help=f"who takes part: {', '.join(names)}; all by default",
    )
    parser.add_argument("--rounds", type=int, help="the same number of rounds for all measures")
    parser.add_argument("--quick", action="store_true", help="one short round: rough numbers")
    parser.add_argument(
        "--results",
        type=Path,
        default=REPOSITORY / "benchmarks" / "results",
        help="the folder for latest.json and latest.md",
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=REPOSITORY / ".venv-bench",
        help="the folder for the virtual environments",
    )
    parser.add_argument(
        "--python", type=Path, help="install nothing: this interpreter has all contenders"
    )
    parser.add_argument(
        "--soak-s",
        type=float,
        default=0,
        help="no tables: load ours for that many seconds, and check that nothing grows",
    )
    parser.add_argument(
        "--soak-requests",
        type=int,
        default=1_000_000,
        help="end the soak earlier, after that many requests",
    )
    return parser


def _some_of(known: list[str]) -> "type[list[str]]":
    def split(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return chosen

    return split  # type: ignore[return-value]


def _places(options: argparse.Namespace) -> Places:
    if options.python:
        return Places(options.python, options.python)
    return prepare(options.environments, session.to_stderr)


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _keep(folder: Path, text: str, document: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.md").write_text(text, encoding="utf-8")
    whole = json.dumps(document, ensure_ascii=False, indent=1)
    (folder / "latest.json").write_text(whole + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
