"""
The writer: one thread, one connection, one transaction for all that waits.

It takes what was appended, commits it, has the event loop told, and between commits deletes what is to be forgotten,
gives pages back to the disk and empties the WAL. What it knows is its own; the loop learns of it by callbacks, in
order: `committed` only when the commit is on disk, `retired` before the first event goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog

from chainwatch.errors import LogError
from chainwatch.log import Change, Entry, retention, schema
from chainwatch.log.batch import Commit, Draft, compose, stamped
from chainwatch.log.faults import explain, moved
from chainwatch.log.file import BUSY, bytes_of

_GROUP: Final = 8192  # events that go into one commit, or a quarter of the WAL's limit; one append is never divided
_RETRY: Final = 1.0  # seconds until retention is tried again after an error, such as a full disk

_LOOK: Final = """
SELECT (SELECT max(seq) FROM (SELECT seq, time FROM events WHERE seq >= :oldest ORDER BY seq LIMIT :slice)
            WHERE time < :before),
       (SELECT time FROM events WHERE seq = :oldest),
       (SELECT page_count FROM pragma_page_count), (SELECT freelist_count FROM pragma_freelist_count)
"""


class Job(NamedTuple):
    """One append."""

    drafts: Sequence[Draft]
    changes: Sequence[Change]
    done: asyncio.Future[Sequence[Entry]]


class Reports(Protocol):
    """Who is told, on the event loop."""

    def committed(self, commit: Commit, jobs: Sequence[Job], seconds: float) -> None: ...

    def failed(self, jobs: Sequence[Job], error: Exception) -> None: ...

    def retired(self, oldest: int) -> None: ...

    def stopped(self, error: Exception) -> None: ...


class Writer:
    """Runs from `start` to the None in `jobs`; then the connection may be closed by whoever joins the thread."""

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        limits: retention.Limits,
        clock: Callable[[], float],
        reports: Reports,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._db = db
        self._path = path
        self._name = str(path)
        there = path.stat()
        self._file = there.st_dev, there.st_ino
        self._limits = limits
        self._most = limits.ahead
        self._clock = clock
        self._reports = reports
        self._loop = loop
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="log:writer", daemon=True)
        db.execute(f"PRAGMA journal_size_limit={limits.ahead // 2}")

        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        self.identity: str = meta["identity"]
        self.oldest: int = meta["oldest"]
        newest = db.execute("SELECT seq, time, reach FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        self.head: int
        self._time: int
        self.reach: int
        self.head, self._time, self.reach = newest or (0, 0, 0)
        self.pairs: dict[tuple[str | None, str], int] = {
            (chain, kind): number for number, chain, kind in db.execute("SELECT id, chain, type FROM pairs")
        }
        first = db.execute("SELECT reach - length(frame) FROM events WHERE seq = ?", (self.oldest,)).fetchone()
        self.forgotten: int = first[0] if first else self.reach
        """Bytes of frames before `oldest`, when the log was opened."""

        self._ahead = limits.ahead  # bytes in the WAL that are not in the database, about; at first unknown
        self._written = limits.ahead  # bytes committed since retention last looked
        self._look_at = 0  # Unix ms at which events will have expired

    def _run(self) -> None:
        try:
            self._tend(0)
            while (jobs := self._take()) is not None:
                if jobs:
                    self._commit(jobs)
                self._tend(sum(len(job.drafts) for job in jobs))
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it, and appenders would wait for ever
            self._tell(self._reports.stopped, error)

    def _tell(self, report: Callable[..., None], *told: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(report, *told)

    def _take(self) -> list[Job] | None:
        """What waits, up to the size of one commit; nothing where it is time for retention; None at the end."""
        wait = (self._look_at - self._clock() * 1000) / 1000
        try:
            job = self.jobs.get(timeout=min(max(wait, 0.01), 60))
        except queue.Empty:
            return []
        if job is None:
            return None
        jobs, events, size = [job], 0, 0
        while not self.jobs.empty():
            events += len(job.drafts)
            size += sum(len(draft.payload) for draft in job.drafts)
            if events >= _GROUP or size >= self._most // 4:
                break
            job = self.jobs.get_nowait()  # nobody else takes any
            if job is None:
                self.jobs.put(None)
                break
            jobs.append(job)
        return jobs

    def _commit(self, jobs: Sequence[Job]) -> None:
        began = time.perf_counter()
        now = max(int(self._clock() * 1000), self._time)
        if not self._in_place():
            self._tell(self._reports.failed, jobs, moved(self._path))
            return
        try:
            commit = compose(
                self.identity,
                self.head + 1,
                now,
                self.reach,
                [draft for job in jobs for draft in job.drafts],
                self._changes(jobs),
                self.pairs,
            )
            self._db.execute(schema.COMMIT, commit.row)
        except sqlite3.Error as error:
            self._undo()
            self._tell(self._reports.failed, jobs, explain(error, self._path))
            return
        except Exception as error:  # noqa: BLE001 - the appender's to see; the log is as it was
            self._tell(self._reports.failed, jobs, error)
            return
        self.head += len(commit.entries)
        self._time = now
        self.reach += commit.size
        self.pairs |= commit.pairs
        self._written += commit.size + 80 * commit.keys
        # A segment of keys is about 128 pages, each of which a large commit touches.
        self._ahead += commit.size * 5 // 4 + retention.PAGE * (min(commit.keys, 128 + commit.keys // 100) + 6)
        self._tell(self._reports.committed, commit, jobs, time.perf_counter() - began)

    def _changes(self, jobs: Sequence[Job]) -> Iterator[Change]:
        first = self.head + 1
        for job in jobs:
            yield from stamped(job.changes, first)
            first += len(job.drafts)

    def _in_place(self) -> bool:
        """Whether the path still names the file that is open: what goes into a removed one is on no disk tomorrow."""
        try:
            now = os.stat(self._name)  # noqa: PTH116 - once a commit
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == self._file

    def _undo(self) -> None:
        """A statement that failed has undone itself; this is for the errors where SQLite leaves that to the caller."""
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _tend(self, committed: int) -> None:
        """
        Forget, and empty the WAL. While appends wait, only as much as keeps up with them: twice the events that the
        commit before brought.
        """
        deleted = 0
        try:
            while self._is_due():
                held, oldest_time, now = self._look()
                keep = retention.keep_from(held, self._limits)
                if keep > self.oldest:
                    deleted += self._retire(keep)
                elif pages := retention.give_back(held, self._limits):
                    self._give_back(pages)
                else:
                    self._written = 0
                    self._look_at = retention.next_expiry(oldest_time, now, self._limits.ttl)
                    break
                if self._ahead >= self._most:
                    self._checkpoint()
                if deleted >= 2 * committed and not self.jobs.empty():
                    break
            if self._ahead >= (self._most // 4 if self.jobs.empty() else self._most):
                self._checkpoint()
        except sqlite3.Error as error:
            self._undo()
            self._look_at = int((self._clock() + _RETRY) * 1000)
            self._written = self._ahead = 0  # a full disk stays full for a while
            reason: LogError = explain(error, self._path)
            structlog.get_logger().warning("event log: cannot tidy up", reason=reason.what, why=reason.why)

    def _is_due(self) -> bool:
        return (
            self.head - self.oldest + 1 > self._limits.max_events
            or self._written >= self._most // 8
            or self._clock() * 1000 >= self._look_at
        )

    def _look(self) -> tuple[retention.Held, int | None, int]:
        now = int(self._clock() * 1000)
        expired, oldest_time, pages, free = self._db.execute(
            _LOOK, {"oldest": self.oldest, "slice": retention.SLICE, "before": now - self._limits.ttl}
        ).fetchone()
        return retention.Held(self.oldest, self.head, pages, free, expired or 0), oldest_time, now

    def _retire(self, oldest: int) -> int:
        # Told first: whoever then finds events missing already knows that they are forgotten.
        self._tell(self._reports.retired, oldest)
        self._db.execute(schema.RETIRE, (oldest, self.head))
        deleted = oldest - self.oldest
        self.oldest = oldest
        self._ahead += 128 * retention.PAGE
        self._look_at = 0  # there may be more
        return deleted

    def _give_back(self, pages: int) -> None:
        # The pragma gives a row for each page, and `execute` takes one: `executescript` takes all, in one go.
        self._db.executescript(f"PRAGMA incremental_vacuum({pages})")
        self._ahead = max(self._ahead, self._most)  # the file shrinks when the WAL is emptied

    def _checkpoint(self) -> None:
        """
        Bring the WAL into the database. The next commit then begins it anew; its file stays, for one that grows with
        each commit costs more to sync. One that became too large is cut: by the next commit or, where none waits, now.
        """
        how = "PASSIVE"
        if self.jobs.empty() and bytes_of(Path(f"{self._path}-wal")) > self._most // 2:
            how = "TRUNCATE"
            self._db.execute("PRAGMA busy_timeout=0")  # readers are not waited for: there is a next time
        _busy, frames, done = self._db.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        self._db.execute(f"PRAGMA busy_timeout={BUSY}")
        self._ahead = max(frames - done, 0) * retention.PAGE  # what a reader still needs stays
