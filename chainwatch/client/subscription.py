"""What a client does next: where a stream goes on, what a message means, how long to wait. No socket, no clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from chainwatch import sse
from chainwatch.errors import BadAnswer, ChainwatchError, GapError, Refused
from chainwatch.event import Event
from chainwatch.text import printable, redact_url

HEARTBEAT: Final = 15.0
"""Seconds between heartbeats, as asked of the server. A server that is silent for three of them is left."""

_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 30.0
_LONGEST_ASKED: Final = 3600.0  # a server may ask for a longer wait, and gets this
_LONGEST_CURSOR: Final = 1024  # it goes into a header

T = TypeVar("T")


# --- what a caller is told beside events --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """A stream is open, for the first time or `again`."""

    stream: str
    again: bool

    def __str__(self) -> str:
        return f"connected{' again' if self.again else ''}" + (f" as {self.stream}" if self.stream else "")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The connection was lost, or was not made; the next attempt is `seconds` away."""

    reason: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.reason}; trying again in {self.seconds:.1f}s"


@dataclass(frozen=True, slots=True)
class Gap:
    """Events are gone between the cursor that was asked for and the one that the stream goes on from."""

    requested: str
    oldest: str
    resumed_at: str
    reason: str

    def __str__(self) -> str:
        why = _GAP_REASONS.get(self.reason, self.reason)
        return f"events are missing here, {why}: asked for {self.requested or '?'}, went on at {self.resumed_at or '?'}"


_GAP_REASONS: Final = {
    "": "they are gone",
    "expired": "they are older than what is kept",
    "other_log": "the cursor is of another log",
    "future": "the cursor is ahead of the log, which must have been replaced",
    "malformed": "the cursor is none of this daemon's",
}


@dataclass(frozen=True, slots=True)
class Moved:
    """The cursor went on without an event: nothing up to there passed the filter."""

    cursor: str


Note = Connected | Waiting | Gap | Moved
OnNote = Callable[[Note], None]


_SINCE: Final = {
    401: "It was good until now: the key was revoked, or it has expired.",
    403: "It was allowed until now: what the key is for was changed.",
}

# --- decisions ----------------------------------------------------------------------------------------------------


class Backoff:
    """How long to wait before the next attempt: doubling with jitter, and never less than the server asks for."""

    def __init__(self, dice: Callable[[], float] = random.random) -> None:
        self.asked = 0.0
        """Seconds: the newest `retry:` of the server."""
        self._failures = 0
        self._dice = dice

    def succeeded(self) -> None:
        """The stream did something; the next failure is a first one."""
        self._failures = 0

    def failed(self, retry_after: float | None = None) -> float:
        """Seconds to wait after this failure. Jitter keeps a thousand clients of one server from coming at once."""
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._failures, 16))
        own = longest * (0.5 + self._dice() / 2)
        self._failures += 1
        if retry_after is not None:
            return min(retry_after, _LONGEST_ASKED) + own
        return max(own, min(self.asked, _LONGEST_ASKED))


class Trouble(Exception):
    """Something that may be over soon. `fatal` is raised instead of waiting when it is the very first attempt."""

    def __init__(
        self, reason: str, *, fatal: ChainwatchError | None, retry_after: float | None = None, hint: str = ""
    ) -> None:
        super().__init__(reason)
        self.hint = hint
        """What to do about it, for whoever does not ask again by itself."""
        self.reason = reason
        self.fatal = fatal
        self.retry_after = retry_after


class Ended(Trouble):
    """The daemon ended the stream in order: it stops, makes room, or gives the place to somebody else."""


class _Connect(msgspec.Struct):
    stream: str = ""


class _Gap(msgspec.Struct):
    requested: str | int | None = None
    oldest: str | int | None = None
    resumed_at: str | int | None = None
    reason: str | None = None


_CONNECT: Final = msgspec.json.Decoder(_Connect)
EVENT: Final = msgspec.json.Decoder(Event)
_GAP: Final = msgspec.json.Decoder(_Gap)


@dataclass(slots=True)
class Subscription:
    """One stream over all its connections: what to ask for next, and what each message means."""

    base: str
    query: list[tuple[str, str]]
    """What every request asks for."""
    start: list[tuple[str, str]]
    """Where to begin, for as long as there is no cursor."""
    headers: dict[str, str]
    cursor: str
    limit: int | None
    ends_at: float | None
    heartbeat: float
    strict: bool
    note: OnNote
    path: str = "/events/stream"
    agent: str = ""
    """Whose stream it is, if it is a durable one."""
    stream: str = ""
    """What the daemon called the newest connection."""
    connected: bool = False
    line: bytes = b""
    buffered: int = 0
    told: str = ""  # the id of the newest `connect`
    backoff: Backoff = field(default_factory=Backoff)

    def request(self, now: float) -> tuple[list[tuple[str, str]], dict[str, str]]:
        """Query and headers of the next request. Once there is a cursor, it decides where the stream begins."""
        query = [*self.query, ("heartbeat", f"{self.heartbeat:g}")]
        headers = dict(self.headers)
        if self.limit is not None:
            query.append(("limit", str(self.limit)))
        if self.ends_at is not None:
            query.append(("duration", str(max(1, math.ceil(self.ends_at - now)))))
        if self.cursor:
            headers["Last-Event-ID"] = self.cursor
        else:
            query += self.start
        return query, headers

    def receive(self, message: sse.Message) -> Event | None:
        """
        The event of a message, the cursor being behind it from here on; None for a control event. `Trouble` when the
        daemon ends the stream.
        """
        if self._heard(message):
            return None
        line = message.data.encode()
        found = decoded(line, EVENT, self.base)
        self._given(line, message.id)
        return found

    def take(self, message: sse.Message) -> bytes | None:
        """`receive` for whoever wants the JSON of the event, which nobody has looked at."""
        if self._heard(message):
            return None
        self._given(message.data.encode(), message.id)
        return self.line

    def _given(self, line: bytes, cursor: str) -> None:
        self.line = line.replace(b"\n", b" ")  # between tokens: inside a string JSON has none
        self.cursor = self._cursor(cursor)
        if self.limit is not None:
            self.limit -= 1

    def _heard(self, message: sse.Message) -> bool:
        """Whether it is a control event. What it means is done."""
        if message.event == "complete":
            raise Ended("the daemon ended the stream", fatal=None)
        self.backoff.succeeded()
        if message.event == "connect":
            about = decoded(message.data.encode(), _CONNECT, self.base)
            self.note(Connected(printable(about.stream), again=self.connected))
            self.connected, self.stream = True, about.stream
            # A stream that goes on from our cursor leaves ours where it is: were it moved now, and the connection
            # lost before the `gap` that follows, that gap would never be told.
            self.told = message.id
            if not self.cursor:
                self.move(message.id)
        elif message.event == "gap":
            self._gap(decoded(message.data.encode(), _GAP, self.base))
            self.move(message.id)
        return message.event in sse.CONTROL

    def move(self, cursor: str) -> None:
        """Nothing that passes the filter stands before `cursor`, all that came before it having been received."""
        if cursor and cursor != self.cursor:
            self.cursor = self._cursor(cursor)
            self.note(Moved(cursor))

    def settle(self, cursor: str) -> None:
        """Every message of a chunk has been received; blocks with an id and no data may stand behind them."""
        if cursor != self.told:
            self.move(cursor)

    def is_over(self, now: float) -> bool:
        """What was asked for has been given. Else a `complete` is a daemon that stops, or makes room."""
        return self.limit == 0 or (self.ends_at is not None and now >= self.ends_at)

    def refused(self, error: Refused) -> Refused:
        """
        What to raise where the daemon turns a request away. Asking again would not help, not even after it has let this
        stream in before: only then it is not the request that is wrong.
        """
        if not self.connected or error.status not in _SINCE:
            return error
        return Refused(error.what, status=error.status, why=_SINCE[error.status], hint=error.hint)

    def failed(self, trouble: Trouble) -> float:
        """Seconds to wait. The trouble's own error where there never was a connection."""
        if trouble.fatal is not None and not self.connected:
            raise trouble.fatal
        seconds = self.backoff.failed(trouble.retry_after)
        self.note(Waiting(trouble.reason, seconds))
        return seconds

    def _gap(self, about: _Gap) -> None:
        gap = Gap(*(printable(str(word or "")) for word in msgspec.structs.astuple(about)))
        if self.strict:
            raise GapError(f"{gap}", hint="unless it is strict, a stream goes on from the oldest event that is kept")
        self.note(gap)

    def _cursor(self, text: str) -> str:
        if text.isascii() and text.isprintable() and len(text) <= _LONGEST_CURSOR:
            return text
        raise BadAnswer(f"{redact_url(self.base)} sent a cursor that no daemon sends: {printable(text, 80)}")


def decoded(text: bytes, decoder: msgspec.json.Decoder[T], base: str) -> T:
    """What a daemon sent; `BadAnswer` where it is not what was expected."""
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:  # no JSON of that form, or no UTF-8
        raise BadAnswer(
            f"{redact_url(base)} sent what no daemon sends: {printable(text[:400].decode(errors='replace'), 160)}",
            why=printable(str(error)),
            hint="is it a chainwatch daemon, of a version that this client knows?",
        ) from None
