"""What is forgotten, and when: the decisions, and that a log abides by them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from chainwatch.filter import OPEN, Filter
from chainwatch.log import Put, Slice, reader, retention
from chainwatch.log.retention import Held, Limits, give_back, keep_from, next_expiry

DAY = 86_400_000
ROOMY = Limits(ttl=DAY, max_events=10**6, max_bytes=1 << 32)


def held(oldest: int = 1, head: int = 10_000, pages: int = 1000, free: int = 0, expired: int = 0) -> Held:
    return Held(oldest, head, pages, free, expired)


def test_nothing_goes_while_there_is_room():
    assert keep_from(held(), ROOMY) == 1
    assert keep_from(held(oldest=10_001), ROOMY) == 10_001


def test_too_many_events_go_oldest_first_and_a_few_more():
    limits = ROOMY._replace(max_events=9900)
    assert keep_from(held(), limits) == 1 + 100 + 9900 // 64
    assert keep_from(held(oldest=101), limits) == 101


def test_one_slice_at_a_time():
    assert keep_from(held(), ROOMY._replace(max_events=10)) == 1 + retention.SLICE
    assert keep_from(held(expired=5000), ROOMY) == 1 + retention.SLICE


def test_expired_events_go():
    assert keep_from(held(oldest=100, expired=150), ROOMY) == 151
    assert keep_from(held(oldest=100, expired=0), ROOMY) == 100


def test_too_many_bytes_go_by_what_an_event_takes():
    limits = ROOMY._replace(max_bytes=4 << 20)
    over = limits.pages + 10
    keep = keep_from(held(pages=over), limits)
    per_event = over / 10_000
    assert (keep - 1) * per_event >= 10
    assert keep < 1000
    assert keep_from(held(pages=over, free=20), limits) == 1


def test_a_limit_too_small_for_anything_keeps_nothing_and_does_not_go_on_for_ever():
    limits = ROOMY._replace(max_bytes=0)
    assert keep_from(held(oldest=9_999), limits) == 10_001
    assert keep_from(held(oldest=10_001), limits) == 10_001


def test_the_disk_gets_back_what_is_above_the_limit_or_idle():
    assert give_back(held(pages=1000, free=100), ROOMY) == 0
    assert give_back(held(pages=9000, free=8000), ROOMY) == retention.SLICE
    limits = ROOMY._replace(max_bytes=4 << 20)
    assert give_back(held(pages=limits.pages + 7, free=100), limits) == 7
    assert give_back(held(pages=limits.pages + 7, free=3), limits) == 3


def test_expiry_is_looked_for_now_and_then():
    assert next_expiry(None, 1000, DAY) == 1000 + DAY
    assert next_expiry(500, 1000, DAY) == 500 + DAY + 1
    assert next_expiry(1000 - DAY, 1000, DAY) == 1000 + 60_000
    assert next_expiry(0, 1000, 1000) == 1010


async def until(condition, seconds: float = 10) -> None:
    """The writer tidies up in its own time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.005)


def on_disk(path: Path) -> int:
    """As `du` sees it."""
    return sum(part.stat().st_blocks * 512 for part in path.parent.glob(f"{path.name}*"))


async def test_a_log_forgets_by_count(opened, made):
    log = await opened(max_events=500, memory=1 << 30)
    for start in range(0, 3000, 40):
        await log.append([made.transfer(start + place) for place in range(40)])
        assert log.head - log.oldest < 600
    await until(lambda: log.head - log.oldest + 1 <= 500)
    assert log.head - log.oldest + 1 > 400
    assert log.read_tail(0, OPEN, named=False, max_bytes=1000) is None
    # Whoever is behind that does not skip: it sees the gap.
    behind = await log.read(0, OPEN, named=False, max_bytes=1000)
    assert behind == Slice(b"", 0, 0)
    page, _ = await log.page(0, OPEN, 10_000)
    assert [sequence for sequence, _ in page] == list(range(log.oldest, log.head + 1))
    assert await log.since(0) == log.oldest - 1
    assert await log.last(10_000, OPEN) == log.oldest - 1
    by_address = Filter(addresses=frozenset({"0x" + "a1" * 20}))
    assert await log.last(10_000, by_address) == log.oldest - 1
    page, _ = await log.page(0, by_address, 10_000)
    assert len(page) == log.head - log.oldest + 1


async def test_a_time_is_found_though_what_was_older_went_meanwhile(opened, made):
    now = [1.0]
    log = await opened(max_events=100, clock=lambda: now[0])
    for number in range(400):
        now[0] += 1
        await log.append([made.block(number)])
    await until(lambda: log.oldest > 300)
    # As a reader asks that still believes in the first event.
    assert await log._ask(reader.since, 390_000, 1, log.head) == 388
    assert await log._ask(reader.since, 5000, 1, log.head) <= log.oldest - 1


async def test_a_log_forgets_by_time_alone_and_counts_on(opened, made):
    log = await opened(ttl=0.3)
    await log.append(made.random(5000), [Put("state", b"kept")])
    await until(lambda: log.oldest == 5001)
    assert log.head == 5000
    assert await log.read(5000, OPEN, named=False, max_bytes=100) == Slice(b"", 5000, 0)
    assert (await log.read(4000, OPEN, named=False, max_bytes=100)).last == 4000
    assert await log.page(0, OPEN, 10) == ([], 5000)
    assert await log.since(0) == 5000
    assert await log.get("state") == b"kept"
    await log.close()
    log = await opened(ttl=1e6)
    assert (log.oldest, log.head) == (5001, 5000)
    [entry] = await log.append([made.block(1)])
    assert entry.sequence == 5001
    assert (await log.read(5000, OPEN, named=False, max_bytes=100)).events == 1


async def test_what_expired_while_nobody_ran_goes_when_it_opens(opened, made):
    log = await opened(clock=lambda: 1000.0)
    await log.append(made.random(100))
    await log.close()
    log = await opened(clock=lambda: 2000.0, ttl=500)
    await until(lambda: log.oldest == 101)


@pytest.mark.long
@pytest.mark.parametrize(("limit", "size"), [(2 << 20, 50), (6 << 20, 250)])
async def test_a_log_stays_below_its_bytes_on_the_disk(opened, made, tmp_path, limit, size):
    path = tmp_path / "events.db"
    log = await opened(path, max_bytes=limit)
    most = 0
    for start in range(0, 3 * limit // 800, size):
        await log.append([made.transfer(start + place, to=f"0x{start + place:040x}") for place in range(size)])
        most = max(most, on_disk(path))
    assert limit / 2 < most <= limit
    assert log.oldest > 1
    assert (log.head - log.oldest + 1) * 1000 > limit / 3
    page, _ = await log.page(log.oldest - 1, OPEN, 100)
    assert len(page) == 100


@pytest.mark.long
async def test_the_disk_gets_back_what_was_forgotten(opened, made, tmp_path):
    path = tmp_path / "events.db"
    log = await opened(path)
    for start in range(0, 40_000, 4000):
        await log.append([made.transfer(start + place) for place in range(4000)])
    await log.close()
    full = on_disk(path)
    log = await opened(path, max_events=100)
    await until(lambda: on_disk(path) < full / 3, seconds=20)
    assert log.head - log.oldest + 1 <= 100
    [entry] = await log.append([made.block(1)])
    assert entry.sequence == 40_001


@pytest.mark.long
async def test_an_append_does_not_wait_for_much_of_retention(opened, made):
    log = await opened()
    for start in range(0, 40_000, 4000):
        await log.append([made.transfer(start + place) for place in range(4000)])
    await log.close()
    log = await opened(max_events=100)
    between = 0
    while log.oldest < 39_000:
        await log.append([made.block(1)])
        between += 1
    assert between >= 5  # of some 39, one a slice; the second would wait for all of it
