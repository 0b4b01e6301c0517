"""
The file's format: tables, and the two statements that change them.

A step of SQLite from Python costs the interpreter's lock twice: let go before, taken again after, and with a busy event
loop each retaking waits up to the switch interval (5 ms). So a commit is ONE statement: a row put into the view
`commitment`, whose trigger takes the events apart in C (JSON for the small things, one blob for the large ones). It is
its own transaction, so it is there whole or not at all. The views and triggers are temporary: they live in the writer's
connection, not in the file.

`keys` is the index of what an event touches. It is cut into segments of `SEGMENT` events, oldest first. A flat index
on random 63-bit keys touches a page per key and commit (measured: 6.3 ms for 300 events with 4 keys, against 2.0 ms),
and retention would touch them all again; a segment is small enough to be rewritten while it is warm, and is
deleted in one piece. A look-up pays one seek per key and segment: 1 ms for a thousand segments (4 million events).
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x63686E77
"""`chnw`, at offset 68 of the file."""
FORMAT: Final = 1
"""`user_version`, at offset 60. A reader of format 1 refuses a higher one."""
SEGMENT: Final = 4096
"""Events in one segment of `keys`. A part of the format."""

TABLES: Final = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    "CREATE TABLE pairs(id INTEGER PRIMARY KEY, chain TEXT, type TEXT NOT NULL)",
    # time: Unix ms of the commit, never falling. reach: bytes of all frames up to and with this one, ever.
    (
        "CREATE TABLE events(seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, pair INTEGER NOT NULL, "
        "reach INTEGER NOT NULL, frame BLOB NOT NULL)"
    ),
    "CREATE TABLE keys(segment INTEGER, key INTEGER, seq INTEGER, PRIMARY KEY(segment, key, seq)) WITHOUT ROWID",
    "CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
)
"""
`meta` holds `identity` and `oldest`, the sequence of the oldest event that is kept. The newest row of `events` is never
deleted, even when it is older than `oldest`: it is what the next sequence, time and reach are counted from.
"""

WRITER: Final = f"""
CREATE TEMP VIEW commitment(first, time, reach, frames, events, keys, pairs, drops, puts, bytes)
AS SELECT 0, 0, 0, 0, 0, 0, 0, 0, 0, 0;

CREATE TEMP TRIGGER commit_all INSTEAD OF INSERT ON commitment BEGIN
    INSERT INTO pairs SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
        FROM json_each(NEW.pairs);
    INSERT INTO events SELECT NEW.first + key, NEW.time, json_extract(value, '$[2]'),
        NEW.reach + json_extract(value, '$[0]') - 1 + json_extract(value, '$[1]'),
        substr(NEW.frames, json_extract(value, '$[0]'), json_extract(value, '$[1]'))
        FROM json_each(NEW.events);
    INSERT OR IGNORE INTO keys
        SELECT json_extract(value, '$[1]') / {SEGMENT}, json_extract(value, '$[0]'), json_extract(value, '$[1]')
        FROM json_each(NEW.keys);
    DELETE FROM state WHERE key IN (SELECT kept.key FROM json_each(NEW.drops) AS gone CROSS JOIN state AS kept
        ON kept.key >= json_extract(gone.value, '$[0]') AND kept.key < json_extract(gone.value, '$[1]'));
    INSERT OR REPLACE INTO state SELECT json_extract(value, '$[0]'),
        substr(NEW.bytes, json_extract(value, '$[1]'), json_extract(value, '$[2]'))
        FROM json_each(NEW.puts);
END;

CREATE TEMP VIEW retirement(oldest, head) AS SELECT 0, 0;

CREATE TEMP TRIGGER retire_all INSTEAD OF INSERT ON retirement BEGIN
    INSERT OR REPLACE INTO meta VALUES('oldest', NEW.oldest);
    DELETE FROM events WHERE seq < min(NEW.oldest, NEW.head);
    DELETE FROM keys WHERE segment < NEW.oldest / {SEGMENT};
END;
"""  # noqa: S608 - SEGMENT is a number of ours
COMMIT: Final = "INSERT INTO commitment VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
RETIRE: Final = "INSERT INTO retirement VALUES(?, ?)"
