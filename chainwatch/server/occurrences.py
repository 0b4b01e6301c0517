"""An event as the events extension of MCP tells it (`EventOccurrence`, SEP-3415), and as the body of its webhooks."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from chainwatch.text import printable
from chainwatch.webhooks import Webhook
from chainwatch.webhooks.means import Form

NAME: Final = "mcp"
"""What webhooks call the form that is here."""
STREAM: Final = "events/stream"
"""The method that is answered by a stream."""
FORBIDDEN: Final = -32024
"""The extension's code for what somebody may not, or no longer, have."""


def occurrence(name: str, event: dict[str, Any]) -> dict[str, Any]:
    """`event` under the name that was subscribed to; its `cursor` is for whoever sends it."""
    return {"eventId": event["id"], "name": name, "timestamp": event["timestamp"], "data": event}


class _Event(msgspec.Struct):
    id: str
    timestamp: str


class _Occurrence(msgspec.Struct):
    eventId: str  # noqa: N815 - the names of the extension
    name: str
    timestamp: str
    data: msgspec.Raw
    cursor: str


_event: Final = msgspec.json.Decoder(_Event)


def body(webhook: Webhook, event: bytes, cursor: str) -> bytes:
    """The body that tells the JSON of an event; all before `cursor` was accepted, so it is safe to keep."""
    told = _event.decode(event)
    [name] = webhook.purpose.words["types"]
    return msgspec.json.encode(_Occurrence(told.id, name, told.timestamp, msgspec.Raw(event), cursor))


def ended(reason: str) -> bytes:
    """The body that tells that a subscription is over: whoever asked for it may not have it any more."""
    error = {"code": FORBIDDEN, "message": "Forbidden", "data": {"reason": printable(reason, 500)}}
    return msgspec.json.encode({"type": "terminated", "error": error})


FORM: Final = Form(body, refusals=frozenset({410, 413}), ended=ended)
"""By 410 and 413 a receiver refuses one delivery, and the subscription goes on."""
