"""
What `tail` says: lines to stdout with a cursor kept behind them, notes to stderr.

Lines are written with the descriptor, not through a buffer of Python's: what is written is written, and nothing is left
that could fail once more when the interpreter ends.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chainwatch.errors import ChainwatchError
from chainwatch.text import printable, redact

if TYPE_CHECKING:
    from chainwatch import client
    from chainwatch.cli.render import Render
    from chainwatch.event import Event

_FLUSH_BYTES: Final = 256 * 1024  # more than this is written before the next event is looked at
_LONGEST_CURSOR: Final = 1024


class Printer:
    """Lines on their way to stdout, and the cursor behind those that got there."""

    def __init__(self, fd: int, render: Render, cursor_file: Path | None) -> None:
        self.fd = fd
        self.writing = False
        """Lines are on their way to whoever reads stdout, and that may take for ever."""
        self._render = render
        self._file = cursor_file.resolve() if cursor_file else None  # a link stays a link
        self._waiting = bytearray()
        self._cursor = self._kept = ""

    @property
    def keeps(self) -> bool:
        """The cursor is in a file."""
        return self._file is not None

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= _FLUSH_BYTES

    def add(self, event: Event, line: bytes, cursor: str) -> None:
        """The next line. It is written by the `flush` that has to follow before anything is waited for."""
        self._waiting += self._render(event, line, cursor)
        self._cursor = cursor or self._cursor

    def begin(self, line: bytes) -> None:
        """A line that is no event, before them all."""
        self._waiting += line

    def moved(self, cursor: str) -> None:
        """All up to `cursor` was added."""
        self._cursor = cursor
        self.flush()

    def flush(self) -> None:
        if self._waiting:
            lines, self._waiting = self._waiting, bytearray()
            self.writing = True
            _write(self.fd, lines)
            self.writing = False
        if self._file and self._cursor != self._kept:
            _replace(self._file, f"{self._cursor}\n")
            self._kept = self._cursor


class Notes:
    """What is said on stderr, as far as -v and -q want it."""

    def __init__(self, verbosity: int) -> None:
        self._verbosity = verbosity

    def hear(self, note: client.Note) -> None:
        from chainwatch import client

        match note:
            case client.Connected(again=False):
                self.say(str(note), at=1)
            case client.Gap():
                self.say(str(note), at=-1)
            case client.Connected() | client.Waiting():
                self.say(str(note))

    def say(self, text: str, *, at: int = 0) -> None:
        """Say it from this verbosity on: 0 unless told otherwise, 1 with -v, -1 even with one -q."""
        if self._verbosity >= at and sys.stderr is not None:  # print(file=None) would be stdout
            with suppress(OSError, ValueError):  # nobody may be listening
                print(f"chainwatch: {printable(redact(text), 2000)}", file=sys.stderr, flush=True)


def read_cursor(file: Path) -> str:
    """The cursor that the file holds; empty where it is empty, or not there yet."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(_LONGEST_CURSOR).strip()
    except FileNotFoundError as error:
        if not os.access(file.parent, os.W_OK):  # said before the first event is printed, not behind it
            raise _unusable(file, "write", error) from None
        return ""
    except OSError as error:
        raise _unusable(file, "read", error) from None


def _write(fd: int, lines: bytearray) -> None:
    rest = memoryview(lines)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # whoever shares it with us made it so
            select.select([], [fd], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ChainwatchError("cannot write to stdout", why=(error.strerror or "").lower()) from None


def _replace(file: Path, text: str) -> None:
    """All of it or nothing of it is in the file, whenever the machine stops."""
    fresh = file.with_name(f"{file.name}.new")
    try:
        with fresh.open("w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        fresh.replace(file)
    except OSError as error:
        raise _unusable(file, "write", error) from None


def _unusable(file: Path, what: str, error: OSError) -> ChainwatchError:
    why = (error.strerror or str(error)).lower()
    return ChainwatchError(f"cannot {what} the cursor file {printable(str(file))}", why=why, hint="name another one")
