"""SQLite's errors in the words of the house: what is wrong with the log, and what to do about it."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Final

from chainwatch.errors import LogDamaged, LogError, LogFull

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PRIMARY: Final = 0xFF  # an extended result code carries the plain one in its low byte
_RESTORE: Final = "Put a backup of the log in its place, or move the file away to begin an empty one."


def damaged(path: Path, why: str, hint: str = _RESTORE) -> LogDamaged:
    return LogDamaged(f"{path} cannot be used as the event log", why=why, hint=hint)


def moved(path: Path) -> LogError:
    return LogError(
        f"the event log {path} was moved or removed while it was in use",
        hint="Put it back, or restart the daemon to begin an empty one.",
    )


def explain(error: sqlite3.Error, path: Path) -> LogError:
    """The error to raise for what SQLite said about the log at `path`."""
    code = getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR
    primary = code & _PRIMARY
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, f"It is broken: {error}.")
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and no_room(path)):
        return LogFull(
            f"no room left for the event log {path}",
            why="Nothing of the batch was written; it may be appended again.",
            hint="Make room on that disk, or lower log.max_bytes.",
        )
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return moved(path)
    return LogError(f"the event log {path} cannot be used", why=f"SQLite says: {error}.")


def no_room(path: Path) -> bool:
    """
    Whether a file beside the log cannot grow beyond the size of it and its WAL. SQLite tells a quota, or a limit on the
    size of files, as a plain I/O error, which a failing disk is too; so this asks the disk.
    """
    try:
        size = max(part.stat().st_size for part in (path, Path(f"{path}-wal")) if part.exists())
        with tempfile.TemporaryFile(dir=path.parent, prefix=f"{path.name}.") as probe:
            # Written and synced: with delayed allocation only then is there an answer. The front stays sparse.
            os.pwrite(probe.fileno(), bytes(65536), size)
            os.fsync(probe.fileno())
    except ValueError:  # neither is there
        return False
    except OSError as error:
        return error.errno in NO_ROOM
    return False
