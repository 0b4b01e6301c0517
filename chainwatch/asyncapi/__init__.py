"""
The AsyncAPI 3.0 document: which streams there are, what can be asked of them, and what comes. Made from the catalogue,
with the definitions of `schema`; `asked` has the parameters, `told`, `sockets` and `calls` the messages that are no
events.

It is written from the daemon's side: what it sends is `send`, what it is sent is `receive`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from chainwatch import __version__
from chainwatch.asyncapi import calls, sockets, told
from chainwatch.asyncapi.asked import AGENT, HISTORY, SOCKET, STREAM
from chainwatch.examples import CUSTOM, EXAMPLES
from chainwatch.payloads import CATEGORIES, NAMES, PAYLOADS
from chainwatch.schema import definitions

__all__ = ["AGENT", "HISTORY", "SOCKET", "STREAM", "document"]

_SCHEMAS: Final = "#/components/schemas/{name}"
_TYPE: Final = {
    "description": (
        "A type or category, singular or plural; or a custom type, once published, and always as `custom:NAME`."
    ),
    "examples": [*NAMES, "custom:deploy"],
}

_SIGNED: Final = {"webhook_event", *calls.SENT, *calls.ASKED}


def document() -> dict[str, Any]:
    """The whole document."""
    types = [*PAYLOADS, "custom"]
    others = told.CONTROL | told.ANSWERS | sockets.FROM_CLIENT | sockets.TO_CLIENT
    others |= calls.SENT | calls.ASKED | calls.ANSWERED
    others |= {"ws_event": sockets.event(types, _SCHEMAS), "webhook_event": calls.event(types, _SCHEMAS)}
    schemas = definitions(types, _SCHEMAS) | {name: form | {"title": name} for name, (_, form, _) in others.items()}
    messages = {name: _event(name) for name in types}
    messages |= {name: _message(name, *about) for name, about in others.items()}
    custom = messages["custom"]["examples"][0]["payload"]
    messages["ws_event"]["examples"][0]["payload"]["event"] = messages["webhook_event"]["examples"][0]["payload"] = (
        custom
    )
    messages["page"] = {
        "name": "page",
        "title": "A page of history",
        "contentType": "application/json",
        "payload": {"$ref": _SCHEMAS.format(name="page")},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "chainwatch",
            "version": __version__,
            "description": (
                "Every event of the chains that a daemon follows, once and in order, as Server-Sent Events, over "
                "WebSockets, as pages of history, and by webhooks. The `id:` of an event is a cursor; with it as "
                "`Last-Event-ID` a stream goes on exactly behind it. Fields and types can be added at any time: ignore "
                "what you do not know."
            ),
            "license": {"name": "MIT"},
            "tags": [{"name": name, "description": _category(name)} for name in CATEGORIES],
        },
        "defaultContentType": "application/json",
        "servers": {"http": _server("http"), "ws": _server("ws"), "receiver": calls.server()},
        "channels": _channels(types),
        "operations": _operations(),
        "components": {
            "schemas": schemas
            | {"sse_fields": told.sse_fields(), "page": told.page(types, _SCHEMAS), calls.HEADERS: calls.headers()},
            "messages": messages,
            "securitySchemes": {
                "header": {"type": "httpApiKey", "name": "X-API-Key", "in": "header"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {
                    "type": "httpApiKey",
                    "name": "token",
                    "in": "query",
                    "description": "For an `EventSource`, which can set no header.",
                },
            },
        },
    }


def _server(protocol: str) -> dict[str, Any]:
    return {
        "host": "127.0.0.1:8080",
        "protocol": protocol,
        "description": "Where a daemon listens unless it is told otherwise. One that knows no keys needs none.",
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("header", "bearer", "token")],
    }


def _category(name: str) -> str:
    return ", ".join(kind for kind in PAYLOADS if kind in CATEGORIES[name])


def _channels(types: list[str]) -> dict[str, Any]:
    streamed = _messages([*types, *told.CONTROL])
    one_thing = {
        "channel": {"enum": ["wallet", "token", "chain", "type", "price"]},
        "resource": {
            "description": (
                "A configured name or an address, a symbol or a contract, a chain, a type or category, a symbol or "
                "`ETH-USD`."
            ),
            "examples": ["treasury", "USDC", "ethereum", "block_new", "ETH-USD"],
        },
    }
    agent = {"agent": {"description": "The name of a durable stream, which `PUT /agents/{agent}` made."}}
    unnamed = "Events without an `event:` field, so that `onmessage` of a browser gets them."
    of_type = "Events of one type or category, named by their type"
    of_one = "Events of one wallet, token, chain, type or price, named by their type"
    talk = _messages([*sockets.FROM_CLIENT, *sockets.TO_CLIENT, "ws_event"])
    return {
        "events": _channel("/events", "All events", streamed) | {"description": unnamed},
        "eventsStream": _channel("/events/stream", "All events, under the other name", streamed),
        "eventsOfType": _channel("/events/{type}", of_type, streamed, {"type": _TYPE}),
        "eventsOfOneThing": _channel("/v1/{channel}/{resource}", of_one, streamed, one_thing),
        "agent": _channel("/stream/{agent}", "A durable stream, from its saved cursor on", streamed, agent),
        "publish": _channel(
            "/events/{type}",
            "Custom events of clients",
            _messages(["publication", "receipt"]),
            {"type": {"description": "A name of your own.", "examples": ["deploy"]}},
        ),
        "history": _channel("/events/history", "The log in pages, from the earliest event on", _messages(["page"])),
        "stats": _channel("/v1/stats", "A snapshot a second", _messages(["stats"])),
        "webSocket": _channel("/ws", "Subscriptions, and what is published, over one connection", talk)
        | {
            "servers": [{"$ref": "#/servers/ws"}],
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
        },
        "webhook": {
            "address": None,
            "title": "Webhooks, each at the address that was named for it",
            "servers": [{"$ref": "#/servers/receiver"}],
            "messages": _messages(["webhook_event", *calls.SENT, *calls.ASKED, *calls.ANSWERED]),
        },
    }


def _channel(
    address: str, title: str, messages: dict[str, Any], parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    channel: dict[str, Any] = {"address": address, "title": title, "servers": [{"$ref": "#/servers/http"}]}
    return channel | ({"parameters": parameters} if parameters else {}) | {"messages": messages}


def _messages(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _operations() -> dict[str, Any]:
    def sent(channel: str, summary: str, asked: dict[str, dict[str, Any]]) -> dict[str, Any]:
        query = {"type": "object", "properties": asked, "additionalProperties": False}
        return {
            "action": "send",
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "bindings": {"http": {"method": "GET", "query": query, "bindingVersion": "0.3.0"}},
        }

    def of(channel: str, names: Iterable[str]) -> list[dict[str, str]]:
        return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]

    def talk(action: str, summary: str, names: Iterable[str]) -> dict[str, Any]:
        channel = {"$ref": "#/channels/webSocket"}
        return {"action": action, "channel": channel, "summary": summary, "messages": of("webSocket", names)}

    def call(summary: str, names: Iterable[str], answers: Iterable[str] = ()) -> dict[str, Any]:
        channel, replies = {"$ref": "#/channels/webhook"}, of("webhook", answers)
        return {
            "action": "send",
            "channel": channel,
            "summary": summary,
            "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
            "messages": of("webhook", names),
            **({"reply": {"channel": channel, "messages": replies}} if replies else {}),
        }

    publish: dict[str, Any] = {
        "action": "receive",
        "channel": {"$ref": "#/channels/publish"},
        "summary": "Publish a custom event.",
        "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
        "messages": of("publish", ["publication"]),
        "reply": {"channel": {"$ref": "#/channels/publish"}, "messages": of("publish", ["receipt"])},
    }
    return {
        "streamEvents": sent("events", "Stream all events, or those of a filter.", STREAM),
        "streamEventsToo": sent("eventsStream", "Stream all events, or those of a filter.", STREAM),
        "streamEventsOfType": sent("eventsOfType", "Stream the events of a type or category.", STREAM),
        "streamEventsOfOneThing": sent("eventsOfOneThing", "Stream the events of one thing.", STREAM),
        "streamAgent": sent("agent", "Go on with a durable stream.", AGENT),
        "publishEvent": publish,
        "readHistory": sent("history", "Read a page of stored events.", HISTORY),
        "watchStats": sent("stats", "See how the daemon does, once or (as an event stream) each second.", {}),
        "sayOverWebSocket": talk("receive", "Subscribe, acknowledge, publish.", sockets.FROM_CLIENT),
        "callReceiver": call("Send an event to the address of a webhook.", ["webhook_event", *calls.SENT]),
        "challengeReceiver": call("Ask a receiver whether it wants that.", calls.ASKED, calls.ANSWERED),
        "hearOverWebSocket": talk("send", "Hear of events, and how it went.", [*sockets.TO_CLIENT, "ws_event"]),
    }


def _event(name: str) -> dict[str, Any]:
    payload = PAYLOADS.get(name)
    about = payload.DESCRIPTION if payload else "Whatever a client published."
    summary, stop, more = about.partition(". ")
    return {
        "name": name,
        "title": name,
        "summary": summary + stop.rstrip(),
        **({"description": about} if more else {}),
        "contentType": "application/json",
        "headers": {"$ref": _SCHEMAS.format(name="sse_fields")},
        "payload": {"$ref": _SCHEMAS.format(name=name)},
        "tags": [{"name": payload.CATEGORY if payload else "custom"}],
        "examples": [{"payload": msgspec.to_builtins(EXAMPLES[name] if payload else CUSTOM)}],
    }


def _message(name: str, summary: str, form: dict[str, Any], example: Any) -> dict[str, Any]:
    headers = "sse_fields" if name in told.CONTROL else calls.HEADERS if name in _SIGNED else None
    fields = {} if headers is None else {"headers": {"$ref": _SCHEMAS.format(name=headers)}}
    return {
        "name": name,
        "title": name,
        "summary": summary,
        "contentType": "application/json" if form["type"] == "object" else "text/plain",
        **fields,
        "payload": {"$ref": _SCHEMAS.format(name=name)},
        "examples": [{"payload": dict(example) if isinstance(example, dict) else example}],
    }
