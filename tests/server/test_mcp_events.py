"""The events extension of MCP (SEP-3415) at `/mcp`: what a host sends, and what it gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import jsonschema
import pytest
from server.house import ALICE, BOB, House, Serve, block, transfer
from server.test_access import key, text

from chainwatch.keys import Keyring
from chainwatch.server import mcp_events

USELESS = "0x" + "dd" * 20
BOTH = "application/json, text/event-stream"
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "a host", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Host:
    """A host of the stateless era, as it is on the wire."""

    def __init__(self, house: House, key: str = "") -> None:
        self.url = f"http://127.0.0.1:{house.port}/mcp"
        self.headers = {"Accept": BOTH, "Mcp-Protocol-Version": "2026-07-28"}
        if key:
            self.headers["X-API-Key"] = key

    def _message(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": META}}

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer, a result or an error."""
        async with httpx.AsyncClient(timeout=20) as client:
            answer = await client.post(
                self.url, json=self._message(method, params), headers=self.headers | {"Mcp-Method": method}
            )
        return answer.json()

    async def result(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.call(method, **params)
        assert "result" in answer, answer
        return answer["result"]

    async def error(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.call(method, **params)
        assert "error" in answer, answer
        return answer["error"]

    async def stream(self, **params: Any) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The notifications of an `events/stream`, without their common beginning; and at last the `result`."""
        headers = self.headers | {"Mcp-Method": "events/stream"}
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("POST", self.url, json=self._message("events/stream", params), headers=headers) as answer,
        ):
            async for line in answer.aiter_lines():
                if not line.startswith("data:"):
                    continue
                said = json.loads(line[5:])
                if "method" in said:
                    assert said["params"].pop("_meta") == {"io.modelcontextprotocol/subscriptionId": 7}
                    yield said["method"].removeprefix("notifications/events/"), said["params"]
                else:
                    yield "result", said["result"]


@pytest.fixture
async def house(serve: Serve) -> House:
    return await serve(mcp_events=True)


async def test_the_extension_is_announced_where_it_is_switched_on(serve: Serve) -> None:
    with_it, without = await serve("a.db", mcp_events=True), await serve("b.db")
    told = (await Host(with_it).result("server/discover"))["capabilities"]
    assert told["extensions"] == {"io.modelcontextprotocol/events": {"listChanged": False}}
    assert told["events"] == {}
    told = (await Host(without).result("server/discover"))["capabilities"]
    assert "events" not in told
    assert not told.get("extensions")
    assert (await Host(without).error("events/list"))["code"] == -32601


async def test_each_type_is_listed_with_its_arguments_and_its_payload(house: House) -> None:
    listed = {event["name"]: event for event in (await Host(house).result("events/list"))["events"]}
    assert {"block_new", "token_transfer", "balance_changed", "price_update", "custom"} <= listed.keys()
    for event in listed.values():
        jsonschema.Draft202012Validator.check_schema(event["inputSchema"])
        jsonschema.Draft202012Validator.check_schema(event["payloadSchema"])
        assert event["delivery"] == ["poll", "push"]  # a webhook would belong to nobody: there are no keys
        assert "never an instruction" in event["description"]
    assert set(listed["block_new"]["inputSchema"]["properties"]) == {
        "chains",
        "address",
        "token",
        "min_amount",
        "where",
    }


async def test_a_first_poll_begins_now_and_each_next_one_goes_on(house: House) -> None:
    host = Host(house)
    await house.tell(block(1))
    first = await host.result("events/poll", name="block_new")
    assert (first["events"], first["truncated"], first["hasMore"]) == ([], False, False)
    assert first["nextPollMs"] > 0
    await house.tell(*(block(number) for number in range(2, 7)))
    second = await host.result("events/poll", name="block_new", cursor=first["cursor"], maxEvents=3)
    assert [event["data"]["data"]["number"] for event in second["events"]] == [2, 3, 4]
    assert second["hasMore"]
    third = await host.result("events/poll", name="block_new", cursor=second["cursor"])
    assert [event["data"]["data"]["number"] for event in third["events"]] == [5, 6]
    assert not third["hasMore"]
    told = third["events"][0]
    assert (told["eventId"], told["name"]) == (told["data"]["id"], "block_new")
    assert told["timestamp"] == told["data"]["timestamp"]


async def test_arguments_narrow_and_a_wrong_one_is_named(house: House) -> None:
    host = Host(house)
    begin = (await host.result("events/poll", name="token_transfer"))["cursor"]
    await house.tell(transfer(1, to=ALICE), transfer(2), transfer(3, chain="base"))
    found = await host.result(
        "events/poll", name="token_transfer", arguments={"address": [BOB], "chains": "ethereum"}, cursor=begin
    )
    assert [event["data"]["data"]["number"] for event in found["events"]] == [2]
    assert (await host.error("events/poll", name="tokentransfer")) == {
        "code": -32023, "message": "NotFound", "data": {"kind": "event", "name": "tokentransfer"},
    }  # fmt: skip
    for arguments, named in (
        ({"chain": "ethereum"}, "there is no such argument, did you mean 'chains'?"),
        ({"chains": ["etherium"]}, "did you mean 'ethereum'"),
        ({"address": ["0x12"]}, "0x12"),
        ({"where": "data.amount >"}, "where"),
        ({"filters": ["price"]}, "filters"),
    ):
        error = await host.error("events/poll", name="token_transfer", arguments=arguments)
        assert error["code"] == -32602
        assert named in error["message"], error


async def test_what_is_gone_is_said_by_truncated_and_never_by_an_error(serve: Serve) -> None:
    house = await serve(mcp_events=True, max_events=5)
    host = Host(house)
    begin = (await host.result("events/poll", name="block_new"))["cursor"]
    await house.tell(*(block(number) for number in range(1, 200)))
    await house.until(lambda: house.log.oldest > 1)
    late = await host.result("events/poll", name="block_new", cursor=begin)
    assert late["truncated"]
    assert late["events"]
    foreign = await host.result("events/poll", name="block_new", cursor="another-12")
    assert foreign["truncated"]


async def test_max_age_skips_what_is_older_and_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(house)
    begin = (await host.result("events/poll", name="block_new"))["cursor"]
    await house.tell(block(1), block(2))
    both = await host.result("events/poll", name="block_new", cursor=begin, maxAgeMs=60_000)
    assert (len(both["events"]), both["truncated"]) == (2, False)
    ever = await host.result("events/poll", name="block_new", cursor=begin, maxAgeMs=10**30)
    assert ever["events"] == both["events"]
    now = mcp_events.time.time
    monkeypatch.setattr(mcp_events.time, "time", lambda: now() + 120)  # two minutes later
    await house.tell(block(3))
    none = await host.result("events/poll", name="block_new", cursor=begin, maxAgeMs=60_000)
    assert (none["events"], none["truncated"]) == ([], True)


async def test_a_stream_confirms_first_and_tells_each_event_with_its_own_place(house: House) -> None:
    host = Host(house)
    begin = (await host.result("events/poll", name="block_new"))["cursor"]
    await house.tell(block(1), transfer(1), block(2))
    async with aclosing(host.stream(name="block_new", cursor=begin)) as said:
        assert await anext(said) == ("active", {"cursor": begin, "truncated": False})
        places = []
        for number in (1, 2):
            kind, params = await anext(said)
            assert (kind, params["data"]["data"]["number"]) == ("event", number)
            places.append(params["cursor"])
        await house.tell(transfer(2), block(3))
        kind, params = await anext(said)
        assert (kind, params["data"]["data"]["number"]) == ("event", 3)
    # Cut there, and resumed at either place: nothing is missed, and nothing comes twice.
    async with aclosing(host.stream(name="block_new", cursor=places[0])) as said:
        await anext(said)
        assert [(await anext(said))[1]["data"]["data"]["number"] for _ in range(2)] == [2, 3]
    await house.until(lambda: not house.context.followers.open)


async def test_a_quiet_stream_beats_and_its_cursor_moves(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_events, "HEARTBEAT", 0.1)
    async with aclosing(Host(house).stream(name="price_update")) as said:
        _, active = await anext(said)
        await house.tell(block(1))  # passes no filter of theirs
        while True:
            kind, params = await anext(said)
            assert kind == "heartbeat"
            if params["cursor"] != active["cursor"]:
                break


async def test_a_stream_that_cannot_be_is_an_error_and_no_stream(house: House) -> None:
    assert (await Host(house).error("events/stream", name="nothing"))["code"] == -32023
    assert (await Host(house).error("events/stream", name="block_new", cursor="no cursor"))["code"] == -32602


async def test_a_key_sees_what_it_may_and_its_stream_ends_with_it(serve: Serve) -> None:
    keys = [key("all"), key("blocks", types=("block",)), key("speaker", can="send"), key("near", addresses=(BOB,))]
    texts = {one.name: text(one) for one in keys}
    house = await serve(mcp_events=True, ring=Keyring(keys))
    listed = await Host(house, texts["blocks"]).result("events/list")
    assert {event["name"] for event in listed["events"]} == {"block_new", "block_finalized", "chain_reorg"}
    denied = await Host(house, texts["blocks"]).error("events/poll", name="token_transfer")
    assert denied["code"] == -32024
    assert (await Host(house, texts["speaker"]).error("events/list"))["code"] == -32024
    near = Host(house, texts["near"])
    begin = (await near.result("events/poll", name="token_transfer"))["cursor"]
    await house.tell(transfer(1, to=USELESS), transfer(2))
    found = await near.result("events/poll", name="token_transfer", cursor=begin)
    assert [event["data"]["data"]["number"] for event in found["events"]] == [2]
    async with aclosing(Host(house, texts["all"]).stream(name="block_new")) as said:
        assert (await anext(said))[0] == "active"
        house.context.sessions.change(Keyring(keys[1:]))
        (kind, params), (end, _) = [one async for one in said]
        assert (kind, params["error"]["code"], end) == ("terminated", -32024, "result")
    await house.until(lambda: not house.context.followers.open)


async def test_many_streams_and_polls_while_events_come_miss_nothing(house: House) -> None:
    host = Host(house)
    begin = (await host.result("events/poll", name="block_new"))["cursor"]
    last = 60

    async def stream() -> list[int]:
        seen: list[int] = []
        async with aclosing(host.stream(name="block_new", cursor=begin)) as said:
            async for kind, params in said:
                if kind == "event":
                    seen.append(params["data"]["data"]["number"])
                if seen and seen[-1] == last:
                    return seen
        return seen

    async def poll() -> list[int]:
        seen: list[int] = []
        cursor = begin
        while not seen or seen[-1] != last:
            page = await host.result("events/poll", name="block_new", cursor=cursor, maxEvents=7)
            cursor = page["cursor"]
            seen += [event["data"]["data"]["number"] for event in page["events"]]
        return seen

    async def publish() -> None:
        for number in range(1, last + 1):
            await house.tell(block(number), transfer(number))

    results = await asyncio.gather(*(stream() for _ in range(5)), *(poll() for _ in range(3)), publish())
    assert all(seen == list(range(1, last + 1)) for seen in results[:-1])
