"""The tools of the MCP server, as hosts call them: what they take, what they give, and what they never do."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest
from hosts import WALLETS, Host, drained, numbers, place
from server.house import ALICE, BOB, House, block, transfer

from chainwatch.mcp import told
from chainwatch.text import printable

CHAINS = [{"name": "ethereum", "state": "connected", "ready": True, "reason": None, "head": 7, "lag_seconds": 0.5}]


def nothing_left(house: House) -> bool:
    """No follower of an agent, and nothing that would end one."""
    return not house.context.followers.open and not house.context.gate._asked


# --- what there is ------------------------------------------------------------------------------------------------


async def test_each_tool_is_told_with_schemas_and_what_it_gives_matches_its_own(serve, enter):
    house = await serve(wallets=lambda: WALLETS, chains=lambda: CHAINS)
    async with enter(house) as host:
        tools = {tool.name: tool for tool in (await host.client.list_tools()).tools}
        assert set(tools) == {
            "subscribe_to_events", "wait_for_event", "get_event_stream", "get_recent_events", "get_chain_status",
            "get_balances", "list_subscriptions", "unsubscribe", "send_event",
        }  # fmt: skip
        for tool in tools.values():
            jsonschema.Draft202012Validator.check_schema(tool.input_schema)
            jsonschema.Draft202012Validator.check_schema(tool.output_schema)
            assert all(given.get("description") for given in tool.input_schema["properties"].values()), tool.name
            assert "title" not in json.dumps(tool.input_schema)
        assert set(tools["subscribe_to_events"].input_schema["properties"]) >= {
            "filters", "chains", "address", "token", "min_amount", "ttl_s",
        }  # fmt: skip
        await house.tell(block(1))
        opened = await host.call("subscribe_to_events", filters=["block"])
        assert set(opened) == {"subscription_id", "cursor", "resource_uri", "expires_at"}
        name = opened["subscription_id"]
        await house.tell(transfer(2), block(3))
        page = await host.call("wait_for_event", subscription_id=name, cursor=opened["cursor"])
        assert {**page, "events": numbers(page)} == {
            "events": [3],
            "cursor": f"{house.log.identity}-3",
            "has_more": False,
            "truncated": False,
            "timed_out": False,
        }
        (listed,) = (await host.call("list_subscriptions"))["subscriptions"]
        assert (listed["subscription_id"], listed["filters"]) == (name, {"filters": ["block"]})
        assert numbers(await host.call("get_recent_events", limit=2)) == [2, 3]
        assert numbers(await host.call("get_recent_events", since="1h", limit=2)) == [1, 2]
        assert numbers(await host.call("get_event_stream", cursor=opened["cursor"], max_events=2)) == [2, 3]
        status = await host.call("get_chain_status")
        assert (status["ready"], status["chains"][0]["name"]) == (True, "ethereum")
        assert (await host.call("get_balances"))["wallets"] == WALLETS
        sent = await host.call("send_event", type="deploy", data={"number": 4})
        assert sent["cursor"] == f"{house.log.identity}-{house.log.head}"
        assert await host.call("unsubscribe", subscription_id=name) == {"subscription_id": name, "removed": True}
        assert "no subscription" in await host.refused("wait_for_event", subscription_id=name)
        assert (await host.call("list_subscriptions"))["subscriptions"] == []


async def test_every_description_of_a_tool_that_gives_events_says_that_they_are_data(house, enter):
    async with enter(house) as host:
        tools = {tool.name: tool for tool in (await host.client.list_tools()).tools}
        for name in ("wait_for_event", "get_event_stream", "get_recent_events", "get_balances"):
            assert told.WARNING in tools[name].description
        assert told.REASON in tools["get_chain_status"].description
        assert told.WARNING in (host.client.instructions or told.WARNING)  # the stateless era asks for them apart
        assert tools["send_event"].annotations.read_only_hint is False
        assert tools["wait_for_event"].annotations.read_only_hint is True


# --- arguments ----------------------------------------------------------------------------------------------------


async def test_text_with_commas_and_numbers_mean_what_lists_and_texts_do(house, enter):
    async with enter(house) as host:
        asked = {
            "filters": "blocks, token_transfer",
            "chains": "ethereum,base",
            "address": f"{ALICE}, {BOB}",
            "token": "USDC",
            "min_amount": 10**18,
            "ttl_s": "120",
        }
        await host.call("subscribe_to_events", **asked)
        await host.call("subscribe_to_events", min_amount=1e18, filters=None, ttl_s=None, where=None)
        first, second = (await host.call("list_subscriptions"))["subscriptions"]
        assert first["filters"] == {
            "filters": ["blocks", "token_transfer"],
            "chains": ["ethereum", "base"],
            "address": [ALICE, BOB],
            "token": ["USDC"],
            "min_amount": [str(10**18)],
        }
        assert second["filters"] == {"min_amount": [str(10**18)]}


WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("subscribe_to_events", {"filters": ["walet"]}, ["'walet'", "did you mean 'wallet'"]),
    ("subscribe_to_events", {"chains": "ethereun"}, ["'ethereun'", "did you mean 'ethereum'"]),
    ("subscribe_to_events", {"address": "0x12"}, ["'0x12'", "address"]),
    ("subscribe_to_events", {"token": "USDT"}, ["'USDT'", "did you mean 'USDC'"]),
    ("subscribe_to_events", {"min_amount": "1.5"}, ["1.5", "base units"]),
    ("subscribe_to_events", {"where": "data.amount >"}, ["where"]),
    ("subscribe_to_events", {"where": "nonsense(1)"}, ["nonsense"]),
    ("subscribe_to_events", {"ttl_s": 5}, ["ttl_s", "60"]),
    ("subscribe_to_events", {"ttl_s": 10**9}, ["ttl_s", "604800"]),
    ("subscribe_to_events", {"min_amount": 1.5}, ["1.5", "base units"]),
    ("subscribe_to_events", {"filter": "block"}, ["mean 'filters'?", "It takes: filters, chains, address, token"]),
    ("subscribe_to_events", {"nonsense": None}, ["nonsense: there is no such argument. It takes: filters"]),
    ("subscribe_to_events", {"filters": {"a": 1}}, ["filters", "list"]),
    ("wait_for_event", {}, ["subscription_id", "required"]),
    ("wait_for_event", {"subscription_id": "sub_none"}, ["'sub_none'", "list_subscriptions"]),
    ("wait_for_event", {"subscription_id": "x", "timeout_s": 51}, ["timeout_s", "50"]),
    ("wait_for_event", {"subscription_id": "x", "max_events": 0}, ["max_events", "1"]),
    ("wait_for_event", {"subscription_id": "x", "max_events": 101}, ["max_events", "100"]),
    ("get_event_stream", {"cursor": "nonsense"}, ["'nonsense' is no cursor"]),
    ("get_event_stream", {"duration_s": 301}, ["duration_s", "300"]),
    ("get_recent_events", {"since": "yesterday"}, ["'yesterday'", "15m"]),
    ("get_recent_events", {"limit": 101}, ["limit", "100"]),
    ("get_balances", {"address": "0x12"}, ["0x12", "treasury on ethereum"]),
    ("get_balances", {"address": "treasury", "chains": "bse"}, ["on bse", "treasury on base"]),
    ("send_event", {"type": "block_new", "data": {}}, ["'block_new'", "reserved", "my_block_new"]),
    ("send_event", {"type": "Deploy", "data": {}}, ["'Deploy'", "small letter"]),
    ("send_event", {"type": "deploy", "data": [1]}, ["data", "a JSON object"]),
    ("send_event", {"type": "deploy", "data": {}, "idempotency_key": "a b"}, ["Idempotency-Key"]),
    ("unsubscribe", {"subscription_id": "sub_\u202enone"}, ["\\u202e"]),
]


async def test_a_bad_argument_is_named_and_so_is_what_would_be_right(serve, enter):
    house = await serve(wallets=lambda: WALLETS)
    async with enter(house) as host:
        for tool, arguments, parts in WRONG:
            text = await host.refused(tool, **arguments)
            assert all(part in text for part in parts), (tool, arguments, text)
            assert len(text) <= 2000
            assert all(line == printable(line, 3000) for line in text.split("\n"))  # a caret stands below an expression
        assert (await host.call("list_subscriptions"))["subscriptions"] == []


async def test_what_is_wrong_is_said_in_bounded_text(house, enter):
    async with enter(house) as host:
        for filters in (["x" * 20_000], [f"x{number}" * 100 for number in range(50)], "\u202e\u0007" * 5000):
            assert len(await host.refused("subscribe_to_events", filters=filters)) <= 2000
        assert "50" in await host.refused("subscribe_to_events", filters=["block"] * 51)
        assert len(await host.refused("get_recent_events", **{f"x{number}" * 20: 1 for number in range(200)})) <= 2000


async def test_an_unknown_tool_is_an_error_that_lists_those_there_are(house, enter):
    async with enter(house) as host:
        with pytest.raises(Exception, match=r"unknown tool 'wait'; there is: subscribe_to_events, wait_for_event"):
            await host.client.call_tool("wait", {})


# --- waiting ------------------------------------------------------------------------------------------------------


async def test_a_wait_ends_as_soon_as_an_event_comes_and_a_time_out_moves_the_cursor(house, enter):
    async with enter(house) as host:
        opened = await host.call("subscribe_to_events", filters=["block"])
        name = opened["subscription_id"]
        await house.tell(*(transfer(number) for number in range(5)))
        page = await host.call("wait_for_event", subscription_id=name, cursor=opened["cursor"], timeout_s=0.05)
        assert (page["events"], page["timed_out"], place(page["cursor"])) == ([], True, 5)
        waiting = asyncio.create_task(
            host.call("wait_for_event", subscription_id=name, cursor=page["cursor"], timeout_s=50)
        )
        await house.until(lambda: len(house.context.followers.open) == 1)
        await house.tell(transfer(6))
        await house.tell(block(7), block(8))
        assert numbers(await waiting) == [7, 8]
        assert nothing_left(house)


async def test_calls_that_hand_on_the_cursor_get_each_event_once_while_others_publish(house, enter):
    """Of several agents, of different page sizes, while three publish as fast as they can."""
    count = 15

    async def publish(first: int) -> None:
        for number in range(first, 3 * count, 3):
            await house.tell(block(number), transfer(1000 + number))

    async def follow(host: Host, name: str, cursor: str, most: int) -> list[int]:
        found: list[int] = []
        while len(found) < 3 * count:
            page = await host.call("wait_for_event", subscription_id=name, cursor=cursor, timeout_s=10, max_events=most)
            assert len(page["events"]) <= most
            assert not page["truncated"]
            assert place(page["cursor"]) >= place(cursor)
            found, cursor = found + numbers(page), page["cursor"]
        return found

    async with enter(house) as host, enter(house) as other:
        opened = await host.call("subscribe_to_events", filters=["block"])
        name, cursor = opened["subscription_id"], opened["cursor"]
        *told, _, _, _ = await asyncio.gather(
            *(follow(who, name, cursor, most) for who, most in ((host, 2), (host, 7), (other, 100))),
            *(publish(first) for first in range(3)),
        )
        for found in told:
            assert sorted(found) == list(range(3 * count))
            assert found == told[0], "all in the order of the log"
        assert nothing_left(house)


async def test_fifty_wait_at_once_on_one_subscription_and_on_their_own(house, enter):
    async with enter(house) as host:
        opened = [await host.call("subscribe_to_events", filters=["block"]) for _ in range(5)]
        waits = [
            asyncio.create_task(
                host.call("wait_for_event", subscription_id=one["subscription_id"], cursor=one["cursor"], timeout_s=50)
            )
            for one in opened
            for _ in range(10)
        ]
        await house.until(lambda: len(house.context.followers.open) == 50)
        await house.tell(block(1))
        assert [numbers(page) for page in await asyncio.gather(*waits)] == [[1]] * 50
        assert nothing_left(house)


async def test_a_call_that_is_cancelled_leaves_nothing_behind(house, enter):
    async with enter(house) as host:
        opened = await host.call("subscribe_to_events", where="data.number == 1")
        name = opened["subscription_id"]
        before = {task.get_name() for task in asyncio.all_tasks()}
        calls = [
            asyncio.create_task(host.call("wait_for_event", subscription_id=name, timeout_s=50)),
            asyncio.create_task(host.call("get_event_stream", filters=["block"], duration_s=300)),
        ]
        await house.until(lambda: len(house.context.followers.open) == 2)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await house.until(lambda: nothing_left(house))
        await house.until(lambda: len(house.context.turns) == 0)
        assert not any(name.startswith("mcp:") for name in {task.get_name() for task in asyncio.all_tasks()} - before)
        await house.tell(block(1))
        assert numbers(await host.call("wait_for_event", subscription_id=name)) == [1], "nothing was taken with it"


async def test_a_host_that_goes_away_in_the_middle_of_a_wait_leaves_nothing_behind(house, enter):
    async with enter(house) as host:
        waiting = asyncio.create_task(host.call("get_event_stream", duration_s=300))
        await house.until(lambda: len(house.context.followers.open) == 1)
        waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await house.until(lambda: nothing_left(house))
    await house.until(lambda: house.context.gate.taken == 0)


# --- cursors ------------------------------------------------------------------------------------------------------


async def test_what_retention_took_is_told_as_truncated_with_what_is_left(serve, enter):
    house = await serve(max_events=100)
    async with enter(house) as host:
        opened = await host.call("subscribe_to_events", filters=["block"])
        rare = await host.call("subscribe_to_events", filters=["token_transfer"])
        for start in range(0, 1000, 100):
            await house.tell(*(block(number) for number in range(start, start + 100)))
        await house.until(lambda: house.log.oldest > 800)
        before = house.log.oldest  # retention goes on in its slices
        page = await host.call("wait_for_event", subscription_id=opened["subscription_id"], max_events=5)
        assert (page["truncated"], page["timed_out"], page["has_more"]) == (True, False, True)
        [first, *_] = numbers(page)
        assert before - 1 <= first <= house.log.oldest - 1
        assert numbers(page) == list(range(first, first + 5))
        rest, _ = await drained(host, opened["subscription_id"], page["cursor"], max_events=100)
        assert (numbers(page) + rest)[-1] == 999
        # Nothing that is left matches: that something may be gone is told at once all the same.
        page = await host.call("wait_for_event", subscription_id=rare["subscription_id"], timeout_s=50)
        assert (page["truncated"], page["timed_out"], page["events"]) == (True, False, [])
        page = await host.call(
            "wait_for_event", subscription_id=rare["subscription_id"], cursor=page["cursor"], timeout_s=0
        )
        assert (page["truncated"], page["timed_out"]) == (False, True)
        assert (await host.call("get_event_stream", cursor=opened["cursor"], duration_s=0))["truncated"]
        assert not (await host.call("get_recent_events", limit=3))["truncated"]


async def test_a_cursor_of_another_log_or_of_the_future_goes_on_from_the_oldest_and_says_so(house, enter):
    await house.tell(block(1), block(2))
    async with enter(house) as host:
        opened = await host.call("subscribe_to_events")
        for cursor in ("0a1b2c3d4e5f-7", f"{house.log.identity}-900"):
            page = await host.call("wait_for_event", subscription_id=opened["subscription_id"], cursor=cursor)
            assert (numbers(page), page["truncated"]) == ([1, 2], True)
            after = await host.call(
                "wait_for_event", subscription_id=opened["subscription_id"], cursor=page["cursor"], timeout_s=0
            )
            assert (after["events"], after["truncated"]) == ([], False)
        for cursor in ("x", "1-", "-1", f"{house.log.identity}-1-1", "\u202e-1"):
            text = await host.refused("wait_for_event", subscription_id=opened["subscription_id"], cursor=cursor)
            assert "is no cursor" in text, text
        page = await host.call("wait_for_event", subscription_id=opened["subscription_id"], cursor="", timeout_s=0)
        assert page["timed_out"], "an empty one is none: where the subscription began"


# --- expressions, progress ----------------------------------------------------------------------------------------


async def test_an_expression_lets_pass_what_it_holds_for(house, enter):
    async with enter(house) as host:
        opened = await host.call("subscribe_to_events", where='type == "token_transfer" && int(data.amount) > 5')
        await house.tell(transfer(1, amount=3), transfer(2, amount=8), block(3), transfer(4, amount=80))
        assert await drained(host, opened["subscription_id"], opened["cursor"]) == (
            [2, 4],
            f"{house.log.identity}-4",
        )
        recent = await host.call("get_recent_events", where="data.number < 3", min_amount="4")
        assert numbers(recent) == [2]


@pytest.mark.parametrize("era", ["2026-07-28"])
async def test_a_wait_that_finds_nothing_in_much_of_the_log_ends_in_time(house, enter):
    """A page ends before a deep log does; then the call is over when its time is, and the next goes on there."""
    for start in range(0, 20_000, 5000):
        await house.tell(*(block(number) for number in range(start, start + 5000)))
    async with enter(house) as host:
        opened = await host.call("subscribe_to_events", where="data.number == 19999")
        name, cursor, calls = opened["subscription_id"], f"{house.log.identity}-0", 0
        found: list[int] = []
        while not found:
            page = await host.call("wait_for_event", subscription_id=name, cursor=cursor, timeout_s=0)
            assert place(page["cursor"]) > place(cursor)
            found, cursor, calls = numbers(page), page["cursor"], calls + 1
            assert bool(found) is not page["timed_out"]
        assert found == [19999]
        assert calls > 1, "one page of a log is not all of it"


async def test_progress_is_told_while_the_call_runs_and_the_first_at_once(house, enter):
    async with enter(house) as host:
        told: asyncio.Queue[tuple[float, float | None, str | None]] = asyncio.Queue()

        async def progress(done: float, total: float | None, line: str | None) -> None:
            await told.put((done, total, line))

        call = asyncio.create_task(
            host.call("get_event_stream", progress=progress, filters=["block"], duration_s=300, max_events=3)
        )
        assert (await told.get())[:2] == (0, 3)
        for number in range(1, 4):
            assert not call.done()
            await house.tell(block(number), transfer(number))
            done, total, line = await told.get()
            assert (done, total, json.loads(line)["data"]) == (number, 3, {"number": number})
        page = await call
        assert (numbers(page), page["has_more"]) == ([1, 2, 3], False)
        assert told.empty()
        # A second call goes on behind it; its time is up at once.
        await house.tell(block(9))
        page = await host.call("get_event_stream", cursor=page["cursor"], filters=["block"], duration_s=0)
        assert numbers(page) == [9]


# --- publishing ---------------------------------------------------------------------------------------------------


async def test_what_is_sent_with_a_key_is_published_once(house, enter):
    async with enter(house) as host:
        sent = [await host.call("send_event", type="deploy", data={"n": 1}, idempotency_key="a") for _ in range(3)]
        assert len({one["id"] for one in sent}) == 1
        assert "another type or body" in await host.refused(
            "send_event", type="deploy", data={"n": 2}, idempotency_key="a"
        )
        assert len((await host.call("get_recent_events"))["events"]) == 1


async def test_what_cannot_be_kept_exactly_is_not_published(house, enter):
    async with enter(house) as host:
        deep: Any = {}
        for _ in range(80):
            deep = {"a": deep}
        assert "more than 64 deep" in await host.refused("send_event", type="deploy", data=deep)
        assert "digits" in await host.refused("send_event", type="deploy", data={"n": int("9" * 1200)})
        assert (await host.call("get_recent_events"))["events"] == []
