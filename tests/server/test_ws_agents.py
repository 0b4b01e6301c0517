"""Durable streams by WebSocket: what was acknowledged is over, the rest comes again; one listener at a time."""

from __future__ import annotations

import json

from server.house import House, block, transfer
from server.talk import Talk
from server.test_access import holding, key

from chainwatch.keys import Keyring
from chainwatch.server.agents import REGISTER


async def put(house: House, name: str, headers: dict[str, str] | None = None, **words: object) -> None:
    body = json.dumps(words).encode()
    about = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    answer = await house.ask(f"/agents/{name}", about, method="PUT", after=body)
    assert answer.status in (200, 201), await answer.body()


async def test_what_is_acknowledged_is_over_and_the_rest_comes_again(house):
    await put(house, "night", types="block_new", since="earliest")
    await house.tell(*(block(number) for number in range(1, 7)), transfer(7))
    async with Talk(house) as ws:
        told = await ws.subscribe(agent="night")
        assert told["filters"] == {"types": ["block_new"]}
        assert await ws.numbers(6) == [1, 2, 3, 4, 5, 6]
        await ws.say("ack", "a", cursor=f"{house.log.identity}-4")
        assert (await ws.expect("acked", "a"))["cursor"] == f"{house.log.identity}-4"
        await ws.say("ack", "a", cursor=f"{house.log.identity}-2")
        assert (await ws.expect("acked", "a"))["cursor"] == f"{house.log.identity}-4"
        about = await (await house.ask("/agents/night")).json()
        assert (about["connected"], about["stream"]) == (True, told["stream"])
        assert about["cursor"] == f"{house.log.identity}-4"
    await house.until(lambda: house.runner.app[REGISTER].get("", "night").socket is None)
    async with Talk(house) as ws:
        await ws.subscribe("b", agent="night", limit=2)
        assert await ws.numbers(2, "b") == [5, 6]
        assert (await ws.expect("complete", "b"))["reason"] == "limit"
        await ws.subscribe("b", agent="night", last_event_id=f"{house.log.identity}-5")
        assert await ws.numbers(1, "b") == [6]
    assert (await (await house.ask("/agents/night")).json())["cursor"] == f"{house.log.identity}-5"


async def test_the_last_who_comes_listens(house):
    await put(house, "night")
    async with Talk(house) as first, Talk(house) as second:
        await first.subscribe(agent="night")
        await second.subscribe(agent="night")
        assert (await first.expect("complete", "a"))["reason"] == "taken over"
        answer = await house.stream("/stream/night")
        assert (await second.expect("complete", "a"))["reason"] == "taken over"
        await first.subscribe(agent="night")
        assert await answer.expect("complete") == "[DONE]"
        await first.say("subscribe", "b", agent="night")
        assert (await first.expect("complete", "a"))["reason"] == "taken over"
        await first.expect("connect", "b")
        await house.tell(block(1))
        assert await first.numbers(1, "b") == [1]
        await second.answers()


async def test_an_agent_that_changes_or_goes_ends_its_subscription(house):
    await put(house, "night")
    async with Talk(house) as ws:
        await ws.subscribe(agent="night")
        await put(house, "night", types="block_new")
        assert (await ws.expect("complete", "a"))["reason"] == "changed"
        await ws.subscribe(agent="night")
        assert (await house.ask("/agents/night", method="DELETE")).status == 204
        assert (await ws.expect("complete", "a"))["reason"] == "deleted"
        assert (await ws.refused("subscribe", "a", agent="night"))["status"] == 404


WRONG = (
    ({"agent": "nigth"}, 404, "night"),
    ({"agent": "no/name"}, 400, "no/name"),
    ({"agent": "night", "types": "block_new"}, 400, "types"),
    ({"agent": "night", "ack": "auto"}, 400, "ack"),
    ({"agent": "night", "named": True}, 400, "named"),
    ({"agent": "night", "limt": 1}, 400, "limt"),
    ({"agent": "night", "last_event_id": "x-1", "gap": "fail"}, 410, "x-1"),
)


async def test_what_cannot_be_subscribed_to_is_said(house):
    await put(house, "night")
    async with Talk(house) as ws:
        for parameters, status, named in WRONG:
            told = await ws.refused("subscribe", "a", **parameters)
            assert told["status"] == status
            assert named in str(told)
        await ws.subscribe(agent="night")
        told = await ws.refused("ack", "a", cursor="other-1")
        assert (told["status"], told["parameter"]) == (400, "cursor")
        await ws.answers()


async def test_the_agent_of_another_key_is_not_there(serve):
    one, other = key("one"), key("other")
    house = await serve(ring=Keyring([one, other]))
    await put(house, "night", holding(one))
    async with Talk(house, headers=holding(other)) as ws:
        assert (await ws.refused("subscribe", "a", agent="night"))["status"] == 404
    async with Talk(house, headers=holding(one)) as ws:
        await ws.subscribe(agent="night")
