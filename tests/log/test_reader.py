"""Every way to read gives what the filter says, whatever the plan: held against a model."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from chainwatch.event import NATIVE, event_id, interest
from chainwatch.filter import OPEN, Filter
from chainwatch.log import Slice, reader, schema, tail
from chainwatch.where import View, compile_where

ADDRESSES = [f"0x{digit * 40}" for digit in "123456789f"]

filters = st.builds(
    Filter,
    types=st.frozensets(st.sampled_from(["block_new", "token_transfer", "note", "chain_reorg"]), max_size=2),
    chains=st.frozensets(st.sampled_from(["ethereum", "base", "absent"]), max_size=2),
    addresses=st.frozensets(st.sampled_from(ADDRESSES), max_size=3),
    tokens=st.frozensets(st.sampled_from([("", ADDRESSES[0]), ("base", ADDRESSES[1]), ("base", NATIVE)]), max_size=2),
    min_amount=st.none() | st.integers(0, 1100),
    # Rare: each event has to be decoded for one.
    where=st.sampled_from([None] * 6 + ["data.amount % 3 == 0", "has(data.text)"]).map(
        lambda text: None if text is None else compile_where(text)
    ),
)


def matches_of(wanted: Filter, entries: list) -> list:
    return [entry for entry in entries if wanted.matches(entry.about, View(entry.event))]


async def read_on(log, after: int, wanted: Filter, *, named: bool = False, max_bytes: int = 5000) -> list[Slice]:
    slices = []
    while after < log.head:
        found = await log.read(after, wanted, named=named, max_bytes=max_bytes)
        assert found.last > after
        assert found.events <= 1 or len(found.frames) <= max_bytes + 24 * found.events * named
        slices.append(found)
        after = found.last
    return slices


def sequences(frames: bytes) -> list[int]:
    return [int(line[line.index(b"-") + 1 :]) for line in frames.split(b"\n") if line.startswith(b"id: ")]


@pytest.mark.long
@pytest.mark.parametrize("memory", [0, 1 << 30])
async def test_reading_finds_exactly_what_the_filter_wants(opened, made, memory):
    """The same questions to the file and to memory."""
    log = await opened(memory=memory)
    entries = list(await log.append(made.random(3000)))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(filters, st.integers(0, 3000), st.booleans(), st.sampled_from([1, 700, 5000, 100_000]))
    def chosen(wanted, after, named, max_bytes):
        questions.append((wanted, after, named, max_bytes))

    questions = [(OPEN, 0, False, 5000), (OPEN, 2990, True, 1)]
    chosen()
    for wanted, after, named, max_bytes in questions:
        matches = [entry for entry in matches_of(wanted, entries) if entry.sequence > after]
        slices = await read_on(log, after, wanted, named=named, max_bytes=max_bytes)
        joined = b"".join(found.frames for found in slices)
        assert joined == b"".join(f"event: {entry.event.type}\n".encode() * named + entry.frame for entry in matches), (
            wanted
        )
        assert sum(found.events for found in slices) == len(matches)
        for found in slices:
            here = sequences(found.frames)
            assert len(here) == found.events
            assert all(sequence <= found.last for sequence in here)
        page, looked = await log.page(after, wanted, 7)
        assert [(sequence, event.id) for sequence, event in page] == [
            (entry.sequence, entry.event.id) for entry in matches[:7]
        ]
        assert looked == (matches[6].sequence if len(matches) >= 7 else log.head)
        everything = [entry.sequence for entry in matches_of(wanted, entries)]
        place = await log.last(5, wanted)
        assert [sequence for sequence in everything if sequence > place] == everything[-5:]


async def test_what_memory_no_longer_holds_comes_from_the_file_without_a_seam(opened, made):
    log = await opened(memory=100_000)
    for seed in range(20):
        await log.append(made.random(100, seed))
    assert 1 < log.stats()["memory_oldest"] < log.head
    assert log.read_tail(0, OPEN, named=False, max_bytes=1) is None
    assert log.read_tail(log.head, OPEN, named=False, max_bytes=1) == Slice(b"", log.head, 0)
    for wanted in (OPEN, Filter(types=frozenset({"token_transfer"})), Filter(addresses=frozenset({ADDRESSES[2]}))):
        slices = await read_on(log, 0, wanted, max_bytes=20_000)
        found = [sequence for piece in slices for sequence in sequences(piece.frames)]
        page, _ = await log.page(0, wanted, 5000)
        assert found == [sequence for sequence, _ in page]


async def test_matches_across_many_segments_come_in_order(opened, made):
    """Rare matches, then many, then none: the reader looks further at once where it finds little."""
    log = await opened(memory=0)
    rare, common = ADDRESSES[0], ADDRESSES[1]
    count = 4 * schema.SEGMENT
    events = [
        made.custom(number, 1, to=rare if number % 3001 == 0 else common if count < 2 * number else ADDRESSES[5])
        for number in range(count)
    ]
    for start in range(0, count, 4000):
        await log.append(events[start : start + 4000])
    wanted = Filter(addresses=frozenset({rare}))
    [found] = await read_on(log, 0, wanted, max_bytes=1 << 20)
    assert sequences(found.frames) == [number + 1 for number in range(0, count, 3001)]
    assert found.last == log.head
    both = Filter(addresses=frozenset({rare, common}))
    expected = [number + 1 for number in range(count) if number % 3001 == 0 or count < 2 * number]
    slices = await read_on(log, 0, both, max_bytes=200_000)
    assert [sequence for piece in slices for sequence in sequences(piece.frames)] == expected
    assert await log.last(len(expected), both) == expected[0] - 1
    assert await log.last(2, wanted) == 3001 * ((count - 1) // 3001 - 1)
    many = Filter(addresses=frozenset({rare, *(f"0x{number:040x}" for number in range(3000))}))
    slices = await read_on(log, 0, many, max_bytes=1 << 20)
    assert [sequence for piece in slices for sequence in sequences(piece.frames)] == sequences(found.frames)


async def test_one_call_looks_at_a_bounded_part(opened, made):
    log = await opened(memory=0)
    count = 3 * reader.DECODED
    for start in range(0, count, 4096):
        await log.append([made.custom(number, 1, amount="5") for number in range(start, start + 4096)])
    wanted = Filter(min_amount=6)
    first = await log.read(0, wanted, named=False, max_bytes=1000)
    assert first.events == 0
    assert 0 < first.last < count
    page, looked = await log.page(0, wanted, 10)
    assert not page
    assert 0 < looked < count


async def test_a_large_event_among_small_ones_does_not_swell_a_slice(opened, made):
    log = await opened(memory=0)
    await log.append([made.custom(number, 60_000 if 1000 <= number < 1100 else 5) for number in range(2000)])
    await log.append([made.block(1)])  # so that to ask for notes is a question
    for wanted in (
        OPEN,
        Filter(types=frozenset({"note"})),
        Filter(min_amount=0),
        Filter(types=frozenset({"block_new"})),
    ):
        for after, room in ((0, 100_000), (990, 62_000)):
            for found in await read_on(log, after, wanted, max_bytes=room):
                assert len(found.frames) <= room
    alone = await log.read(1000, OPEN, named=False, max_bytes=10)
    assert (alone.events, alone.last) == (1, 1001)


async def test_since_finds_the_first_event_of_a_time(opened, made):
    now = [5000.0]
    log = await opened(clock=lambda: now[0])
    times = []
    for number in range(300):
        now[0] += (number % 7) / 100
        size = number % 3 + 1
        await log.append([made.block(1000 * number + place) for place in range(size)])
        times += [int(now[0] * 1000)] * size
    for early, late in pairwise(sorted({*times, 0, 10**13})):
        for moment in (early, early + 1, late - 1, late):
            expected = sum(time < moment for time in times)
            assert await log.since(moment) == expected


async def test_an_event_is_read_back_with_the_interest_it_was_indexed_by(opened, made):
    log = await opened(memory=0)
    entries = await log.append(made.random(200))
    page, _ = await log.page(0, OPEN, 200)
    assert [interest(event) for _, event in page] == [entry.about for entry in entries]
    assert all(event.id == entry.event.id for (_, event), entry in zip(page, entries, strict=True))
    assert event_id("x") not in {event.id for _, event in page}


@pytest.mark.parametrize("memory", [0, 1 << 30])
async def test_an_expression_that_takes_long_is_answered_in_pieces(opened, made, memory, monkeypatch):
    """Each call does a bounded part of the work, and moves on."""
    log = await opened(memory=memory)
    entries = list(await log.append(made.random(400)))
    monkeypatch.setattr(reader, "STEPS", 100)
    monkeypatch.setattr(tail, "_STEPS", 100)
    wanted = Filter(where=compile_where("has(data.amount) && data.amount % 2 == 0"))
    matches = matches_of(wanted, entries)
    slices = await read_on(log, 0, wanted, max_bytes=1 << 20)
    assert b"".join(found.frames for found in slices) == b"".join(entry.frame for entry in matches)
    assert len(slices) > 20
    found, after = list[int](), 0
    while after < log.head:
        events, looked = await log.page(after, wanted, 1000)
        assert looked > after
        found += [sequence for sequence, _ in events]
        after = looked
    assert found == [entry.sequence for entry in matches]
    newest = await log.last(3, wanted)
    assert newest in [log.head, *(sequence - 1 for sequence in found)]  # fewer, rather than a long time
