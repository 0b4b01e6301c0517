"""
What a WebSocket says: a client's message -> what it asks for, and what the server has to say -> frames. Pure.

A message is one JSON object; its `op` says what it is. An `error` answers what cannot be meant, with the members of a
problem document, the op and the id of what it answers; the connection stays open.

The server's frames are not masked (RFC 6455, section 5.1), so the same bytes are for every client that has the same
subscription: an event of the log becomes a frame by splicing the bytes that are stored.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from chainwatch.server import problem
from chainwatch.server.problem import Problem
from chainwatch.text import printable

LONGEST_ID: Final = 64
"""Characters of an id that a client gives."""

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "subscribe": ("op", "id"),  # and the stream parameters
    "unsubscribe": ("op", "id"),
    "ack": ("op", "id", "cursor"),
    "send": ("op", "id", "type", "data", "idempotency_key"),
    "ping": ("op", "id"),
}


class Subscribe(NamedTuple):
    """Begin a subscription."""

    id: str
    query: tuple[tuple[str, str], ...]
    """The stream parameters, as in the query of a URL."""
    agent: str | None
    """Of a durable stream: its name, in place of the parameters that it was saved with."""
    op: str = "subscribe"


class Unsubscribe(NamedTuple):
    id: str
    op: str = "unsubscribe"


class Ack(NamedTuple):
    """Everything up to `cursor` was dealt with."""

    id: str
    cursor: str
    op: str = "ack"


class Send(NamedTuple):
    """Publish a custom event."""

    id: str | None
    type: str
    data: bytes
    """JSON, as it was sent."""
    idempotency_key: str | None
    op: str = "send"


class Ping(NamedTuple):
    id: str | None
    op: str = "ping"


class Wrong(NamedTuple):
    """A message that cannot be meant."""

    id: str | None
    op: str | None
    problem: Problem


Op = Subscribe | Unsubscribe | Ack | Send | Ping


# --- from the client ----------------------------------------------------------------------------------------------


_objects: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_lists: Final = msgspec.json.Decoder(list[msgspec.Raw])
_texts: Final = msgspec.json.Decoder(str)


def parse(message: bytes) -> Op | Wrong:
    """What this text message asks for. It is UTF-8."""
    try:
        fields = _objects.decode(message)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else printable(str(error), 200)
        return _wrong(None, None, f"the message is no JSON object: {why}", hint='a message is such as {"op": "ping"}')
    given, known = _text(fields.get("id")), _text(fields.get("op"))
    # What is not valid is not said again: it may be a megabyte.
    name = given if given is not None and 0 < len(given) <= LONGEST_ID else None
    if known is None or known not in _FIELDS:
        if "op" not in fields:
            return _wrong(name, None, "a message needs an op", hint=f"there is: {', '.join(_FIELDS)}")
        shown = known if known is not None else _shown(fields["op"])
        close = difflib.get_close_matches(shown.lower()[:64], _FIELDS, n=1, cutoff=0.5)
        return _wrong(
            name, None, f"unknown op {printable(shown, 80)!r}", parameter="op", value=shown,
            nearest=close[0] if close else "", hint="" if close else f"there is: {', '.join(_FIELDS)}",
        )  # fmt: skip
    if name is None and ("id" in fields or known in ("subscribe", "unsubscribe", "ack")):
        what = "is the name that its events carry" if known == "subscribe" else "says which one is meant"
        return _wrong(
            None, known, f"{known} needs an id" if "id" not in fields else "this id is none", parameter="id",
            hint=f"an id is a text of 1 to {LONGEST_ID} characters; it {what}",
        )  # fmt: skip
    try:
        return _of(known, name, fields)
    except _NotMeant as error:
        return Wrong(name, known, error.problem)


class _NotMeant(Exception):
    def __init__(self, detail: str, **more: str) -> None:
        super().__init__(detail)
        self.problem = _problem(detail, **more)


def _of(op: str, name: str | None, fields: dict[str, msgspec.Raw]) -> Op:
    if op == "subscribe":
        agent = fields.pop("agent", None)
        asked = [field for field in fields if field not in ("op", "id")]
        query = tuple((field, value) for field in asked for value in _values(field, fields[field]))
        return Subscribe(name or "", query, None if agent is None else _must(_text(agent), "agent", "an agent's name"))
    for field in fields:
        if field not in _FIELDS[op]:
            close = difflib.get_close_matches(field.lower()[:64], _FIELDS[op], n=1, cutoff=0.5)
            raise _NotMeant(
                f"{op} has no field {printable(field, 80)!r}", parameter=field, value=field,
                nearest=close[0] if close else "", hint="" if close else f"there is: {', '.join(_FIELDS[op])}",
            )  # fmt: skip
    if op == "ping":
        return Ping(name)
    if op == "unsubscribe":
        return Unsubscribe(name or "")
    if op == "ack":
        return Ack(name or "", _must(_text(fields.get("cursor")), "cursor", "the cursor of an event"))
    kind = _must(_text(fields.get("type")), "type", "the name of a custom type")
    if "data" not in fields:
        raise _NotMeant("send needs data", parameter="data", hint="data is the JSON object that is published")
    again = fields.get("idempotency_key")
    return Send(
        name,
        kind,
        bytes(fields["data"]),
        None if again is None else _must(_text(again), "idempotency_key", "a text"),
    )


def _values(name: str, raw: msgspec.Raw) -> list[str]:
    """A parameter's value, or values, as they would stand in a query; null is none."""
    text = bytes(raw)
    if text == b"null":
        return []
    return [_value(name, one) for one in (_lists.decode(text) if text[:1] == b"[" else [raw])]


def _value(name: str, raw: msgspec.Raw) -> str:
    text = bytes(raw)
    if text[:1] in (b"[", b"{") or text == b"null":
        raise _NotMeant(
            f"{printable(name, 80)} has a value that is none",
            parameter=name,
            hint="a parameter is a text, a number, or a list of them",
        )
    return _texts.decode(text) if text[:1] == b'"' else text.decode()  # a number, as it is written


def _must(text: str | None, field: str, what: str) -> str:
    if text is None:
        raise _NotMeant(f"{field} is needed, as a text", parameter=field, hint=f"{field} is {what}")
    return text


def _text(raw: msgspec.Raw | None) -> str | None:
    if raw is None or bytes(raw)[:1] != b'"':
        return None
    try:
        return _texts.decode(raw)
    except (msgspec.DecodeError, ValueError):
        return None


def _shown(raw: msgspec.Raw) -> str:
    return bytes(raw)[:200].decode(errors="replace")


def _problem(detail: str, **more: str) -> Problem:
    if more.get("nearest") and not more.get("hint"):
        more["hint"] = f"did you mean {more['nearest']!r}?"
    return Problem(400, detail, more=more)


def _wrong(name: str | None, op: str | None, detail: str, **more: str) -> Wrong:
    return Wrong(name, op, _problem(detail, **more))


# --- to the client ------------------------------------------------------------------------------------------------


def frame(payload: bytes) -> bytes:
    """A text frame (RFC 6455, section 5.2), whole and unmasked."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)


def message(op: str, name: str | None = None, **more: Any) -> bytes:
    """The frame of a message; an id where there is one, then what else it says."""
    about = {"op": op} if name is None else {"op": op, "id": name}
    return frame(msgspec.json.encode({**about, **more}))


def error(wrong: Problem, op: str | None, name: str | None) -> bytes:
    """The frame of an `error` that answers `op` of `name`."""
    about = {} if op is None else {"answers": op}
    return message("error", name, **about, **problem.members(wrong))


def head_of_events(name: str) -> bytes:
    """What the events of the subscription `name` begin with, up to their cursor."""
    return msgspec.json.encode({"op": "event", "id": name})[:-1] + b',"cursor":"'


def spliced(frames: bytes, head: bytes) -> bytes:
    """
    Frames of the log, `id: <cursor>\\ndata: <json>\\n\\n` each, as text frames of a WebSocket. The JSON holds no line
    break, and a cursor nothing that JSON would escape.
    """
    parts: list[bytes] = []
    for framed in frames.split(b"\n\n"):
        if framed:
            cursor, _, event = framed.partition(b"\ndata: ")
            parts.append(frame(b"".join((head, cursor[4:], b'","event":', event, b"}"))))
    return b"".join(parts)
