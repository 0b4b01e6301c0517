"""
The embedded log: SQLite in WAL mode, and the newest events in memory.

    append ─ draft ─► writer's thread ─ commit ─► loop: tail, listeners, then the appender
    read ─ tail (at once), or a thread with a read-only connection

All that the loop knows of the log (`head`, `oldest`, `pairs`, the tail) changes in callbacks of the writer, so between
two awaits it stands still: that is what lets a stream go from replay to live without a lock.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import msgspec

from chainwatch.errors import LogError
from chainwatch.event import Event
from chainwatch.filter import Filter
from chainwatch.log import Change, Entry, Listener, Slice, file, reader
from chainwatch.log.batch import Commit, Draft, draft
from chainwatch.log.faults import damaged, explain
from chainwatch.log.plan import Plan, plan
from chainwatch.log.retention import Limits
from chainwatch.log.tail import Tail
from chainwatch.log.writer import Job, Writer

_DRAFTED: Final = 256  # events that are encoded before the loop gets its turn: about 1 ms
_READERS: Final = 2  # more only get in one another's way: each holds the interpreter's lock between statements
_PLANS: Final = 4096

T = TypeVar("T")
P = ParamSpec("P")


async def open_log(
    path: str | os.PathLike[str],
    *,
    ttl: float,
    max_events: int,
    max_bytes: int,
    memory: int,
    clock: Callable[[], float] = time.time,
) -> SqliteLog:
    """
    Open the log at `path`, or make it; on the event loop that will use it. `ttl` is in seconds, `max_bytes` and
    `memory` in bytes; `clock` gives Unix time. `LogInUse`, `LogDamaged` (then nothing was changed) or `LogError` where
    it cannot be used.
    """
    real = file.resolve(path)
    lock = file.Lock(real)
    try:
        file.prepare(real)
        try:
            return SqliteLog(real, lock, Limits(int(ttl * 1000), max_events, max_bytes), memory, clock)
        except sqlite3.Error as error:
            raise explain(error, real) from error
    except BaseException:
        lock.release()
        raise


class SqliteLog:
    """A `chainwatch.log.Log`, see there; made by `open_log`."""

    def __init__(self, path: Path, lock: file.Lock, limits: Limits, memory: int, clock: Callable[[], float]) -> None:
        self._path = path
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._db = file.connect(path, write=True)
        self._writer = Writer(self._db, path, limits, clock, self, self._loop)
        self.identity: str = self._writer.identity
        self.oldest: int = self._writer.oldest
        self.head: int = self._writer.head
        self._bytes = self._writer.reach - self._writer.forgotten
        self._events = self.head - self.oldest + 1
        self._tail = Tail(memory, self.head)
        self._pairs = dict(self._writer.pairs)
        self.pairs: frozenset[tuple[str | None, str]] = frozenset(self._pairs)
        self._names = self._event_lines()
        self._plans: dict[Filter, Plan] = {}
        self._listeners: list[Listener] = []
        self._drafting = asyncio.Lock()
        self._waiting: set[asyncio.Future[Sequence[Entry]]] = set()
        self._closed: LogError | None = None
        self._ended = False
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="log:reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._commits = self._forgotten = 0
        self._seconds = 0.0
        self._writer.thread.start()

    # --- append -----------------------------------------------------------------------------------------------------

    async def append(self, events: Sequence[Event], changes: Sequence[Change] = ()) -> Sequence[Entry]:
        """
        See `Log.append`. Appends are committed in the order in which they were called. One that is cancelled after
        it was handed to the writer is committed all the same.
        """
        drafts: list[Draft] = []
        async with self._drafting:  # it is fair, and so keeps the order
            for start in range(0, len(events), _DRAFTED):
                if start:
                    await asyncio.sleep(0)
                drafts += [draft(event) for event in events[start : start + _DRAFTED]]
            if self._closed:
                raise self._closed
            if not drafts and not changes:
                return ()
            done: asyncio.Future[Sequence[Entry]] = self._loop.create_future()
            self._waiting.add(done)
            self._writer.jobs.put(Job(drafts, tuple(changes), done))
        return await done

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def committed(self, commit: Commit, jobs: Sequence[Job], seconds: float) -> None:
        """From the writer: it is on disk."""
        self._commits += 1
        self._seconds = seconds
        entries = commit.entries
        if entries:
            self.head = entries[-1].sequence
            self._bytes += commit.size
            self._events += len(entries)
            if commit.pairs:
                self._pairs |= commit.pairs
                self.pairs = frozenset(self._pairs)
                self._names = self._event_lines()
                self._plans.clear()
            for chunk in commit.chunks:
                self._tail.append(chunk)
            for listener in self._listeners:
                try:
                    listener(entries)
                except Exception as error:  # noqa: BLE001 - one listener's fault must not keep the others from hearing
                    self._loop.call_exception_handler(
                        {"message": "a listener of the event log failed", "exception": error}
                    )
        start = 0
        for job in jobs:
            self._waiting.discard(job.done)
            if not job.done.done():
                job.done.set_result(entries[start : start + len(job.drafts)])
            start += len(job.drafts)

    def failed(self, jobs: Sequence[Job], error: Exception) -> None:
        """From the writer: nothing of it was written."""
        for job in jobs:
            self._waiting.discard(job.done)
            if not job.done.done():
                job.done.set_exception(error)

    def retired(self, oldest: int) -> None:
        """From the writer: what is older than this is about to go."""
        self._forgotten += oldest - self.oldest
        self.oldest = oldest
        self._tail.trim(oldest)

    def stopped(self, error: Exception) -> None:
        """From the writer: a fault of ours ended it."""
        self._closed = LogError("the event log has stopped", why=f"{type(error).__name__}: {error}")
        waiting, self._waiting = self._waiting, set()
        for done in waiting:
            if not done.done():
                done.set_exception(self._closed)

    # --- read -------------------------------------------------------------------------------------------------------

    def read_tail(self, after: int, wanted: Filter, *, named: bool, max_bytes: int) -> Slice | None:
        if after < self.oldest - 1:  # memory lets go by chunks, and may still hold what is forgotten
            return None
        return self._tail.read(after, self._plan(wanted), self._names if named else None, max_bytes)

    async def read(self, after: int, wanted: Filter, *, named: bool, max_bytes: int) -> Slice:
        found = self.read_tail(after, wanted, named=named, max_bytes=max_bytes)
        if found is not None:
            return found
        gap = Slice(b"", after, 0)
        if after < self.oldest - 1:
            return gap
        average = self._bytes // max(self._events, 1)
        try:
            found = await self._ask(
                reader.read,
                after,
                self.head,
                self._plan(wanted),
                named=named,
                max_bytes=max_bytes,
                size=average,
            )
        except reader.Hole:
            if after >= self.oldest - 1:
                raise self._torn() from None
        # Retention may have overtaken the read; it is told before it deletes, so we know.
        return gap if found is None or after < self.oldest - 1 else found

    async def page(self, after: int, wanted: Filter, limit: int) -> tuple[list[tuple[int, Event]], int]:
        while True:
            begin = max(after, self.oldest - 1)
            try:
                return await self._ask(reader.page, begin, self.head, self._plan(wanted), limit)
            except reader.Hole:
                if begin >= self.oldest - 1:
                    raise self._torn() from None

    async def last(self, count: int, wanted: Filter) -> int:
        while True:
            oldest = self.oldest
            try:
                found = await self._ask(reader.last, count, oldest, self.head, self._plan(wanted))
                return max(found, self.oldest - 1)
            except reader.Hole:
                if oldest == self.oldest:
                    raise self._torn() from None

    async def since(self, milliseconds: int) -> int:
        found = await self._ask(reader.since, milliseconds, self.oldest, self.head)
        return max(found, self.oldest - 1)

    async def get(self, key: str) -> bytes | None:
        return await self._ask(reader.get, key)

    async def scan(self, first: str, beyond: str) -> list[tuple[str, bytes]]:
        return await self._ask(reader.scan, first, beyond)

    def _plan(self, wanted: Filter) -> Plan:
        found = self._plans.get(wanted)
        if found is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            found = self._plans[wanted] = plan(wanted, self._pairs)
        return found

    def _event_lines(self) -> list[bytes]:
        lines = [b""] * (len(self._pairs) + 1)  # ids count from 1
        for (_, kind), number in self._pairs.items():
            lines[number] = b"event: %b\n" % kind.encode()
        return lines

    async def _ask(
        self, question: Callable[Concatenate[sqlite3.Connection, P], T], *given: P.args, **named: P.kwargs
    ) -> T:
        """The answer to a question of `reader`, from a thread with a connection of its own."""
        if self._closed:
            raise self._closed
        return await self._loop.run_in_executor(self._pool, partial(self._answer, question, *given, **named))

    def _answer(
        self, question: Callable[Concatenate[sqlite3.Connection, P], T], *given: P.args, **named: P.kwargs
    ) -> T:
        try:
            db: sqlite3.Connection | None = getattr(self._local, "db", None)
            if db is None:
                db = self._local.db = file.connect(self._path, write=False)
                self._connections.append(db)
            return question(db, *given, **named)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        except msgspec.DecodeError as error:
            raise damaged(self._path, f"An event in it cannot be read: {error}.") from error

    def _torn(self) -> LogError:
        return damaged(self._path, "Events are missing in the middle of it.")

    # --- the rest ---------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, int | float]:
        """Numbers for people and metrics: sizes in bytes, times in seconds."""
        wal = Path(f"{self._path}-wal")
        return {
            "oldest": self.oldest,
            "head": self.head,
            "events": self.head - self.oldest + 1,
            "bytes": file.bytes_of(self._path),
            "wal_bytes": file.bytes_of(wal),
            "memory_bytes": self._tail.size,
            "memory_oldest": self._tail.oldest,
            "commits": self._commits,
            "commit_seconds": self._seconds,
            "waiting": len(self._waiting),
            "forgotten": self._forgotten,
        }

    async def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._closed = self._closed or LogError("the event log is closed")
        self._writer.jobs.put(None)
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        self._writer.thread.join()
        self._pool.shutdown()
        for db in self._connections:
            db.close()
        self._connections.clear()
        self._db.close()  # the last one: it empties the WAL and removes it
        self._lock.release()
