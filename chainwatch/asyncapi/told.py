"""What streams say beside events, as (summary, JSON Schema, example) by name; and what other routes answer."""

from __future__ import annotations

from typing import Any, Final

from chainwatch import sse
from chainwatch.asyncapi.asked import CURSOR

CONTROL: Final[dict[str, tuple[str, dict[str, Any], Any]]] = {
    "connect": (
        "The first event of every stream: where it begins.",
        {
            "type": "object",
            "properties": {
                "stream": {"type": "string", "description": "The name of the stream, as in the statistics."},
                "cursor": {**CURSOR, "description": "Where the stream begins."},
                "filters": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                    "description": "The filter as it was understood; empty where everything passes.",
                },
                "replay_from": {
                    "type": ["string", "null"],
                    "description": "Stored events behind this cursor come first; null where the stream begins live.",
                },
            },
            "required": ["stream", "cursor", "filters", "replay_from"],
        },
        {"stream": "str_1f0c6a5be2d94a73", "cursor": "k3f9a2-1041", "filters": {}, "replay_from": None},
    ),
    "heartbeat": (
        "A sign of life on the routes of named events, where nothing else was sent.",
        {
            "type": "object",
            "properties": {"timestamp": {"type": "string", "format": "date-time", "description": "Now."}},
            "required": ["timestamp"],
        },
        {"timestamp": "2023-11-02T01:00:30.000Z"},
    ),
    "gap": (
        "Events that were asked for are gone; the stream goes on from the oldest that is kept.",
        {
            "type": "object",
            "properties": {
                "requested": {**CURSOR, "description": "The cursor that the client gave."},
                "oldest": {
                    "type": ["string", "null"],
                    "description": "The cursor of the oldest kept event; null where none is kept.",
                },
                "resumed_at": {**CURSOR, "description": "The cursor behind which the stream goes on."},
                "reason": {
                    "type": "string",
                    "enum": ["expired", "other_log", "future", "malformed"],
                    "description": "Too old, of another log, beyond the end of this one, or no cursor.",
                },
            },
            "required": ["requested", "oldest", "resumed_at", "reason"],
        },
        {"requested": "k3f9a2-7", "oldest": "k3f9a2-512", "resumed_at": "k3f9a2-511", "reason": "expired"},
    ),
    "complete": (
        "The last event of a stream that ends on purpose (limit, duration, shutdown): come back after `retry`.",
        {"type": "string", "const": "[DONE]"},
        "[DONE]",
    ),
}

ANSWERS: Final[dict[str, tuple[str, dict[str, Any], Any]]] = {
    "publication": (
        "A custom event to publish; with an `Idempotency-Key`, once, however often it is sent within a day.",
        {"type": "object", "description": "Becomes `data`. At most 64 KiB."},
        {"version": "1.4.2", "commit": "9f3c1e7"},
    ),
    "receipt": (
        "The event is durable.",
        {
            "type": "object",
            "properties": {"id": {"type": "string", "description": "Its id."}, "cursor": CURSOR},
            "required": ["id", "cursor"],
        },
        {"id": "evt_v0akj1nv92n8kyvkkxza3d4m2w", "cursor": "k3f9a2-1041"},
    ),
    "stats": (
        "How the daemon does, of what the asker may know.",
        {
            "type": "object",
            "properties": {
                "version": {"type": "string"},
                "time": {"type": "number", "description": "Unix seconds."},
                "uptime_seconds": {"type": "number"},
                "chains": {"type": "array", "items": {"type": "object"}},
                "sources": {"type": "array", "items": {"type": "object"}},
                "streams": {"type": "object"},
                "connections": {"type": ["object", "null"], "description": "For keys of administrators."},
                "log": {"type": "object"},
                "rates": {"type": "object", "description": "Per second, over the last minute."},
                "totals": {"type": "object", "description": "Since the start."},
                "latencies_ms": {"type": "object"},
            },
            "required": ["version", "time", "chains", "sources", "streams", "log", "rates", "totals", "latencies_ms"],
        },
        {
            "version": "1.0.0",
            "time": 1698886830.1,
            "uptime_seconds": 86400.2,
            "chains": [{"name": "ethereum", "state": "connected", "ready": True, "head": 18500000}],
            "sources": [],
            "streams": {"open": 2, "max": 10000, "live": 2, "places": {"live": 2}, "list": []},
            "connections": None,
            "log": {"identity": "k3f9a2", "oldest": 1, "head": 1041, "flushed": 1041},
            "rates": {"events": 12.5, "deliveries": 25, "bytes": 9120},
            "totals": {"events": 1041, "deliveries": 2082, "bytes": 760000},
            "latencies_ms": {"commit_to_socket": {"p50": 1.1, "p90": 2, "p99": 4.5, "max": 9}},
        },
    ),
}
"""What is posted, and what is answered to other requests than those for a stream."""


def page(types: list[str], schemas: str) -> dict[str, Any]:
    """The schema of a page of history. `schemas`: where those of events of these types are, by `name`."""
    return {
        "title": "page",
        "type": "object",
        "properties": {
            "events": {"type": "array", "items": {"oneOf": [{"$ref": schemas.format(name=name)} for name in types]}},
            "next": {**CURSOR, "description": "Go on with this `cursor`; there at the end too, to poll with."},
            "has_more": {"type": "boolean", "description": "More is stored already."},
            "truncated": {"type": "boolean", "description": "Older events than were asked for are gone."},
        },
        "required": ["events", "next", "has_more", "truncated"],
    }


def sse_fields() -> dict[str, Any]:
    """The schema of what an event of a stream has beside its data."""
    return {
        "title": "sse_fields",
        "description": f"The fields of an event in {sse.MEDIA_TYPE} beside `data`.",
        "type": "object",
        "properties": {
            "id": CURSOR,
            "event": {
                "type": "string",
                "description": "The type, where events are named; always the name of `connect` and its like.",
            },
            "retry": {"type": "integer", "description": "Milliseconds to wait before coming back."},
        },
    }
