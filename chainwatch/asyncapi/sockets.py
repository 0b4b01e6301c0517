"""What is said over `GET /ws`, as (summary, JSON Schema, example) by name: JSON objects, each with its `op`."""

from __future__ import annotations

from typing import Any, Final

from chainwatch.asyncapi.asked import CURSOR, SOCKET
from chainwatch.asyncapi.told import CONTROL

_ID: Final = {"type": "string", "minLength": 1, "maxLength": 64, "description": "The subscription that is meant."}
_ANY_ID: Final = {"type": "string", "minLength": 1, "maxLength": 64, "description": "The answer has it too."}
_AT: Final = "k3f9a2-1041"

Said = tuple[str, dict[str, Any], dict[str, Any]]


def _said(
    summary: str, op: str, example: dict[str, Any], needs: tuple[str, ...] = (), **fields: dict[str, Any]
) -> Said:
    form = {
        "type": "object",
        "properties": {"op": {"const": op}, **fields},
        "required": ["op", *needs],
    }
    return summary, form, {"op": op, **example}


def _control(name: str, summary: str, **more: dict[str, Any]) -> Said:
    """One that streams say as well; over a WebSocket it names its subscription."""
    _, form, example = CONTROL[name]
    fields = {"id": _ID, **form.get("properties", {}), **more}
    known = {"id": "mine", **(example if isinstance(example, dict) else {})}
    known |= {field: about["examples"][0] for field, about in more.items()}
    return _said(summary, name, known, (*("id", *form.get("required", ())), *more), **fields)


FROM_CLIENT: Final[dict[str, Said]] = {
    "ws_subscribe": _said(
        "Begin a subscription: the parameters of a stream beside a name for it, or an agent.",
        "subscribe",
        {"id": "mine", "filters": ["block", "token_transfer"], "chains": "ethereum", "last_event_id": _AT},
        ("id",),
        id={**_ID, "description": "What its events are to carry: a name of the client's own."},
        agent={"type": "string", "description": "Go on with this durable stream, in place of a filter."},
        **SOCKET,
    ),
    "ws_unsubscribe": _said("End a subscription.", "unsubscribe", {"id": "mine"}, ("id",), id=_ID),
    "ws_ack": _said(
        "Everything up to a cursor was dealt with; of a subscription to an agent.",
        "ack",
        {"id": "mine", "cursor": _AT},
        ("id", "cursor"),
        id=_ID,
        cursor=CURSOR,
    ),
    "ws_send": _said(
        "Publish a custom event.",
        "send",
        {"id": "first", "type": "deploy", "data": {"version": "1.4.2"}, "idempotency_key": "deploy-1.4.2"},
        ("type", "data"),
        id=_ANY_ID,
        type={"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$", "description": "Its type, no reserved name."},
        data={"type": "object", "description": "At most 64 KiB."},
        idempotency_key={"type": "string", "description": "One event, however often this is said within a day."},
    ),
    "ws_ping": _said("Ask for a `pong`.", "ping", {"id": "now"}, id=_ANY_ID),
}
"""To the server. A field that is not listed is an error."""

TO_CLIENT: Final[dict[str, Said]] = {
    "ws_connect": _control("connect", "A subscription begins here."),
    "ws_gap": _control("gap", "Events that were asked for are gone; it goes on from the oldest that is kept."),
    "ws_heartbeat": _control(
        "heartbeat",
        "A sign of life where nothing else was told; its cursor moves on.",
        cursor={**CURSOR, "examples": [_AT]},
    ),
    "ws_complete": _said(
        "A subscription ends on purpose; come back behind its cursor, after `retry` milliseconds.",
        "complete",
        {"id": "mine", "cursor": _AT, "reason": "shutdown", "retry": 2417},
        ("id", "cursor", "reason", "retry"),
        id=_ID,
        cursor=CURSOR,
        reason={"type": "string", "description": "Such as `limit`, `duration`, `unsubscribed`, `shutdown`."},
        retry={"type": "integer", "minimum": 0, "description": "Milliseconds."},
    ),
    "ws_sent": _said(
        "The event is durable.",
        "sent",
        {"id": "first", "event_id": "evt_v0akj1nv92n8kyvkkxza3d4m2w", "cursor": _AT, "replayed": False},
        ("event_id", "cursor", "replayed"),
        id=_ANY_ID,
        event_id={"type": "string", "description": "Its id."},
        cursor=CURSOR,
        replayed={"type": "boolean", "description": "It was published before, with the same `idempotency_key`."},
    ),
    "ws_acked": _said(
        "The agent's cursor is durable.",
        "acked",
        {"id": "mine", "cursor": _AT},
        ("id", "cursor"),
        id=_ID,
        cursor=CURSOR,
    ),
    "ws_pong": _said("The answer to `ping`.", "pong", {"id": "now"}, id=_ANY_ID),
    "ws_error": _said(
        "What was said cannot be meant, or done; the connection stays open.",
        "error",
        {
            "id": "mine",
            "answers": "subscribe",
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "unknown parameter 'filter'",
            "parameter": "filter",
            "nearest": "filters",
        },
        ("type", "title", "status", "detail"),
        id=_ANY_ID,
        answers={"type": "string", "description": "The op that it answers."},
        type={"type": "string"},
        title={"type": "string"},
        status={"type": "integer", "minimum": 400, "maximum": 599, "description": "As HTTP has it."},
        detail={"type": "string", "description": "What is wrong, for a person."},
        parameter={"type": "string"},
        value={"type": "string"},
        nearest={"type": "string", "description": "What was meant, perhaps."},
        hint={"type": "string", "description": "What to do."},
    ),
}
"""To the client, beside `ws_event`. More fields may come."""


def event(types: list[str], schemas: str) -> Said:
    """`ws_event`: an event of one of these types. `schemas`: where their schemas are, by `name`."""
    one = {"oneOf": [{"$ref": schemas.format(name=name)} for name in types]}
    return _said(
        "An event of a subscription.",
        "event",
        {"id": "mine", "cursor": _AT},
        ("id", "cursor", "event"),
        id=_ID,
        cursor=CURSOR,
        event=one,
    )
