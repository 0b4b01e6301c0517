"""
The AsyncAPI 3.0 document: which streams there are, what can be asked of them, and what comes. Made from the catalogue,
with the definitions of `schema`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from chainwatch import __version__, sse
from chainwatch.examples import CUSTOM, EXAMPLES
from chainwatch.payloads import CATEGORIES, NAMES, PAYLOADS
from chainwatch.schema import definitions

_SCHEMAS: Final = "#/components/schemas/{name}"
_CURSOR: Final = {"type": "string", "description": "An opaque cursor: a place in the log."}
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
    "last_event_id": {**_CURSOR, "description": "Go on behind this cursor; the header `Last-Event-ID` goes first."},
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
    "cursor": {**_CURSOR, "description": "Go on behind it: `next` of the page before."},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100, "description": "Events of a page."},
}
"""The parameters of a page of history."""

_CONTROL: Final[dict[str, tuple[str, dict[str, Any], Any]]] = {
    "connect": (
        "The first event of every stream: where it begins.",
        {
            "type": "object",
            "properties": {
                "stream": {"type": "string", "description": "The name of the stream, as in the statistics."},
                "cursor": {**_CURSOR, "description": "Where the stream begins."},
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
                "requested": {**_CURSOR, "description": "The cursor that the client gave."},
                "oldest": {
                    "type": ["string", "null"],
                    "description": "The cursor of the oldest kept event; null where none is kept.",
                },
                "resumed_at": {**_CURSOR, "description": "The cursor behind which the stream goes on."},
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
        "The last event of a stream that ends on purpose: the limit, the duration, a shutdown. Wait for `retry`.",
        {"type": "string", "const": "[DONE]"},
        "[DONE]",
    ),
}


def document() -> dict[str, Any]:
    """The whole document."""
    types = [*PAYLOADS, "custom"]
    schemas = definitions(types, _SCHEMAS)
    schemas |= {name: form | {"title": name} for name, (_, form, _) in _CONTROL.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "chainwatch",
            "version": __version__,
            "description": (
                "Every event of the chains that a daemon follows, once and in order, as Server-Sent Events and as "
                "pages of history. The `id:` of an event is a cursor; with it as `Last-Event-ID` a stream goes on "
                "exactly behind it. Fields and types can be added at any time: ignore what you do not know."
            ),
            "license": {"name": "MIT"},
            "tags": [{"name": name, "description": _category(name)} for name in CATEGORIES],
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:8080",
                "protocol": "http",
                "description": "Where a daemon listens unless it is told otherwise.",
            }
        },
        "channels": _channels(types),
        "operations": _operations(),
        "components": {
            "schemas": schemas | {"sse_fields": _sse_fields(), "page": _page(types)},
            "messages": {name: _message(name) for name in types}
            | {name: _control(name) for name in _CONTROL}
            | {"page": _page_message()},
        },
    }


def _category(name: str) -> str:
    return ", ".join(kind for kind in PAYLOADS if kind in CATEGORIES[name])


def _channels(types: list[str]) -> dict[str, Any]:
    streamed = {name: {"$ref": f"#/components/messages/{name}"} for name in [*types, *_CONTROL]}
    return {
        "events": {
            "address": "/events",
            "title": "All events",
            "description": "Events without an `event:` field, so that `onmessage` of a browser gets them.",
            "messages": streamed,
        },
        "eventsStream": {
            "address": "/events/stream",
            "title": "All events, under the other name",
            "messages": streamed,
        },
        "eventsOfType": {
            "address": "/events/{type}",
            "title": "Events of one type or category, named by their type",
            "parameters": {
                "type": {
                    "description": (
                        "A type or category, singular or plural; or a custom type, once published, and always as "
                        "`custom:NAME`."
                    ),
                    "examples": [*NAMES, "custom:deploy"],
                }
            },
            "messages": streamed,
        },
        "eventsOfOneThing": {
            "address": "/v1/{channel}/{resource}",
            "title": "Events of one wallet, token, chain, type or price, named by their type",
            "parameters": {
                "channel": {"enum": ["wallet", "token", "chain", "type", "price"]},
                "resource": {
                    "description": (
                        "A configured name or an address, a symbol or a contract, a chain, a type or category, a "
                        "symbol or `ETH-USD`."
                    ),
                    "examples": ["treasury", "USDC", "ethereum", "block_new", "ETH-USD"],
                },
            },
            "messages": streamed,
        },
        "history": {
            "address": "/events/history",
            "title": "The log in pages, from the earliest event on",
            "messages": {"page": {"$ref": "#/components/messages/page"}},
        },
    }


def _operations() -> dict[str, Any]:
    def sent(channel: str, summary: str, asked: dict[str, dict[str, Any]]) -> dict[str, Any]:
        query = {"type": "object", "properties": asked, "additionalProperties": False}
        return {
            "action": "send",
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "bindings": {"http": {"method": "GET", "query": query, "bindingVersion": "0.3.0"}},
        }

    return {
        "streamEvents": sent("events", "Stream all events, or those of a filter.", STREAM),
        "streamEventsToo": sent("eventsStream", "Stream all events, or those of a filter.", STREAM),
        "streamEventsOfType": sent("eventsOfType", "Stream the events of a type or category.", STREAM),
        "streamEventsOfOneThing": sent("eventsOfOneThing", "Stream the events of one thing.", STREAM),
        "readHistory": sent("history", "Read a page of stored events.", HISTORY),
    }


def _message(name: str) -> dict[str, Any]:
    payload = PAYLOADS.get(name)
    return {
        "name": name,
        "title": name,
        "summary": payload.DESCRIPTION if payload else "Whatever a client published.",
        "contentType": "application/json",
        "headers": {"$ref": _SCHEMAS.format(name="sse_fields")},
        "payload": {"$ref": _SCHEMAS.format(name=name)},
        "tags": [{"name": payload.CATEGORY if payload else "custom"}],
        "examples": [{"payload": msgspec.to_builtins(EXAMPLES[name] if payload else CUSTOM)}],
    }


def _control(name: str) -> dict[str, Any]:
    summary, form, example = _CONTROL[name]
    return {
        "name": name,
        "title": name,
        "summary": summary,
        "contentType": "application/json" if form["type"] == "object" else "text/plain",
        "headers": {"$ref": _SCHEMAS.format(name="sse_fields")},
        "payload": {"$ref": _SCHEMAS.format(name=name)},
        "examples": [{"payload": example}],
    }


def _page_message() -> dict[str, Any]:
    return {
        "name": "page",
        "title": "A page of history",
        "contentType": "application/json",
        "payload": {"$ref": _SCHEMAS.format(name="page")},
    }


def _page(types: list[str]) -> dict[str, Any]:
    return {
        "title": "page",
        "type": "object",
        "properties": {
            "events": {"type": "array", "items": {"oneOf": [{"$ref": _SCHEMAS.format(name=name)} for name in types]}},
            "next": {**_CURSOR, "description": "Go on with this `cursor`; there at the end too, to poll with."},
            "has_more": {"type": "boolean", "description": "More is stored already."},
            "truncated": {"type": "boolean", "description": "Older events than were asked for are gone."},
        },
        "required": ["events", "next", "has_more", "truncated"],
    }


def _sse_fields() -> dict[str, Any]:
    return {
        "title": "sse_fields",
        "description": f"The fields of an event in {sse.MEDIA_TYPE} beside `data`.",
        "type": "object",
        "properties": {
            "id": _CURSOR,
            "event": {
                "type": "string",
                "description": "The type, where events are named; always the name of `connect` and its like.",
            },
            "retry": {"type": "integer", "description": "Milliseconds to wait before coming back."},
        },
    }
