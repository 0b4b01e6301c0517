"""
The log's file: held by one daemon, looked at before it is touched, made whole or not at all.

    lock     `<path>.lock`, flock held for the log's life; the process id inside is for people
    inspect  everything that can be told cheaply about a file, without changing a byte of it, its -wal or its -shm
    create   built beside its place and renamed into it, so that a crash leaves a log or none

`inspect` opens a file without a WAL as immutable. One with a WAL is opened read-only by the VFS `unix-none` (no locks:
ours is enough) in exclusive mode: then the index of the WAL is kept on the heap (https://sqlite.org/wal.html#noshm),
and the checkpoint that ends the connection fails for want of a right to write, and so leaves the WAL alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import stat
import string
from pathlib import Path
from typing import Final
from urllib.parse import quote

from chainwatch.errors import LogError, LogInUse
from chainwatch.log import schema
from chainwatch.log.faults import damaged, explain

_ALPHABET: Final = string.ascii_lowercase + string.digits
BUSY: Final = 10_000
"""Milliseconds to wait for a lock: only a foreign program, such as SQLite's shell, ever holds one."""
_MAGIC: Final = b"SQLite format 3\0"


class Lock:
    """The right to write the log at `path`, until `release`. `LogInUse` where another has it."""

    def __init__(self, path: Path) -> None:
        self._path = Path(f"{path}.lock")
        while True:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise _unusable(path, error) from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                os.close(descriptor)
                if not isinstance(error, BlockingIOError):
                    raise _unusable(path, error) from error
                raise LogInUse(
                    f"the event log {path} is in use",
                    why=f"Another chainwatch writes it{f' (process {holder})' if holder.isdigit() else ''}.",
                    hint="Stop that one, or give this one a log of its own (log.path).",
                ) from None
            if self._is_current(descriptor):
                break
            os.close(descriptor)  # it was released, and so removed, between our open and our flock
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # `flock` holds it; whose it is only people read, and a disk can be full
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._descriptor)


def resolve(path: str | os.PathLike[str]) -> Path:
    """The one name of that file, links followed, its folder made."""
    try:
        real = Path(path).expanduser().resolve()
        real.parent.mkdir(parents=True, exist_ok=True)
        if real.is_dir():
            raise LogError(f"{real} is a directory", hint="log.path names the file of the event log itself.")
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise _unusable(Path(path), error) from error
    return real


def prepare(path: Path) -> None:
    """See to it that there is a sound log at `path`. The lock is held."""
    try:
        status = path.stat()
        size, regular = status.st_size, stat.S_ISREG(status.st_mode)
    except FileNotFoundError:
        size, regular = 0, True
    except OSError as error:
        raise _unusable(path, error) from error
    if not regular:  # a device or a pipe has no size either: creating would replace it
        raise LogError(f"{path} is not a regular file", hint="log.path names the file of the event log itself.")
    if size:
        inspect(path)
    elif bytes_of(Path(f"{path}-wal")):
        raise damaged(
            path,
            "It is missing or empty, but the log written ahead of it (-wal) is there.",
            "Put the file back beside its -wal, or move the -wal away to begin an empty log.",
        )
    else:
        create(path)


def inspect(path: Path) -> None:
    """`LogDamaged` where the file is not a sound log of ours, as far as can be told without reading it all."""
    try:
        descriptor = os.open(path, os.O_RDWR)  # not changed: to learn now whether it may be
        try:
            header = os.pread(descriptor, 100, 0)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        ahead = bytes_of(Path(f"{path}-wal"))
    except OSError as error:
        raise _unusable(path, error) from error
    problem = foreign(header)
    if problem:
        raise damaged(path, problem, "Give the log another path (log.path), or move this file away.")
    try:
        problem = _broken(path, size, ahead)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    if problem:
        raise damaged(path, problem)


def foreign(header: bytes) -> str:
    """What is wrong with the first 100 bytes of a file (https://sqlite.org/fileformat2.html#the_database_header)."""
    if not header.startswith(_MAGIC) or len(header) < 100:
        return "It is not an SQLite database."
    if int.from_bytes(header[68:72], "big") != schema.APPLICATION_ID:
        return "It is a database of another program."
    version = int.from_bytes(header[60:64], "big")
    if version > schema.FORMAT:
        return f"A newer chainwatch wrote it (format {version}; this one knows {schema.FORMAT})."
    return ""


def _broken(path: Path, size: int, ahead: int) -> str:
    how = "vfs=unix-none" if _counts(Path(f"{path}-wal")) else "immutable=1"
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&{how}", uri=True)) as db:
        db.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        tables = {row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if tables != set(schema.TABLES):
            return "Its tables are not those of an event log."
        [page] = db.execute("PRAGMA page_size").fetchone()
        [pages] = db.execute("PRAGMA page_count").fetchone()
        # Pages that the file lacks can only be in the WAL (each behind a header of 24 bytes).
        if pages * page > size + max(ahead - 32, 0) // (page + 24) * page:
            return f"It was cut off: {size} bytes are there of {pages * page}."
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        identity, oldest = meta.get("identity"), meta.get("oldest")
        if not isinstance(identity, str) or not isinstance(oldest, int):
            return "It has lost its identity."
        prefix = f"id: {identity}-".encode()
        rows = db.execute("SELECT seq, frame FROM events ORDER BY seq DESC LIMIT 100").fetchall()
        rows += db.execute("SELECT seq, frame FROM events WHERE seq >= ? ORDER BY seq LIMIT 10", (oldest,)).fetchall()
        if any(not frame.startswith(b"%b%d\ndata: {" % (prefix, seq)) for seq, frame in rows):
            return "Its newest or oldest events cannot be read."
        [first, head] = db.execute("SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)").fetchone()
        if head is not None and (first > oldest or oldest > head + 1):
            return "Events are missing from it."
        db.execute("SELECT max(seq) FROM keys WHERE segment = ?", ((head or 0) // schema.SEGMENT,)).fetchone()
        db.execute("SELECT count(*), sum(length(value)) FROM state").fetchone()
        db.execute("SELECT count(*) FROM pairs").fetchone()
    return ""


def _counts(ahead: Path) -> bool:
    """
    Whether that WAL holds a commit (https://sqlite.org/fileformat2.html#the_write_ahead_log): a whole frame that says
    how large the database is after it, behind none but frames with the header's salt. SQLite removes a WAL without
    one, even when it only reads.
    """
    try:
        with ahead.open("rb") as wal:
            header = wal.read(32)
            if len(header) < 32 or header[:3] != b"\x37\x7f\x06":
                return False
            page = int.from_bytes(header[8:12], "big")
            while len(frame := wal.read(24)) == 24 and frame[8:16] == header[16:24]:
                if len(wal.read(page)) == page and any(frame[4:8]):
                    return True
    except FileNotFoundError:
        pass
    return False


def create(path: Path) -> None:
    """An empty log with a new identity."""
    draft = Path(f"{path}.new")
    identity = "".join(secrets.choice(_ALPHABET) for _ in range(9))
    try:
        for name in (draft, Path(f"{draft}-journal"), Path(f"{draft}-wal"), Path(f"{draft}-shm")):
            name.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as db:
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            db.execute("BEGIN")
            for table in schema.TABLES:
                db.execute(table)
            db.execute("INSERT INTO meta VALUES('identity', ?), ('oldest', 1)", (identity,))
            db.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
            db.execute(f"PRAGMA user_version={schema.FORMAT}")
            db.execute("COMMIT")
            db.execute("PRAGMA journal_mode=WAL")
        draft.replace(path)
        _sync_folder(path.parent)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except OSError as error:
        raise _unusable(path, error) from error


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """A connection without transactions of Python's own. It may be used by one thread at a time, whichever."""
    mode = "rw" if write else "ro"
    db = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY / 1000,
    )
    if write:
        db.execute("PRAGMA synchronous=FULL")  # nothing is delivered that a power cut could take back
        db.execute("PRAGMA secure_delete=OFF")  # some builds overwrite what is deleted: twice the writing
        db.execute("PRAGMA wal_autocheckpoint=0")  # the writer does it, off the path of a commit
        db.execute("PRAGMA cache_size=-8192")
        db.execute("PRAGMA recursive_triggers=OFF")
        db.executescript(schema.WRITER)
    else:
        db.text_factory = bytes
    return db


def bytes_of(path: Path) -> int:
    """How large that file is; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: Exception) -> LogError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return LogError(
        f"the event log {path} cannot be opened",
        why=f"The system says: {reason}.",
        hint="Check the path (log.path) and who may write there.",
    )
