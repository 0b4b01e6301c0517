"""The contract for machines over HTTP, and that real streams keep it."""

from __future__ import annotations

import json

import pytest
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


async def test_every_channel_is_a_route(house):
    for channel in asyncapi.document()["channels"].values():
        path = channel["address"].replace("{channel}/{resource}", "type/block").replace("{type}", "block")
        answer = await house.ask(path)
        assert answer.status == 200
