"""
What the event log costs, beside named yardsticks: `python tests/bench/bench_log.py`, about two minutes.

Yardsticks: `executemany` and row-by-row reads of the same rows, into the same tables, with the same durability: the
common way to use SQLite from Python. "busy" is the same while another thread computes without a pause, so that the
interpreter's lock has to be won back after each step: medians of five, for it hangs on how soon a core wakes up.
A third number is a ratio to the line named, or to the yardstick.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median, quantiles

from chainwatch.event import Event, event_id, rfc3339
from chainwatch.filter import OPEN, Filter
from chainwatch.log import file
from chainwatch.log.store import SqliteLog, open_log
from chainwatch.payloads import TokenTransfer

MATCHED = "0x" + "5e" * 20
SLICE = 262_144
TRANSFERS = Filter(types=frozenset({"token_transfer"}), chains=frozenset({"ethereum"}))
USDC = Filter(tokens=frozenset({("", "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48")}))
MATCHING = Filter(addresses=frozenset({MATCHED}))
ABSENT = Filter(addresses=frozenset({"0x" + "77" * 20}))


NOTE = Event(id=event_id("note"), type="note", timestamp=rfc3339(0), observed_at=rfc3339(0), chain=None, data={})
"""Something that is no transfer, so that to ask for transfers is a question."""


def transfer(number: int, source: random.Random, to: str | None = None) -> Event:
    """A transfer as the daemon tells it: about 700 bytes of JSON, three addresses, two of them random."""
    return Event(
        id=event_id("bench", number),
        type="token_transfer",
        timestamp=rfc3339(1_750_000_000_000 + number),
        observed_at=rfc3339(1_750_000_000_500 + number),
        chain="ethereum",
        data=TokenTransfer(
            standard="erc20",
            token="USDC",
            token_name=None,
            token_address="0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
            decimals=6,
            from_=f"0x{source.getrandbits(160):040x}",
            to=to or f"0x{source.getrandbits(160):040x}",
            amount=str(source.getrandbits(64)),
            token_id=None,
            batch_index=None,
            tx_hash=f"0x{source.getrandbits(256):064x}",
            transaction_index=number % 200,
            log_index=number % 400,
            block_number=number // 200,
            block_hash=f"0x{number // 200:064x}",
        ),
    )


@contextlib.asynccontextmanager
async def opened(path: Path, memory: int = 0) -> AsyncIterator[SqliteLog]:
    log = await open_log(path, ttl=1e9, max_events=10**9, max_bytes=1 << 40, memory=memory)
    try:
        yield log
    finally:
        await log.close()


def say(what: str, number: float, unit: str, against: float | None = None) -> None:
    ratio = f"{number / against:8.2f} x" if against else ""
    print(f"  {what:<62}{number:>12,.2f} {unit:<9}{ratio}", flush=True)


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Another thread that never lets go of the interpreter's lock by itself."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def latency(folder: Path, source: random.Random) -> None:
    print("append to disk, one commit after another")
    for size, commits in ((1, 400), (10, 400), (100, 300), (300, 300)):
        async with opened(folder / f"latency-{size}.db", 64 << 20) as log:
            took = []
            for commit in range(commits):
                batch = [transfer(commit * size + place, source) for place in range(size)]
                began = time.perf_counter()
                await log.append(batch)
                took.append((time.perf_counter() - began) * 1000)
        cuts = quantiles(took, n=100)
        say(f"{size} events: p50", median(took), "ms")
        say(f"{size} events: p99", cuts[98], "ms", median(took))


async def bulk(path: Path, count: int, source: random.Random) -> None:
    print(f"bulk append of {count:,} events in appends of 1,000, four under way")
    async with opened(path, 64 << 20) as log:
        await log.append([NOTE])
        gate = asyncio.Semaphore(4)
        turns: list[float] = []

        async def send(batch: list[Event]) -> None:
            async with gate:
                await log.append(batch)

        async def watch() -> None:
            while True:
                before = time.perf_counter()
                await asyncio.sleep(0)
                turns.append(time.perf_counter() - before)

        spent = 0.0
        for start in range(0, count, 20_000):
            batches = [
                [
                    transfer(number, source, MATCHED if number % (count // 1000) == 0 else None)
                    for number in range(place, place + 1000)
                ]
                for place in range(start, start + 20_000, 1000)
            ]
            began = time.perf_counter()
            await asyncio.gather(*(send(batch) for batch in batches))
            spent += time.perf_counter() - began
        say("rate", count / spent, "events/s")
        say("file", log.stats()["bytes"] / count, "B/event")
        batches = [[transfer(number, source) for number in range(1000)] for _ in range(20)]
        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0)
        await asyncio.gather(*(send(batch) for batch in batches))
        watcher.cancel()
        cuts = quantiles(turns, n=1000)
        say("a turn of the event loop meanwhile: p99", cuts[989] * 1000, "ms")
        say("a turn of the event loop meanwhile: longest", max(turns) * 1000, "ms")


def rows_of(path: Path, count: int) -> tuple[list[tuple[int, int, int, int, bytes]], list[tuple[int, int, int]]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        events = db.execute("SELECT * FROM events ORDER BY seq LIMIT ?", (count,)).fetchall()
        keys = db.execute("SELECT * FROM keys WHERE seq <= ?", (count,)).fetchall()
    return events, keys


def commonly(path: Path, events: list, keys: list) -> float:
    """The yardstick: the same rows by executemany, 1,000 events a transaction. Seconds."""
    file.create(path)
    index: dict[int, list[tuple[int, int, int]]] = {}
    for row in keys:
        index.setdefault((row[2] - 1) // 1000, []).append(row)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=FULL")
        began = time.perf_counter()
        for start in range(0, len(events), 1000):
            db.execute("BEGIN")
            db.executemany("INSERT INTO events VALUES(?, ?, ?, ?, ?)", events[start : start + 1000])
            db.executemany("INSERT INTO keys VALUES(?, ?, ?)", index[start // 1000])
            db.execute("COMMIT")
        return time.perf_counter() - began


async def contention(folder: Path, full: Path, source: random.Random) -> None:
    print("beside a thread that computes without a pause (switch interval 5 ms)")
    events, keys = rows_of(full, 2000)
    commons: dict[bool, float] = {}
    appends: dict[bool, float] = {}
    rows: dict[bool, float] = {}
    reads: dict[bool, float] = {}
    for pressed in (False, True):
        took: tuple[list[float], ...] = ([], [], [], [])
        for turn in range(5):
            name = f"{pressed}-{turn}.db"
            batches = [[transfer(number, source) for number in range(1000)] for _ in range(2)]
            async with opened(folder / f"append-{name}") as log, opened(full) as stored:
                with busy() if pressed else contextlib.nullcontext():
                    took[0].append(await asyncio.to_thread(commonly, folder / f"common-{name}", events, keys))
                    began = time.perf_counter()
                    for batch in batches:
                        await log.append(batch)
                    took[1].append(time.perf_counter() - began)
                    took[2].append(await asyncio.to_thread(row_by_row, full, 2000))
                    took[3].append(await replay(stored, OPEN, 0, 2000))
        commons[pressed], appends[pressed], rows[pressed], reads[pressed] = map(median, took)
    for name, times in (
        ("yardstick: executemany of 2,000 events", commons),
        ("append of 2,000 events (encoding them, too)", appends),
        ("yardstick: 2,000 frames row by row", rows),
        ("read of 2,000 frames", reads),
    ):
        say(f"{name}, idle", times[False] * 1000, "ms")
        say(f"{name}, busy", times[True] * 1000, "ms", times[False] * 1000)
    say("append, busy, against the yardstick, busy", commons[True] / appends[True], "x faster")
    say("read, busy, against the yardstick, busy", rows[True] / reads[True], "x faster")


def row_by_row(path: Path, count: int) -> float:
    with contextlib.closing(sqlite3.connect(path)) as db:
        began = time.perf_counter()
        for _row in db.execute("SELECT frame FROM events ORDER BY seq LIMIT ?", (count,)):
            pass
        return time.perf_counter() - began


async def replay(log: SqliteLog, wanted: Filter, after: int, head: int, *, named: bool = False) -> float:
    began = time.perf_counter()
    while after < head:
        after = (await log.read(after, wanted, named=named, max_bytes=SLICE)).last
    return time.perf_counter() - began


async def tail(log: SqliteLog, wanted: Filter) -> tuple[float, int]:
    after, events = log.stats()["memory_oldest"] - 1, 0
    began = time.perf_counter()
    while after < log.head:
        found = log.read_tail(int(after), wanted, named=False, max_bytes=SLICE)
        assert found is not None
        after, events = found.last, events + found.events
    return time.perf_counter() - began, log.head - int(log.stats()["memory_oldest"]) + 1


async def deep(full: Path, small: Path, count: int) -> None:
    print(f"replay out of {count:,} events on disk, slices of 256 KiB")
    plain = await asyncio.to_thread(row_by_row, full, count)
    say("yardstick: row by row, frames not even joined", count / plain, "events/s")
    async with opened(full) as log:
        for name, wanted in (("open", OPEN), ("by type", TRANSFERS), ("by token: all match, each decoded", USDC)):
            head = count if wanted.by_pairs else min(count, 100_000)
            say(name, head / await replay(log, wanted, 0, head), "events/s", count / plain)
            if wanted.by_pairs:
                named = head / await replay(log, wanted, 0, head, named=True)
                say(f"{name}, named", named, "events/s", count / plain)
        took = min([await replay(log, MATCHING, 0, log.head) for _ in range(5)])
        absent = min([await replay(log, ABSENT, 0, log.head) for _ in range(5)])
        began = time.perf_counter()
        await log.last(10, MATCHING)
        back = time.perf_counter() - began
        began = time.perf_counter()
        await log.since(int(time.time() * 1000) - 5000)
        bisected = time.perf_counter() - began
    async with opened(small) as log:
        less = min([await replay(log, MATCHING, 0, log.head) for _ in range(5)])
    say("1,000 matches for one address in 20,000", less * 1000, "ms")
    say(f"1,000 matches for one address in {count:,}", took * 1000, "ms", less * 1000)
    say(f"no match for one address in {count:,}", absent * 1000, "ms")
    say("where the newest 10 of one address begin", back * 1000, "ms")
    say("where a time begins", bisected * 1000, "ms")


async def memory(folder: Path, source: random.Random) -> None:
    print("replay out of memory (64 MiB)")
    async with opened(folder / "memory.db", 64 << 20) as log:
        await log.append([NOTE])
        for start in range(0, 80_000, 1000):
            await log.append([transfer(start + place, source) for place in range(1000)])
        for name, wanted in (("open", OPEN), ("by type", TRANSFERS), ("one address", MATCHING)):
            took, events = await tail(log, wanted)
            say(name, events / took, "events/s")
        held = log.stats()
        found = await log.read(int(held["memory_oldest"]) - 1, OPEN, named=False, max_bytes=SLICE)
        frames = (held["head"] - held["memory_oldest"] + 1) * len(found.frames) / found.events
        say("memory held for each byte of frames", held["memory_bytes"] / frames, "bytes")


async def main(count: int) -> None:
    source = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="bench-log-") as name:
        folder = Path(name)
        await latency(folder, source)
        await bulk(folder / "full.db", count, source)
        await bulk(folder / "small.db", 20_000, source)
        await contention(folder, folder / "full.db", source)
        await deep(folder / "full.db", folder / "small.db", count)
        await memory(folder, source)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
