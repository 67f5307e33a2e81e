"""Work in throw-away children: its answers, and that writers of releases wait for each other."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.supervision.background_jobs import BackgroundJobs


@pytest.fixture(autouse=True)
def _reaped() -> Iterator[None]:
    """Reap the children, as the owner of the loop does."""
    yield
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def alone(marker: str) -> dict[str, Any]:
    """Work for a moment, and say whether another one was at work."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return {"alone": False}
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        os.stat(marker)
    os.unlink(marker)
    return {"alone": True}


@pytest.mark.parametrize("writes", [True, False])
def test_writers_of_releases_wait_for_each_other(tmp_path: Path, writes: bool) -> None:
    """Three at a time run one after the other; what only reads does not wait."""
    answers: list[dict[str, Any]] = []

    async def case() -> None:
        jobs, done = BackgroundJobs(), asyncio.Event()

        def answered(answer: dict[str, Any]) -> None:
            answers.append(answer)
            if len(answers) == 3:
                done.set()

        begin = jobs.write_releases if writes else jobs.work_with_files
        for _ in range(3):
            begin(alone, str(tmp_path / "marker"), done=answered)
        await asyncio.wait_for(done.wait(), 30)

    asyncio.run(case())
    assert all(answer["ok"] for answer in answers), answers
    assert all(answer["alone"] for answer in answers) is writes


def test_work_that_fails_is_answered() -> None:
    """With the reason, and what to do about it if that is known."""
    answers: list[dict[str, Any]] = []

    async def case() -> None:
        jobs, done = BackgroundJobs(), asyncio.Event()
        jobs.work_with_files(
            os._exit, 3, done=lambda answer: (answers.append(answer), done.set())[-1]
        )
        await asyncio.wait_for(done.wait(), 30)

    asyncio.run(case())
    assert not answers[0]["ok"]
    assert answers[0]["reason"].startswith("the work with its files failed")
