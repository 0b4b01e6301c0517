"""What a hostile client may send: requests made of the routes that there are, frames of WebSockets, broken bytes."""

from __future__ import annotations

import json
import struct
from typing import NamedTuple
from urllib.parse import quote

from hypothesis import strategies as st
from server.house import ALICE, BOB, USDC

from chainwatch.payloads import CATEGORIES, PAYLOADS
from chainwatch.server.app import ROUTES

KEYS: list[str] = []
"""Keys that hold; filled by whoever starts the server."""
CURSORS: list[str] = []
"""Cursors of its log."""

GARBAGE = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(max_codepoint=0x20), max_size=5),
    st.sampled_from(
        ["", ",", ",,", "%", "%00", "%ff", "\x00", "\r\n", "\u202e", "0x", "-1", "1e999", "nan", "9" * 40, ".."]
    ),
    st.integers(-(2**70), 2**70).map(str),
)
CURSOR = st.deferred(lambda: st.sampled_from(CURSORS))
WORDS = st.sampled_from([*PAYLOADS, *CATEGORIES, "custom:deploy"])
TIMES = st.sampled_from(["0.05", "50ms", "1s", "1m"])
WHERE = [
    "data.amount > 1",
    "type == 'block_new'",
    "!(((",
    "data.a.b.c[0] == 1.5 || true",
    "chain in ['base']",
    "a" * 3000,
]
KNOWN: dict[str, st.SearchStrategy[str]] = {
    "filters": WORDS,
    "types": WORDS,
    "address": st.sampled_from([ALICE, BOB, f"{ALICE},{BOB}", ALICE.upper()]),
    "token": st.sampled_from(["USDC", "usdc", USDC]),
    "chains": st.sampled_from(["ethereum", "base", "base,ethereum"]),
    "min_amount": st.sampled_from(["0", "1", "1" + "0" * 30]),
    "where": st.sampled_from(WHERE),
    "since": st.sampled_from(["earliest", "now", "15m", "2023-11-02T01:00:30Z"]),
    "last": st.sampled_from(["0", "1", "7", "1000"]),
    "last_event_id": CURSOR,
    "cursor": CURSOR,
    "limit": st.sampled_from(["1", "2", "100"]),
    "duration": TIMES,
    "heartbeat": TIMES,
    "named": st.sampled_from(["true", "false"]),
    "gap": st.sampled_from(["event", "fail"]),
    "ack": st.just("auto"),
}
"""The parameters that there are, and values that mean something."""
NAMES = st.sampled_from([*KNOWN])
VALUES = st.one_of(WORDS, CURSOR, *KNOWN.values(), st.sampled_from(["mine", "agent-1", "deploy", "history"]), GARBAGE)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), VALUES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(VALUES, inner, max_size=3)),
    max_leaves=8,
)


def chance(draw: st.DrawFn, of: int) -> bool:
    """Once in so many times. (Small integers would be 0 more often than that: they are where errors hide.)"""
    return draw(st.sampled_from([False] * (of - 1) + [True]))


@st.composite
def asked(draw: st.DrawFn, most: int = 3) -> list[tuple[str, str]]:
    """Parameters, most of which mean something."""
    names = draw(st.lists(NAMES, max_size=most, unique=True))
    found = [(name, draw(VALUES if chance(draw, 8) else KNOWN[name])) for name in names]
    if chance(draw, 12):
        found.append((draw(st.one_of(NAMES, GARBAGE)), draw(VALUES)))
    return found


OBJECTS = st.one_of(asked().map(dict), asked().map(dict), st.dictionaries(st.one_of(NAMES, GARBAGE), JSON, max_size=3))
SEGMENTS: dict[str, st.SearchStrategy[str]] = {
    "{type}": st.one_of(WORDS, st.sampled_from(["deploy", "custom:deploy", "blocks"])),
    "{agent}": st.sampled_from(["agent-1", "mine", "a.b_c"]),
    "{channel}": st.sampled_from(["wallet", "token", "chain", "type", "price"]),
    "{resource}": st.one_of(WORDS, st.sampled_from(["ethereum", "base", "USDC", ALICE, USDC, "ETH"])),
}


class Said(NamedTuple):
    """What one connection says, and how."""

    data: bytes
    waits: bool
    """It reads something before it closes its half."""


@st.composite
def targets(draw: st.DrawFn, path: str) -> str:
    """A target for that route."""
    parts = []
    for part in path.split("/"):
        said = draw(VALUES if chance(draw, 8) else SEGMENTS.get(part, VALUES)) if part.startswith("{") else part
        parts.append(said if chance(draw, 40) else quote(said, safe=":"))
    query = draw(asked())
    encode = str if chance(draw, 40) else quote
    found = "&".join(f"{encode(name)}={encode(value)}" for name, value in query)
    if KEYS and chance(draw, 8):
        found += f"&token={draw(st.sampled_from(KEYS))}"
    target = "/".join(parts) + (f"?{found}" if found else "")
    if chance(draw, 15):
        return draw(st.sampled_from(["http://localhost", "http://evil.example", "//", "http://[::1", "*"])) + target
    return target


HEADERS: dict[str, list[str]] = {
    "Accept": ["text/event-stream", "application/json", "application/openmetrics-text", "*/*", "text/html;q=0.1"],
    "Accept-Encoding": ["gzip", "zstd;q=0.5, gzip", "identity;q=0, *", "br"],
    "Access-Control-Request-Method": ["PUT", "nonsense"],
    "Authorization": ["Bearer x", "Basic eDp5", "Bearer"],
    "Connection": ["close", "keep-alive", "Upgrade"],
    "Content-Encoding": ["gzip", "identity", "deflate", "br"],
    "Content-Type": [
        "application/json",
        "text/plain",
        "application/json; charset=latin-1",
        ";;=",
        "multipart/form-data",
    ],
    "Expect": ["100-continue", "200-ok"],
    "Host": ["localhost", "evil.example", "[::1]:80", ""],
    "Idempotency-Key": ["a", '"b"', "x" * 300, ""],
    "If-None-Match": ['"a"', 'W/"a"', "*", '"'],
    "Last-Event-ID": ["other-1", "nonsense", "x" * 1000],
    "Origin": ["http://localhost", "null", "https://evil.example", "::"],
    "Range": ["bytes=0-1"],
    "Upgrade": ["websocket", "h2c"],
    "X-API-Key": ["cw_none", ""],
    "X-Forwarded-For": ["192.0.2.1", ",,", "[::1]:5"],
}


@st.composite
def headers(draw: st.DrawFn) -> str:
    if chance(draw, 25):
        return f"{draw(st.text(max_size=5))}: {draw(st.text(max_size=10))}"
    name = draw(st.sampled_from([*HEADERS]))
    if name == "Last-Event-ID" and not chance(draw, 3):
        return f"{name}: {draw(CURSOR)}"
    return f"{name}: {draw(VALUES) if chance(draw, 10) else draw(st.sampled_from(HEADERS[name]))}"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    route = draw(st.sampled_from(ROUTES))
    method = draw(st.sampled_from(METHODS)) if chance(draw, 8) else route.method
    version = draw(st.sampled_from(["1.0", "1.0", "0.9", "2.0", "1.12"])) if chance(draw, 15) else "1.1"
    lines = [f"{method} {draw(targets(route.path))} HTTP/{version}"]
    if not chance(draw, 25):
        lines.append("Host: localhost")
    if KEYS and not chance(draw, 10):
        lines.append(f"X-API-Key: {draw(st.sampled_from(KEYS))}")
    lines += draw(st.lists(headers(), max_size=2))
    body = b""
    if method in ("POST", "PUT", "PATCH") or chance(draw, 25):
        body = draw(st.one_of(OBJECTS.map(_json), OBJECTS.map(_json), JSON.map(_json), st.binary(max_size=40)))
        if chance(draw, 4):
            lines.append("Transfer-Encoding: chunked")
            cut = draw(st.integers(0, len(body)))
            body = (
                b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
                + b"0\r\n\r\n"
            )
        else:
            lines.append(f"Content-Length: {draw(st.integers(0, 2**40)) if chance(draw, 15) else len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body


METHODS = ["HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI", "get", "", "G ET", "DELETE", "PUT", "POST"]


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


@st.composite
def mutated(draw: st.DrawFn, given: st.SearchStrategy[bytes]) -> bytes:
    """Mostly as it is; else cut, or with bytes changed, put in, or repeated."""
    data = bytearray(draw(given))
    for _ in range(draw(st.sampled_from([0] * 16 + [1, 1, 2, 5]))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.integers(0, 3)):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=3))
            case 2:
                data[at:at] = draw(
                    st.sampled_from([b"\r\n", b"\x00", b"\r", b" ", b"\n", b"a" * 9000, b"\xff", b"\r\n\r\n"])
                )
            case 3:
                data[at:at] = data[at : at + 30]
    return bytes(data)


HTTP = st.builds(
    lambda parts, waits: Said(b"".join(parts), waits),
    st.lists(mutated(requests()), min_size=1, max_size=3),
    st.booleans(),
)

# --- WebSockets -------------------------------------------------------------------------------------------------------


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, mask: bytes | None = b"abcd") -> bytes:
    """As a client sends it (RFC 6455, section 5.2); without a mask no client may."""
    size = len(payload)
    length, more = (
        (size, b"")
        if size < 126
        else (126, struct.pack("!H", size))
        if size < 2**16
        else (127, struct.pack("!Q", size))
    )
    head = bytes([fin << 7 | reserved << 4 | opcode, (mask is not None) << 7 | length]) + more
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """What a client says; one of the ops as it is meant, as a rule."""
    if chance(draw, 10):
        return _json(draw(st.one_of(OBJECTS, JSON)))
    name = draw(st.sampled_from(["a", "b"]))
    op = draw(st.sampled_from(["subscribe", "subscribe", "subscribe", "unsubscribe", "ack", "send", "ping"]))
    said: dict[str, object] = {"op": op, "id": name}
    match op:
        case "subscribe":
            said |= {name: value for name, value in draw(asked()) if name not in ("named", "ack", "cursor")}
            if chance(draw, 6):
                said["agent"] = draw(SEGMENTS["{agent}"])
        case "ack":
            said["cursor"] = draw(CURSOR)
        case "send":
            said |= {"type": draw(SEGMENTS["{type}"]), "data": draw(OBJECTS)}
    if chance(draw, 8):
        said[draw(st.sampled_from([*said, "type", "cursor", "idempotency_key", "x"]))] = draw(JSON)
    return _json(said)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    if not chance(draw, 10):
        return frame(1, draw(messages()))
    return frame(
        draw(st.integers(0, 15)),
        draw(st.one_of(messages(), st.binary(max_size=130), st.just(b"x" * 70_000))),
        fin=draw(st.booleans()),
        reserved=draw(st.sampled_from([0, 0, 0, 1, 4, 7])),
        mask=draw(st.sampled_from([b"abcd", b"\0\0\0\0", None])),
    )


@st.composite
def sockets(draw: st.DrawFn) -> Said:
    key = f"X-API-Key: {draw(st.sampled_from(KEYS))}\r\n" if KEYS else ""
    hello = (
        f"GET /ws HTTP/1.1\r\nHost: localhost\r\n{key}Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    said = draw(mutated(st.lists(frames(), max_size=6).map(b"".join)))
    return Said(hello.encode() + said, draw(st.booleans()))
