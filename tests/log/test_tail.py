"""The newest events in memory: bounded in bytes, honestly counted."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from chainwatch.filter import OPEN, Filter
from chainwatch.log import Entry
from chainwatch.log.batch import compose, draft
from chainwatch.log.plan import OPEN as EVERYTHING, plan
from chainwatch.log.tail import CHUNK, Chunk, Tail


def committed(events, first: int) -> list[Chunk]:
    return compose("log", first, 0, 0, [draft(event) for event in events], (), {}).chunks


def filled(made, limit: int, commits: int, size: int) -> Tail:
    tail = Tail(limit, 0)
    for number in range(commits):
        for chunk in committed([made.transfer(number * size + place) for place in range(size)], tail.head + 1):
            tail.append(chunk)
            assert tail.size <= limit
    return tail


@pytest.mark.parametrize("size", [1, 7, 400])
def test_memory_never_exceeds_its_limit_and_keeps_the_newest(made, size):
    tail = filled(made, 200_000, 800 // size + 5, size)
    assert tail.head > 800
    assert 1 < tail.oldest < tail.head
    found = tail.read(tail.oldest - 1, EVERYTHING, None, 1 << 30)
    assert found is not None
    assert found.events == tail.head - tail.oldest + 1
    assert tail.size > 100_000


@pytest.mark.parametrize("size", [1, 300])
def test_what_it_says_it_holds_is_what_it_holds(made, size):
    tail = filled(made, 1 << 22, 2, size)  # whatever is made once is made; nothing is forgotten meanwhile
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = tail.size
    for number in range(900 // size):
        events = [made.transfer(number * size + place) for place in range(size)]
        for chunk in committed(events, tail.head + 1):
            tail.append(chunk)
        del events, chunk
    gc.collect()
    real = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.85 < (tail.size - held) / real < 1.25


def test_no_memory_is_a_tail_that_holds_nothing(made):
    tail = filled(made, 0, 3, 10)
    assert (tail.size, tail.oldest, tail.head) == (0, 31, 30)
    assert tail.read(29, EVERYTHING, None, 100) is None
    assert tail.read(30, EVERYTHING, None, 100) is not None


def test_what_is_forgotten_leaves_memory_too(made):
    tail = filled(made, 1 << 20, 100, 1)
    tail.trim(60)
    assert tail.oldest == 60
    assert tail.read(58, EVERYTHING, None, 100) is None
    tail.trim(101)
    assert (tail.size, tail.oldest) == (0, 101)


def test_readers_at_the_same_place_share_one_object(made):
    tail = filled(made, 1 << 20, 1, 20)
    first = tail.read(0, EVERYTHING, None, 1 << 20)
    second = tail.read(0, EVERYTHING, None, 1 << 20)
    assert first is not None
    assert second is not None
    assert first.frames is second.frames


def test_a_commit_larger_than_a_chunk_becomes_several(made):
    parts = committed([made.custom(number, 20_000) for number in range(10)], 1)
    assert [(part.first, part.last) for part in parts] == [(1, 4), (5, 8), (9, 10)]
    assert all(len(part.blob) < CHUNK + 21_000 for part in parts)


def test_many_keys_find_what_few_keys_find(made):
    [chunk] = committed(made.random(100)[:60], 1)
    for count in (1, 10, 200):
        keys = sorted(set(chunk.keys))[:count]
        several = {place for key in keys for place in chunk.candidates([key], 5)}
        assert set(chunk.candidates(keys, 5)) == several
        assert set(chunk.candidates([*keys, *range(100)], 5)) == several


def test_a_read_looks_at_a_bounded_part(made):
    tail = filled(made, 1 << 26, 5, 3000)
    wanted = Filter(types=frozenset({"block_new"}))
    known = {("ethereum", "token_transfer"): 1, ("ethereum", "block_new"): 2}
    found = tail.read(0, plan(wanted, known), None, 1 << 20)
    assert found is not None
    assert found.events == 0
    assert 4000 < found.last < tail.head
    assert plan(OPEN, known) is EVERYTHING


def test_an_entry_is_what_the_tail_is_made_of(made):
    entries = compose("log", 5, 0, 0, [draft(made.block(1))], (), {}).entries
    assert isinstance(entries[0], Entry)
    assert entries[0].frame.startswith(b'id: log-5\ndata: {"id":"evt_')
