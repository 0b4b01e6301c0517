"""A disk without room, for real: nothing of a batch is written, nothing is lost, and all goes on when there is room."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from chainwatch.errors import LogFull
from chainwatch.filter import OPEN
from chainwatch.log import Put

APPENDER = Path(__file__).parent / "appender.py"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_refuses_whole_batches_and_goes_on_with_room(opened, made, small_disk):
    log = await opened(small_disk / "events.db")
    heard: list[int] = []
    log.listen(lambda entries: heard.extend(entry.sequence for entry in entries))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    number = 0
    for fullness in range(2):
        told = None
        while told is None:
            batch = [made.custom(number + place, 700) for place in range(1, 51)]
            try:
                await log.append(batch, [Put("number", str(number + 50).encode())])
                number += 50
            except LogFull as error:
                told = error
        assert "room" in told.what
        assert told.hint
        assert log.head == number
        assert heard == list(range(1, number + 1))
        assert await log.get("number") == str(number).encode()
        with pytest.raises(LogFull):  # still
            await log.append(batch)
        assert (await log.read(number - 10, OPEN, named=False, max_bytes=1 << 20)).events == 10
        if fullness == 0:
            ballast.unlink()
            entries = await log.append(batch, [Put("number", str(number + 50).encode())])
            assert [entry.sequence for entry in entries] == list(range(number + 1, number + 51))
            number += 50
    await log.close()
    log = await opened(small_disk / "events.db")
    assert log.head == number
    page, _ = await log.page(0, OPEN, 10**6)
    assert [event.data["number"] for _, event in page] == list(range(1, len(page) + 1))


async def test_all_appends_of_a_commit_that_found_no_room_hear_of_it(opened, made, small_disk):
    log = await opened(small_disk / "events.db")
    large = [[made.custom(size * 100 + place, 60_000) for place in range(25)] for size in range(4)]
    results = await asyncio.gather(*(log.append(batch) for batch in large), return_exceptions=True)
    failed = [result for result in results if isinstance(result, LogFull)]
    assert failed
    assert log.head == 25 * (4 - len(failed))
    [entry] = await log.append([made.block(1)])
    assert entry.sequence == log.head


async def test_a_disk_without_a_byte_left_is_said_to_be_that_when_the_log_is_opened(opened, made, small_disk):
    log = await opened(small_disk / "events.db")
    await log.append([made.custom(1, 700)])
    await log.close()
    with contextlib.suppress(OSError), (small_disk / "ballast").open("ab", buffering=0) as ballast:
        while True:
            ballast.write(bytes(512))
    with pytest.raises(LogFull, match="no room left"):
        await opened(small_disk / "events.db")
    (small_disk / "ballast").unlink()
    assert (await opened(small_disk / "events.db")).head == 1


@pytest.mark.parametrize("limit", [90_000, 600_000, 2_000_000])
def test_a_limit_on_file_sizes_is_a_full_disk_too(tmp_path, limit):
    """SQLite calls it an I/O error, as it does with a quota."""
    done = subprocess.run(
        [sys.executable, APPENDER, tmp_path / "events.db", "1", str(limit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "full at " in done.stdout, done.stdout + done.stderr
