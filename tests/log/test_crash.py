"""kill -9 at any instant: nothing that was delivered is lost, nothing is doubled, state and events agree."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chainwatch.event import event_id
from chainwatch.filter import OPEN

pytestmark = pytest.mark.long

APPENDER = Path(__file__).parent / "appender.py"


def run_and_kill(path: Path, seed: int, after: float) -> list[int]:
    """The sequences that an appender had delivered when it was killed, `after` seconds behind its first commit."""
    appender = subprocess.Popen([sys.executable, APPENDER, path, str(seed)], stdout=subprocess.PIPE, text=True)
    assert appender.stdout
    first = appender.stdout.readline()
    assert first, "it did not start"
    time.sleep(after)  # any instant is a good one
    appender.send_signal(signal.SIGKILL)
    told = [int(first), *(int(line) for line in appender.stdout if line.endswith("\n"))]
    appender.wait()
    appender.stdout.close()
    return told


async def kill_and_look(opened, path: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    delivered = 0
    for round_ in range(rounds):
        # Between nothing and 60 ms: most kills meet a commit, a checkpoint or retention.
        told = await asyncio.to_thread(run_and_kill, path, seed + round_, chance.random() * 0.06)
        assert told == sorted(set(told))
        assert told[0] > delivered
        delivered = told[-1]

        log = await opened(path, max_events=10**6)
        assert log.head >= delivered
        number = int(await log.get("number") or b"0")
        page, looked = await log.page(0, OPEN, 100_000)
        while looked < log.head:
            more, looked = await log.page(looked, OPEN, 100_000)
            page += more
        assert [sequence for sequence, _ in page] == list(range(log.oldest, log.head + 1))
        # Event n has sequence n: were one doubled or lost, it and all later ones would be off.
        assert all(event.id == event_id("appended", sequence) for sequence, event in page)
        assert number == log.head
        window = [int(key.removeprefix("window/")) for key, _ in await log.scan("window/", "window0")]
        assert max(window) == number
        assert len(window) == number - min(window) + 1
        await log.close()


async def test_a_killed_daemon_loses_and_doubles_nothing(opened, tmp_path):
    await kill_and_look(opened, tmp_path / "events.db", 12, 1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 110))
async def test_many_killed_daemons_lose_and_double_nothing(opened, tmp_path, seed):
    await kill_and_look(opened, tmp_path / "events.db", 40, seed)
