"""Appending: durable before delivered, in order, all or nothing."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from chainwatch.errors import LogError
from chainwatch.event import decode
from chainwatch.filter import OPEN, Filter
from chainwatch.log import Drop, Put, parse_cursor
from chainwatch.log.batch import net


async def test_what_was_appended_comes_back_as_it_was_sent(opened, made):
    log = await opened()
    events = made.random(50)
    entries = await log.append(events)
    assert [entry.sequence for entry in entries] == list(range(1, 51))
    assert [entry.event for entry in entries] == events
    found = await log.read(0, OPEN, named=False, max_bytes=1 << 20)
    assert found.frames == b"".join(entry.frame for entry in entries)
    head, data, *rest = entries[7].frame.decode().split("\n")
    cursor = parse_cursor(head.removeprefix("id: "))
    assert cursor is not None
    assert cursor == (log.identity, 8)
    assert decode(data.removeprefix("data: ")).id == events[7].id
    assert rest == ["", ""]


async def test_a_log_goes_on_where_it_ended(opened, made):
    log = await opened()
    await log.append([made.block(1), made.transfer(2)])
    identity, pairs = log.identity, log.pairs
    await log.close()
    log = await opened()
    assert (log.identity, log.pairs, log.oldest, log.head) == (identity, pairs, 1, 2)
    [entry] = await log.append([made.transfer(3)])
    assert entry.sequence == 3
    page, looked = await log.page(0, OPEN, 10)
    assert [event.id for _, event in page] == [made.block(1).id, made.transfer(2).id, made.transfer(3).id]
    assert looked == 3


async def test_an_event_is_on_disk_before_anyone_hears_of_it(opened, made, tmp_path):
    log = await opened()
    seen: list[int] = []

    def listener(entries):
        with sqlite3.connect(tmp_path / "events.db") as other:
            [head] = other.execute("SELECT max(seq) FROM events").fetchone()
        other.close()
        assert head >= entries[-1].sequence
        assert log.head == entries[-1].sequence
        seen.extend(entry.sequence for entry in entries)

    log.listen(listener)
    heard = await log.append([made.block(1), made.block(2)])
    assert seen == [entry.sequence for entry in heard]


async def test_appends_that_wait_are_committed_together_and_in_order(opened, made):
    log = await opened()
    heard: list[str] = []
    log.listen(lambda entries: heard.extend(entry.event.id for entry in entries))
    batches = [made.random(size, seed) for seed, size in enumerate([700, 1, 3, 1200, 1, 0, 5])]
    results = await asyncio.gather(*(log.append(batch) for batch in batches))
    assert [[entry.event for entry in result] for result in results] == batches
    assert heard == [event.id for batch in batches for event in batch]
    assert log.stats()["commits"] < 6


async def test_events_and_state_are_one_transaction(opened, made):
    log = await opened()
    await log.append([made.block(1)], [Put("chain/a", b"1"), Put("chain/b", b""), Put("other", b"\0\xff")])
    await log.append([], [Drop("chain/", "chain0"), Put("chain/c", b"3")])
    assert await log.get("chain/a") is None
    assert await log.get("other") == b"\0\xff"
    assert await log.scan("", "~") == [("chain/c", b"3"), ("other", b"\0\xff")]
    await log.append([made.block(2)], [Put("chain/b", b"")])
    assert await log.get("chain/b") == b""
    await log.close()
    log = await opened()
    assert await log.scan("chain/", "chain0") == [("chain/b", b""), ("chain/c", b"3")]


async def test_a_stamped_value_begins_with_the_sequence_of_its_own_append(opened, made):
    log = await opened()
    await log.append([made.block(1), made.block(2)])
    await asyncio.gather(  # one commit
        *(log.append([made.transfer(n), made.transfer(n + 1)], [Put(f"s/{n}", b"v", stamped=True)]) for n in (10, 20)),
    )
    assert await log.scan("s/", "s0") == [("s/10", bytes(7) + b"\x03v"), ("s/20", bytes(7) + b"\x05v")]


def test_changes_in_order_come_to_ranges_to_drop_and_then_keys_to_put():
    assert net([Put("a", b"1"), Put("b", b"1"), Drop("a", "b"), Put("c", b"2"), Put("b", b"3")]) == (
        [("a", "b")],
        {"b": b"3", "c": b"2"},
    )
    assert net([Drop("a", "z"), Put("b", b"1")]) == ([("a", "z")], {"b": b"1"})
    one = [Put("a", b"1"), Put("a/1", b"1"), Drop("a", "a\0")]
    assert net(one) == ([("a", "a\1")], {"a/1": b"1"})
    assert net([*one, Put("a", b"2")]) == ([("a", "a\1")], {"a/1": b"1", "a": b"2"})


async def test_one_key_is_dropped_and_its_neighbours_stay(opened):
    log = await opened()
    keys = ["a", "a/", "a0", "aa", "b"]
    await log.append([], [Put(key, b"") for key in keys])
    await log.append([], [Drop(key, f"{key}\0") for key in ("a", "aa")])
    assert [key for key, _ in await log.scan("", "z")] == ["a/", "a0", "b"]
    await log.append([], [Put("c", b""), Drop("c", "c\0"), Drop("b", "b\0"), Put("b", b"again")])
    assert await log.scan("a0", "z") == [("a0", b""), ("b", b"again")]


async def test_a_listener_that_fails_keeps_nobody_from_hearing(opened, made):
    log = await opened()
    told: list[dict] = []
    heard: list[int] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    log.listen(lambda _entries: 1 / 0)
    log.listen(lambda entries: heard.append(len(entries)))
    await log.append([made.block(1)])
    assert heard == [1]
    assert isinstance(told[0]["exception"], ZeroDivisionError)


async def test_an_append_that_is_cancelled_is_committed_all_the_same(opened, made):
    log = await opened()
    first = asyncio.create_task(log.append([made.block(1)]))
    await asyncio.sleep(0)  # it has been handed over
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    [second] = await log.append([made.block(2)])
    assert second.sequence == 2
    assert log.head == 2


async def test_an_event_that_cannot_be_encoded_harms_nobody_else(opened, made):
    log = await opened()
    bad = made.custom(1, text=object())
    with pytest.raises(TypeError):
        await log.append([bad])
    [entry] = await log.append([made.block(1)])
    assert entry.sequence == 1


async def test_state_keys_that_cannot_be_written_fail_alone(opened, made):
    log = await opened()
    with pytest.raises(UnicodeEncodeError):
        await log.append([made.block(1)], [Put("\ud800", b"")])
    [entry] = await log.append([made.block(2)])
    assert (entry.sequence, log.head) == (1, 1)


async def test_closing_finishes_what_was_appended(opened, made):
    log = await opened()
    appends = [asyncio.create_task(log.append(made.random(300, seed))) for seed in range(8)]
    await asyncio.sleep(0)
    await log.close()
    done = await asyncio.gather(*appends, return_exceptions=True)
    written = [len(result) for result in done if not isinstance(result, BaseException)]
    assert all(isinstance(result, LogError) for result in done if isinstance(result, BaseException))
    log = await opened()
    assert log.head == sum(written)


async def test_a_closed_log_says_so(opened, made):
    log = await opened()
    await log.append([made.block(1)])
    await log.close()
    await log.close()
    with pytest.raises(LogError, match="closed"):
        await log.append([made.block(2)])
    with pytest.raises(LogError, match="closed"):
        await log.get("x")


async def test_a_clock_that_is_set_back_does_not_reorder_time(opened, made):
    now = [1000.0]
    log = await opened(clock=lambda: now[0])
    await log.append([made.block(1)])
    now[0] = 900.0
    await log.append([made.block(2)])
    now[0] = 1001.0
    await log.append([made.block(3)])
    assert await log.since(0) == 0
    assert await log.since(1_000_000) == 0
    assert await log.since(1_000_001) == 2
    assert await log.since(1_001_001) == 3


async def test_one_key_for_two_things_finds_only_what_was_asked_for(opened, made):
    """Anyone can send to an address that ends like the key of a type."""
    from chainwatch.event import pair_key

    clash = f"0x{'0' * 24}{pair_key('ethereum', 'block_new'):016x}"
    log = await opened(memory=0)
    await log.append([made.block(1), made.transfer(2, to=clash), made.custom(3, to=clash), made.block(4)])
    found = await log.read(0, Filter(types=frozenset({"block_new"})), named=False, max_bytes=1 << 20)
    assert found.events == 2
    page, _ = await log.page(0, Filter(addresses=frozenset({clash})), 10)
    assert [sequence for sequence, _ in page] == [2, 3]
    # And one event may meet one key twice.
    both = made.transfer(5, to=clash, source=clash)
    await log.append([made.custom(6, kind="block_new", to=clash), both])
    assert log.head == 6


async def test_a_file_that_was_removed_under_the_log_takes_no_more(opened, made, tmp_path):
    """What is written into a removed file is gone with the process: better no commit than that."""
    log = await opened(tmp_path / "here.db")
    await log.append([made.block(1)])
    (tmp_path / "here.db").rename(tmp_path / "there.db")
    with pytest.raises(LogError, match="moved or removed"):
        await log.append([made.block(2)])
    (tmp_path / "here.db").write_bytes(b"another file")
    with pytest.raises(LogError, match="moved or removed"):
        await log.append([made.block(2)])
    (tmp_path / "there.db").rename(tmp_path / "here.db")
    [entry] = await log.append([made.block(2)])
    assert entry.sequence == 2
