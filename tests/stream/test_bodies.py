"""
What each client of one hub is sent, whatever it and the others do: join, stop reading, go on, be ended, in the middle
of rounds and between them. The hub and the log are the real ones; the connections are in memory, so that a client takes
exactly what a test says.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from backports import zstd
from hypothesis import given, settings, strategies as st

from chainwatch import sse
from chainwatch.event import Event
from chainwatch.filter import OPEN
from chainwatch.log import parse_cursor
from chainwatch.log.store import SqliteLog, open_log
from chainwatch.stream import wire
from chainwatch.stream.coding import Coding
from chainwatch.stream.hub import Hub
from chainwatch.stream.stream import Place, Stream

pytestmark = pytest.mark.long

DECODE = {Coding.IDENTITY: bytes, Coding.GZIP: gzip.decompress, Coding.ZSTD: zstd.decompress}


class Connection(asyncio.Transport):
    """A transport without a socket: `reads` says whether its client takes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.sent = b""
        self.held = 0
        self.closed = False
        self.protocol: Stream

    def write(self, data: bytes) -> None:
        assert data, "an empty chunk ends the body"
        self.sent += data
        if not self.reads:
            self.held += len(data)
            if not self.protocol.paused:
                self.protocol.pause_writing()

    def go_on(self) -> None:
        self.reads = True
        self.held = 0
        if self.protocol.paused:
            self.protocol.resume_writing()
        if self.closed:
            self.protocol.connection_lost(None)

    def get_write_buffer_size(self) -> int:
        return self.held

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True
        if self.reads:
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        raise AssertionError("nobody is cut here")


class Client:
    """A stream of the hub, and what came of it."""

    def __init__(
        self, hub: Hub, name: str, first: int | None, coding: Coding, limit: int | None, named: bool, chunked: bool
    ) -> None:
        self.connection = Connection()
        self.first = first if first is not None else hub.flushed
        self.limit = limit
        self.stream = self.connection.protocol = Stream(
            hub,
            name=name,
            peer="",
            wanted=OPEN,
            after=self.first,
            named=named,
            chunked=chunked,
            coding=coding,
            limit=limit,
        )
        self.stream.transport = self.connection
        hub.open(self.stream, sse.connect("x-0", b"{}"))

    def body(self) -> bytes:
        form = self.stream.form
        sent = self.connection.sent
        if form.chunked:
            chunks = []
            while sent:
                size, _, sent = sent.partition(b"\r\n")
                chunks.append(sent[: int(size, 16)])
                assert sent[int(size, 16) :][:2] == b"\r\n"
                sent = sent[int(size, 16) + 2 :]
            assert chunks.pop() == b""
            sent = b"".join(chunks)
        return DECODE[form.coding](sent)

    def has(self, head: int) -> None:
        """Everything behind where it began, each once and in order, up to its limit or where it was ended."""
        messages = sse.Parser().feed(self.body())
        assert messages.pop(0).event == "connect"
        assert messages.pop().data == "[DONE]"
        sequences = [parse_cursor(message.id).sequence for message in messages]
        assert sequences == list(range(self.first + 1, self.first + 1 + len(sequences)))
        assert self.stream.events_sent == len(sequences)
        if self.stream.reason == "limit":
            assert len(sequences) == self.limit
        elif self.stream.reason == "shutdown":
            assert self.stream.position == head
            assert len(sequences) == head - self.first


def event(number: int) -> Event:
    data = {"number": number, "padding": "." * (number * 37 % 400)}
    return Event(id=f"evt_{number}", type="block_new", timestamp="", observed_at="", chain="ethereum", data=data)


@contextmanager
def small(turn: int, piece: int) -> Iterator[None]:
    with patch("chainwatch.stream.hub._TURN", turn), patch("chainwatch.stream.wire.PIECE", piece):
        yield


class Stage:
    """A hub and its clients."""

    def __init__(self, log: SqliteLog) -> None:
        self.log = log
        self.hub = Hub(log)
        self.begun = log.head
        self.clients: list[Client] = []

    async def do(self, step: tuple) -> None:
        what, *how = step
        if what == "open":
            first = None if len(self.clients) % 2 else self.begun
            self.clients.append(Client(self.hub, f"str_{len(self.clients)}", first, *how))
        elif what == "tell":
            await self.log.append([event(self.log.head + number) for number in range(1, how[0] + 1)])
        elif what == "turn":
            for _ in range(how[0]):
                await asyncio.sleep(0)
        elif self.clients:
            client = self.clients[how[0] % len(self.clients)]
            stream = client.stream
            if what == "stop reading":
                client.connection.reads = False
            elif what == "go on":
                client.connection.go_on()
            elif what == "end":
                self.hub.finish(stream, "revoked")
            elif stream.place not in (Place.CLOSING, Place.CLOSED) and not self.hub.in_round:
                self.hub.write(stream, *wire.told(b":\n", stream.form))  # a heartbeat

    async def everyone_has_everything(self) -> None:
        for _ in range(2):  # who lives on has all there is, and is ended behind it
            for client in self.clients:
                client.connection.go_on()
            async with asyncio.timeout(20):
                while any(
                    client.stream.place not in (Place.LIVE, Place.CLOSED) or client.stream.position < self.log.head
                    for client in self.clients
                    if client.stream.place is not Place.CLOSED
                ):
                    await asyncio.sleep(0)
        await self.hub.close()
        for client in self.clients:
            client.has(self.log.head)


async def play(log: SqliteLog, steps: list[tuple], turn: int, piece: int) -> None:
    with small(turn, piece):
        stage = Stage(log)
        for step in steps:
            await stage.do(step)
        await stage.everyone_has_everything()


class World(NamedTuple):
    """A loop, and a log on it, for many plays: to make them takes longer than to play."""

    runner: asyncio.Runner
    log: SqliteLog

    def play(self, *what: Any) -> None:
        self.runner.run(play(self.log, *what))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    path = tmp_path_factory.mktemp("log") / "events.db"
    with asyncio.Runner() as runner:
        log = runner.run(open_log(path, ttl=3600.0, max_events=10**6, max_bytes=2**30, memory=2**20))
        yield World(runner, log)
        runner.run(log.close())


numbers = st.integers(0, 7)
opened = st.tuples(
    st.just("open"),
    st.sampled_from([Coding.IDENTITY, Coding.GZIP, Coding.GZIP, Coding.GZIP, Coding.ZSTD]),
    st.sampled_from([None, None, None, 3, 20, 45]),
    st.sampled_from([False, False, True]),
    st.booleans(),
)
told = st.tuples(st.just("tell"), st.integers(1, 12))
turns = st.tuples(st.just("turn"), st.integers(1, 12))
done = st.tuples(st.sampled_from(["stop reading", "go on", "beat", "end"]), numbers)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(opened, min_size=3, max_size=6),
    st.lists(st.one_of(told, turns, turns, done, done, done, opened), min_size=20, max_size=50),
    st.sampled_from([1, 2, 1000]),
    st.sampled_from([300, 2000, 2**18]),
)
def test_every_client_has_every_event_once_in_a_body_that_is_valid_to_its_end(world, cast, steps, turn, piece):
    world.play([*cast, ("turn", 3), *steps], turn, piece)


def test_who_pauses_and_is_back_within_one_round_gets_the_rest_of_it_once(world):
    """It reads on from the log beyond what the round still owes it."""
    reader = ("open", Coding.IDENTITY, None, False, False)
    story = [reader, reader, reader, ("turn", 5), ("stop reading", 0), ("tell", 12), ("turn", 1), ("go on", 0)]
    world.play([*story, ("turn", 50)], 1, 300)


def test_who_is_ended_in_a_round_ends_behind_it(world):
    reader = ("open", Coding.GZIP, None, False, False)
    world.play([reader, reader, ("turn", 5), ("tell", 12), ("turn", 1), ("end", 1), ("turn", 50), ("tell", 1)], 1, 300)
