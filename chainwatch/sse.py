"""
Server-Sent Events as bytes, both ways: no socket, no clock. WHATWG HTML, section 9.2.

Out: `frame` and the control events of a stream. An id or a name that held a line break would let whoever chose it write
fields of their own into the stream (CWE-93), so it is refused. In: `Parser`, fed with whatever a socket gives, cut
anywhere; it holds a bounded number of bytes, whatever a peer sends.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

MEDIA_TYPE: Final = "text/event-stream"

CONTROL: Final = frozenset({"connect", "heartbeat", "gap", "complete", "error", "open", "stream", "history"})
"""Names that are never the type of an event: those that a stream uses, and those that it may use one day."""

HEARTBEAT: Final = b":\n"
"""A bare comment line. Some clients take `: text` and a blank line for an empty event."""

# A parser holds no more than this of one line, or of one event.
MAX_BYTES: Final = 16 * 1024 * 1024
_LONGEST_RETRY: Final = 10**9


# --- out ----------------------------------------------------------------------------------------------------------


def frame(cursor: str, data: bytes) -> bytes:
    """
    One event. `data` is one line of JSON; an encoder escapes line breaks, so they are not looked for here: this runs
    once for every event of the daemon. `ValueError` for a cursor that would inject fields.
    """
    if not cursor.isprintable():
        _refuse(cursor)
    return b"".join((b"id: ", cursor.encode(), b"\ndata: ", data, b"\n\n"))


def named(name: str, framed: bytes) -> bytes:
    """The same event, or events' first, with its `event:` line."""
    return event_line(name) + framed


@lru_cache(maxsize=1024)
def event_line(name: str) -> bytes:
    """`event: <name>` and its line break. `ValueError` for a name that would inject fields, or that is empty."""
    if not name:
        raise ValueError("an event's name is empty")
    _refuse(name)
    return f"event: {name}\n".encode()


def cursor_only(cursor: str) -> bytes:
    """A block that moves the client's last event id and dispatches nothing, since it has no data."""
    _refuse(cursor)
    return f"id: {cursor}\n\n".encode()


def comment(text: str = "") -> bytes:
    """A line that clients skip; without text the heartbeat."""
    _refuse(text)
    return f": {text}\n".encode() if text else HEARTBEAT


def retry(milliseconds: int) -> bytes:
    """How long a client waits before it comes back. A field line: the block that follows completes it."""
    if milliseconds < 0:
        raise ValueError(f"a wait of {milliseconds} ms")
    return b"retry: %d\n" % milliseconds


def control(name: str, data: bytes, *, cursor: str = "", retry_ms: int | None = None) -> bytes:
    """A control event: always named, so that `onmessage` never sees it. `data` may have several lines."""
    parts = [b"" if retry_ms is None else retry(retry_ms), event_line(name)]
    if cursor:
        _refuse(cursor)
        parts.append(f"id: {cursor}\n".encode())
    parts += [b"data: %b\n" % line for line in data.splitlines() or [b""]]
    parts.append(b"\n")
    return b"".join(parts)


def connect(cursor: str, about: bytes, *, retry_ms: int | None = None) -> bytes:
    """The first event of a stream: where it begins, so that a client that is cut before any other resumes too."""
    return control("connect", about, cursor=cursor, retry_ms=retry_ms)


def gap(cursor: str, about: bytes) -> bytes:
    """Events between what was asked for and `cursor` are gone."""
    return control("gap", about, cursor=cursor)


def heartbeat(about: bytes = b"{}", *, cursor: str = "") -> bytes:
    """The heartbeat that a script can see, for named streams."""
    return control("heartbeat", about, cursor=cursor)


def complete(*, retry_ms: int | None = None) -> bytes:
    """The last event of a stream: the end was meant."""
    return control("complete", b"[DONE]", retry_ms=retry_ms)


def _refuse(text: str) -> None:
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError(f"a line break or NUL in {text[:80]!r} would inject fields into the stream")


# --- in -----------------------------------------------------------------------------------------------------------


class Oversize(ValueError):
    """A line, or an event, of more bytes than the parser takes."""


class Message(NamedTuple):
    """One dispatched event."""

    event: str
    """`message` where the stream names none."""
    data: str
    id: str
    """The last event id when it was dispatched; an event without an id has the one before it."""


class Parser:
    """
    The event stream interpreter of section 9.2.6. `feed` it the bytes of one response; a new response needs a new
    parser, given the `last_event_id` of the one before.
    """

    last_event_id: str
    """Moves with every complete block that has an id, data or not."""
    retry: int | None
    """The newest `retry:`, in milliseconds."""

    def __init__(self, last_event_id: str = "", *, max_bytes: int = MAX_BYTES) -> None:
        self.last_event_id = last_event_id
        self.retry = None
        self._max_bytes = max_bytes
        self._unfinished = bytearray()  # the line that has no end yet
        self._after_cr = False  # a LF that comes now belongs to the CR before it
        self._seen_bom = False
        self._id = last_event_id
        self._event = b""
        self._data: list[bytes] = []
        self._size = 0  # of `_data`, with its line breaks

    def feed(self, chunk: bytes) -> list[Message]:
        """The events that these bytes complete. `Oversize` where a line or event is too long: the stream is lost."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        if not chunk:
            return []
        lines = chunk.splitlines()  # of bytes: at CR, LF and CRLF only, never at U+2028 or a form feed
        ended = chunk[-1] in b"\r\n"
        self._after_cr = chunk[-1] == 0x0D
        if self._unfinished:
            self._unfinished += lines[0]
            if len(lines) > 1 or ended:
                lines[0] = bytes(self._unfinished)
                self._unfinished.clear()
            else:
                lines.clear()
        if lines and not ended:
            self._unfinished += lines.pop()
        messages: list[Message] = []
        for line in lines:
            if line:
                self._field(line)
            elif (message := self._dispatch()) is not None:
                messages.append(message)
        if len(self._unfinished) > self._max_bytes:
            raise Oversize(f"a line of more than {self._max_bytes} bytes")
        return messages

    def _field(self, line: bytes) -> None:
        if not self._seen_bom:
            self._seen_bom = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._max_bytes:
                raise Oversize(f"an event of more than {self._max_bytes} bytes")
            self._data.append(value)
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
        elif name == b"event":
            self._event = value
        elif name == b"retry" and value.isdigit():  # of bytes: ASCII digits only
            self.retry = min(int(value[:18]), _LONGEST_RETRY)

    def _dispatch(self) -> Message | None:
        self._seen_bom = True
        self.last_event_id = self._id
        if not self._data:
            self._event = b""
            return None
        # A line break is never part of a longer UTF-8 sequence, so decoding late gives what decoding first would.
        data = b"\n".join(self._data).decode(errors="replace")
        message = Message(self._event.decode(errors="replace") or "message", data, self._id)
        self._data = []
        self._size = 0
        self._event = b""
        return message
