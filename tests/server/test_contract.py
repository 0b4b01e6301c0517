"""The contract for machines over HTTP, and that real streams keep it."""

from __future__ import annotations

import json

import pytest
import websockets
from jsonschema import Draft202012Validator

from chainwatch import asyncapi, schema
from chainwatch.examples import CUSTOM, EXAMPLES


@pytest.mark.parametrize(
    ("path", "kind", "document"),
    [
        ("/schema.json", "application/schema+json", schema.document()),
        ("/asyncapi.json", "application/json", asyncapi.document()),
    ],
)
async def test_the_documents_are_served_and_not_sent_twice(house, path, kind, document):
    answer = await house.ask(path)
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert await answer.json() == document
    tag = answer.headers["etag"]
    again = await house.ask(path, {"If-None-Match": f'"other", {tag}', "Connection": "close"})
    assert (again.status, again.headers["etag"], await again.body()) == (304, tag, b"")
    assert (await house.ask(path, {"If-None-Match": '"other"'})).status == 200
    head = await house.ask(path, method="HEAD")
    assert (head.status, head.headers["etag"]) == (200, tag)
    assert (await house.ask(path, {"Host": "evil.example"})).status == 403


async def test_what_a_stream_sends_is_what_the_documents_say(serve):
    house = await serve(heartbeat=0.1)
    await house.tell(*EXAMPLES.values(), CUSTOM)
    document = asyncapi.document()
    schemas = document["components"]

    def check(name, data):
        Draft202012Validator(schemas["schemas"][name] | {"components": schemas}).validate(data)

    answer = await house.ask(f"/events?named=true&limit={len(EXAMPLES) + 1}", {"Last-Event-ID": "nonsense"})
    seen = [message for message in await answer.rest() if message.event != "heartbeat"]
    assert [message.event for message in seen] == ["connect", "gap", *EXAMPLES, CUSTOM.type, "complete"]
    for message in seen:
        name = "custom" if message.event == CUSTOM.type else message.event
        check(name, message.data if name == "complete" else json.loads(message.data))

    answer = await house.ask("/events/block?limit=1")
    check("connect", await answer.expect("connect"))
    check("heartbeat", await answer.expect("heartbeat"))

    page = await (await house.ask("/events/history")).json()
    assert len(page["events"]) == len(EXAMPLES) + 1
    check("page", page)


async def test_what_else_it_says_is_what_the_documents_say(house):
    def check(name, data):
        schemas = asyncapi.document()["components"]
        Draft202012Validator(schemas["schemas"][name] | {"components": schemas}).validate(data)
        return data

    check("stats", await (await house.ask("/v1/stats")).json())
    post = {"Content-Length": "2", "Content-Type": "application/json"}
    check("receipt", await (await house.ask("/events/deploy", post, method="POST", after=b"{}")).json())
    check("stats", json.loads((await (await house.ask("/v1/stats", {"Accept": "text/event-stream"})).next()).data))

    async with websockets.connect(f"ws://localhost:{house.port}/ws", compression=None) as socket:

        async def said(name: str, **fields) -> None:
            """One message, and the answers that come to it."""
            op = name.removeprefix("ws_")
            await socket.send(json.dumps(check(name, {"op": op, **fields})))

        async def heard(*ops: str) -> None:
            for op in ops:
                while (message := json.loads(await socket.recv()))["op"] != op:
                    assert message["op"] == "heartbeat", message
                check(f"ws_{op}", message)

        await said("ws_ping", id="1")
        await heard("pong")
        await said("ws_send", type="deploy", data={"a": 1})
        await heard("sent")
        await said(
            "ws_subscribe", id="mine", last_event_id="nonsense", heartbeat="0.1", types=["custom:deploy"], limit=3
        )
        await heard("connect", "gap", "event", "event", "heartbeat")
        await said("ws_ack", id="mine", cursor="nonsense-1")
        await heard("error")
        await said("ws_unsubscribe", id="mine")
        await heard("complete")
        agent = {"Content-Length": "2", "Content-Type": "application/json"}
        assert (await house.ask("/agents/mine", agent, method="PUT", after=b"{}")).status == 201
        await said("ws_subscribe", id="agent", agent="mine")
        await heard("connect")
        await said("ws_send", type="deploy", data={"a": 2}, id="x")
        cursor = ""
        for _ in range(2):  # in any order
            message = json.loads(await socket.recv())
            cursor = check(f"ws_{message['op']}", message)["cursor"]
        await said("ws_ack", id="agent", cursor=cursor)
        await heard("acked")


async def test_every_channel_is_a_route(house):
    for channel in asyncapi.document()["channels"].values():
        if channel["address"] is None:  # that of a receiver
            continue
        path = channel["address"].replace("{channel}/{resource}", "type/block").replace("{type}", "block")
        answer = await house.ask(path.replace("{agent}", "mine"))
        expected = {"/ws": 426, "/stream/{agent}": 404}.get(channel["address"], 200)
        assert answer.status == expected
        if expected == 404:
            assert "agent" in (await answer.json())["detail"]
