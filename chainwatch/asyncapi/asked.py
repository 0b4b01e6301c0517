"""The parameters of streams, of subscriptions and of pages, as JSON Schema."""

from __future__ import annotations

from typing import Any, Final

CURSOR: Final = {"type": "string", "description": "An opaque cursor: a place in the log."}
_LIST: Final = " Commas or repeats are OR."

ASKED: Final[dict[str, dict[str, Any]]] = {
    "filters": {"type": "string", "description": f"Categories and types, singular or plural.{_LIST}"},
    "types": {"type": "string", "description": f"The same; beside `filters` only what both name.{_LIST}"},
    "address": {"type": "string", "description": f"Addresses that an event touches.{_LIST}"},
    "token": {
        "type": "string",
        "description": f"Contracts of tokens, or symbols of configured ones.{_LIST}",
    },
    "chains": {"type": "string", "description": f"Configured names of chains.{_LIST}"},
    "min_amount": {
        "type": "string",
        "pattern": "^[0-9]{1,78}$",
        "description": "Only events with an amount of at least so many base units.",
    },
    "where": {
        "type": "string",
        "maxLength": 4096,
        "description": (
            "Only events of which this expression is true: CEL, exact on base units, such as "
            '`data.amount >= 1e18 && data.token == "ETH"`. One expression; commas are part of it.'
        ),
    },
}
"""The parameters that streams and history share, as JSON Schema."""

SINCE: Final[dict[str, dict[str, Any]]] = {
    "since": {
        "type": "string",
        "description": "Where to begin: `earliest`, `now`, an age such as `15m`, or a time of RFC 3339.",
    },
    "last": {"type": "integer", "minimum": 0, "description": "Begin with the newest so many events."},
}

STREAM: Final[dict[str, dict[str, Any]]] = {
    **ASKED,
    **SINCE,
    "last_event_id": {**CURSOR, "description": "Go on behind this cursor; the header `Last-Event-ID` goes first."},
    "limit": {"type": "integer", "minimum": 1, "description": "End with `complete` after so many events."},
    "duration": {"type": "string", "description": "End with `complete` after this time: seconds, or such as `1m`."},
    "heartbeat": {"type": "string", "description": "Time between signs of life where nothing happens."},
    "named": {"type": "boolean", "description": "Whether events carry their type as `event:` field."},
    "gap": {
        "type": "string",
        "enum": ["event", "fail"],
        "description": "Where events that were asked for are gone: tell it by `gap`, or answer 410.",
    },
}
"""The parameters of a stream."""

HISTORY: Final[dict[str, dict[str, Any]]] = {
    **ASKED,
    **SINCE,
    "until": {"type": "string", "description": "Where to end: before what was told at this time, given as `since` is."},
    "cursor": {**CURSOR, "description": "Go on behind it: `next` of the page before."},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100, "description": "Events of a page."},
}
"""The parameters of a page of history."""

AGENT: Final[dict[str, dict[str, Any]]] = {
    **{name: STREAM[name] for name in ("last_event_id", "limit", "duration", "heartbeat", "named", "gap")},
    "ack": {"const": "auto", "description": "The agent's cursor moves as bytes leave; else by acknowledgements alone."},
}
"""The parameters of an agent's stream, which go before those that it was made with."""

SOCKET: Final[dict[str, dict[str, Any]]] = {
    name: {
        "description": schema.get("description", ""),
        "type": ["string", "number", "boolean", "array", "null"],
        "items": {"type": ["string", "number", "boolean"]},
    }
    for name, schema in STREAM.items()
    if name != "named"
}
"""The fields of `subscribe`: what a stream takes, each as a text, a number, or a list of them."""
