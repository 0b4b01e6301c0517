"""
What webhooks send, as (summary, JSON Schema, example) by name, and what a receiver answers: requests of the daemon, to
addresses that others named.
"""

from __future__ import annotations

from typing import Any, Final

from chainwatch.asyncapi.asked import CURSOR
from chainwatch.asyncapi.told import CONTROL

Said = tuple[str, dict[str, Any], dict[str, Any]]

HEADERS: Final = "webhook_headers"
_NOW: Final = {"type": "string", "format": "date-time", "description": "Now."}
_AT: Final = "2023-11-02T01:00:30.000Z"
_CHALLENGE: Final = "Zk3o1vJtq8m5c0S7yT2bQxWnE4rLgUdHfPaKiVjN6YM"


def _said(summary: str, kind: str, example: dict[str, Any], **fields: dict[str, Any]) -> Said:
    form = {
        "type": "object",
        "properties": {"type": {"const": kind}, **fields},
        "required": ["type", *fields],
    }
    return summary, form, {"type": kind, **example}


def _gap() -> Said:
    _, form, example = CONTROL["gap"]
    fields = {"cursor": {**CURSOR, "description": "The same as `resumed_at`."}, **form["properties"]}
    summary = "Retention took events before they could be sent; the webhook goes on from the oldest that is kept."
    return _said(summary, "gap", {"cursor": example["resumed_at"], **example}, **fields)


SENT: Final[dict[str, Said]] = {
    "webhook_gap": _gap(),
    "webhook_test": _said(
        "Somebody tests the webhook: it asks for nothing but 2xx.", "test", {"timestamp": _AT}, timestamp=_NOW
    ),
}
"""Beside `webhook_event`. Unlike an event they have no `id`."""

ASKED: Final[dict[str, Said]] = {
    "webhook_verification": _said(
        "Whoever is there is asked, before anything else is sent to an address that a client named.",
        "verification",
        {"timestamp": _AT, "challenge": _CHALLENGE},
        timestamp=_NOW,
        challenge={"type": "string", "description": "A text that the answer has to repeat."},
    ),
}

ANSWERED: Final[dict[str, Said]] = {
    "webhook_challenge": (
        "What would come is wanted: 2xx with the challenge, like this or alone as text.",
        {
            "type": "object",
            "properties": {"challenge": {"type": "string", "description": "As it was sent."}},
            "required": ["challenge"],
        },
        {"challenge": _CHALLENGE},
    ),
}


def event(types: list[str], schemas: str) -> Said:
    """`webhook_event`: an event of one of these types. `schemas`: where their schemas are, by `name`."""
    summary = "An event, as streams have it: in order, one request at a time, again until it is answered with 2xx."
    return summary, {"type": "object", "oneOf": [{"$ref": schemas.format(name=name)} for name in types]}, {}


def headers() -> dict[str, Any]:
    """The schema of the headers of each request, by Standard Webhooks 1.0."""
    return {
        "title": HEADERS,
        "description": "The headers of a request to a receiver (Standard Webhooks).",
        "type": "object",
        "properties": {
            "webhook-id": {
                "type": "string",
                "description": "The id of the event, the same at each attempt; of what is no event, one that begins "
                "with `msg_`.",
                "examples": ["evt_v0akj1nv92n8kyvkkxza3d4m2w", "msg_gap_k3f9a2-511"],
            },
            "webhook-timestamp": {
                "type": "string",
                "pattern": "^[0-9]+$",
                "description": "Unix seconds of the attempt.",
                "examples": ["1698886830"],
            },
            "webhook-signature": {
                "type": "string",
                "description": "`v1,` and the base64 of HMAC-SHA256 over id, timestamp and body, with dots between; of "
                "two secrets, while one replaces the other, both, with a space between.",
                "examples": ["v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="],
            },
        },
        "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
    }


def server() -> dict[str, Any]:
    """Whoever was named."""
    return {
        "host": "{receiver}",
        "protocol": "https",
        "description": "What `PUT /webhooks/{webhook}` or the configuration named, with its path and query: a public "
        "address, at port 443 or from 1024 on, unless the operator allows others.",
        "variables": {"receiver": {"description": "Its host.", "examples": ["shop.example.com"]}},
    }
