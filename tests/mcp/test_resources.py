"""Resources of the MCP server: what can be read by address, and who is told that it changed."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from itertools import permutations
from typing import Any
from urllib.parse import quote

import pytest
from hosts import WALLETS, Host, numbers
from mcp.shared.exceptions import MCPError
from server.house import ALICE, BOB, Answer, House, block, transfer

from chainwatch.mcp import resources, updates

# The handshake era has what the stateless one does without, and is served for as long as hosts speak it.
pytestmark = pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")
CHAINS = [{"name": "ethereum", "state": "connected", "ready": True, "reason": None, "head": 7, "lag_seconds": 0.5}]


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is not held back for long."""
    monkeypatch.setattr(updates, "COALESCE", 0.02)


async def listened(house: House, host: Host) -> None:
    """Until the session's standing stream is there, of the era that has one."""
    if host.era == "legacy":
        await house.until(lambda: house.context.gate.taken > 0)


def watched(house: House) -> int:
    """Loops that wait for changes."""
    return sum(follower.kind == "mcp" for follower in house.context.followers.open.values())


async def test_everything_that_is_listed_and_every_template_can_be_read(serve, enter):
    house = await serve(wallets=lambda: WALLETS, chains=lambda: CHAINS)
    await house.tell(block(1), transfer(2))
    async with enter(house) as host:
        opened = await host.call("subscribe_to_events", filters="token_transfer")
        listed = (await host.client.list_resources()).resources
        for one in listed:  # but for wallets, whose texts are the configuration's
            assert one.uri.startswith("wallets:") or "never an instruction" in one.description
        uris = [one.uri for one in listed]
        assert uris == ["events://stream", "chains://status", f"wallets://{ALICE}", opened["resource_uri"]]
        templates = {one.uri_template for one in (await host.client.list_resource_templates()).resource_templates}
        assert templates == {
            "events://stream{?filters,address,chains,token}",
            "events://subscriptions/{id}",
            "wallets://{address}",
        }
        page = await host.read("events://stream")
        assert (numbers(page), page["cursor"]) == ([1, 2], f"{house.log.identity}-2")
        assert numbers(await host.read(opened["resource_uri"])) == [2]
        assert (await host.read("chains://status"))["chains"][0]["name"] == "ethereum"
        for address in (ALICE, ALICE.upper().replace("X", "x")):
            assert (await host.read(f"wallets://{address}"))["wallets"] == WALLETS
        # What a resource gives goes on with a tool.
        await house.tell(block(3))
        assert numbers(await host.call("get_event_stream", cursor=page["cursor"], duration_s=0)) == [3]


async def test_the_parameters_of_a_stream_come_in_any_order_and_encoding(house, enter):
    await house.tell(block(1), transfer(2), transfer(3, chain="base"), transfer(4, to=ALICE), block(5))
    parts = ["filters=token_transfer", "chains=ethereum", f"address={BOB}", "token=USDC"]
    async with enter(house) as host:
        for order in permutations(parts):
            assert numbers(await host.read(f"events://stream?{'&'.join(order)}")) == [2]
        for query, expected in {
            "": [1, 2, 3, 4, 5],
            "filters=": [1, 2, 3, 4, 5],
            "filters=block,token_transfer&chains=base": [3],
            "filters=block%2Ctoken_transfer&chains=%62ase": [3],
            "filters=block&filters=token_transfer&chains=base": [3],
            "chains=base#part": [3],
            "min_amount=2": [],
            "where=" + quote("data.number > 1 && data.number < 4"): [2, 3],
            "types=block": [1, 5],
        }.items():
            assert numbers(await host.read(f"events://stream?{query}")) == expected, query


async def test_a_stream_shows_its_newest_events(house, enter):
    await house.tell(*(block(number) for number in range(50)))
    async with enter(house) as host:
        assert numbers(await host.read("events://stream")) == list(range(50 - resources.SHOWN, 50))


UNKNOWN = {
    "events://streams": "no resource",
    "events://stream?filter=block": "no parameter 'filter'. There is: filters",
    "events://stream?filters=blok": "did you mean 'block'",
    "events://stream?cursor=x": "no parameter 'cursor'",
    "events://stream?" + "&".join(["chains=base"] * 200): "at most 100 parameters",
    "events://stream?where=" + quote("data.number >"): "where",
    "events://subscriptions/": "no subscription",
    "events://subscriptions/sub_0": "no subscription 'sub_0'",
    f"wallets://{BOB}": "No watched wallet",
    "wallets://treasury": "No watched wallet",
    "wallets://": "No watched wallet",
    "chains://status/": "no resource",
    "file:///etc/passwd": "no resource",
    "wallets://%E2%80%AE%1b": "No watched wallet",
}


async def test_an_unknown_resource_is_an_error_that_says_why(serve, enter):
    house = await serve(wallets=lambda: WALLETS)
    async with enter(house) as host:
        for uri, part in UNKNOWN.items():
            with pytest.raises(MCPError) as refused:
                await host.read(uri)
            message = refused.value.error.message
            assert part in message, (uri, message)
            assert refused.value.error.code == -32602
            assert len(message) <= 1000
            assert message.isprintable()
        if host.era == "legacy":  # in the other one it goes into a header too, and is too long for that
            with pytest.raises(MCPError, match="no resource"):
                await host.read("events://stream?filters=" + "x" * 9000)
        with pytest.raises(MCPError, match="no cursor of the list"):
            await host.client.list_resources(cursor="x")


# --- updates ------------------------------------------------------------------------------------------------------


async def test_a_host_hears_of_each_resource_that_changes_and_of_no_other(serve, enter, brisk):
    house = await serve(wallets=lambda: WALLETS)
    async with enter(house) as host:
        await listened(house, host)
        opened = await host.call("subscribe_to_events", filters="token_transfer")
        blocks, transfers = "events://stream?filters=block", opened["resource_uri"]
        async with host.watching(blocks, transfers, "chains://status", f"wallets://{ALICE}") as told:
            assert len(told) == 4
            await house.until(lambda: watched(house) == 4)
            await house.tell(block(1))
            assert await host.updated.get() == blocks
            await house.tell(transfer(2))
            assert await host.updated.get() == transfers
            assert numbers(await host.read(transfers)) == [2]
            assert host.updated.empty()
        await house.until(lambda: watched(house) == 0)


async def test_no_change_is_missed_between_reading_and_being_told(house, enter, brisk):
    """A host that reads when it is told, and once at first, sees the last event, however they come."""
    uri, last = "events://stream?filters=block", 60
    async with enter(house) as host:
        await listened(house, host)
        async with host.watching(uri):
            seen = numbers(await host.read(uri))

            async def publish() -> None:
                for number in range(last + 1):
                    await house.tell(block(number))
                    if number % 7 == 0:
                        await asyncio.sleep(0.01)

            publishing, count = asyncio.create_task(publish()), 0
            while not seen or seen[-1] < last:
                assert await host.updated.get() == uri
                seen, count = numbers(await host.read(uri)), count + 1
            await publishing
            assert count <= last, "some are told together"


async def test_a_busy_resource_is_told_of_once_in_a_while(house, enter, monkeypatch):
    monkeypatch.setattr(updates, "COALESCE", 300)
    async with enter(house) as host:
        await listened(house, host)
        async with host.watching("events://stream"):
            await house.until(lambda: watched(house) == 1)
            await house.tell(block(0))
            await host.updated.get()
            for number in range(1, 50):
                await house.tell(block(number))
            assert numbers(await host.read("events://stream"))[-1] == 49
            assert host.updated.empty()


async def test_what_is_watched_twice_is_told_once_and_what_is_unsubscribed_no_more(house, enter, brisk):
    async with enter(house) as host:
        await listened(house, host)
        if host.era == "legacy":
            for _ in range(3):
                await host.client.session.subscribe_resource("events://stream")
            await house.until(lambda: watched(house) == 1)
            # Watched no more and then again, so fast that the first loop has not ended yet.
            for _ in range(5):
                await host.client.session.unsubscribe_resource("events://stream")
                await host.client.session.subscribe_resource("events://stream")
            await house.until(lambda: watched(house) == 1)
            await house.tell(block(1))
            await host.updated.get()
            await host.client.session.unsubscribe_resource("events://stream")
            await house.until(lambda: watched(house) == 0)
            await host.client.session.unsubscribe_resource("events://stream?types=block")
        else:
            async with host.watching("events://stream", "events://stream") as told:
                assert told == ["events://stream"]
                await house.until(lambda: watched(house) == 1)
                await house.tell(block(1))
                await host.updated.get()
            await house.until(lambda: watched(house) == 0)
        async with host.watching("events://stream"):
            await house.until(lambda: watched(house) == 1)
            await house.tell(block(2))
            await host.updated.get()
        assert host.updated.empty()


async def test_the_end_of_a_session_ends_its_watches(house, enter):
    async with AsyncExitStack() as stack:
        for _ in range(3):
            host = await stack.enter_async_context(enter(house))
            await stack.enter_async_context(host.watching("events://stream", "events://stream?filters=block"))
        await house.until(lambda: watched(house) == 6)
    await house.until(lambda: watched(house) == 0)
    await house.until(lambda: house.context.gate.taken == 0)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "mcp:watch"]


async def test_what_cannot_be_watched_is_not_honoured(house, enter, monkeypatch):
    monkeypatch.setattr(updates, "MOST", 5)
    async with enter(house) as host:
        if host.era == "legacy":
            for uri in ("events://nothing", "events://stream?filters=blok", f"wallets://{ALICE}"):
                with pytest.raises(MCPError):
                    await host.client.session.subscribe_resource(uri)
            for number in range(updates.MOST):
                await host.client.session.subscribe_resource(f"events://stream?min_amount={number}")
            with pytest.raises(MCPError, match="There are 5 subscriptions"):
                await host.client.session.subscribe_resource("events://stream")
        else:
            async with host.watching("events://nothing", "events://stream", f"wallets://{ALICE}") as told:
                assert told == ["events://stream"]
            async with host.watching("events://nothing") as told:
                assert told == []
            with pytest.raises(MCPError, match="at most 5"):
                async with host.watching(*(f"events://stream?min_amount={number}" for number in range(6))):
                    pass
        assert watched(house) in (0, updates.MOST)


async def test_what_changed_while_a_session_did_not_listen_is_told_when_it_does(house, brisk):
    """Its standing stream is not there yet, or was cut on the way: what is told then goes nowhere."""
    head = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}

    async def post(method: str, headers: dict[str, str], **params: Any) -> Answer:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        headers = {**head, **headers, "Content-Length": str(len(body))}
        answer = await house.ask("/mcp", headers, method="POST", after=body)
        assert answer.status == 200, await answer.body()
        await answer.next()
        return answer

    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a host", "version": "1"}}
    begun = await post("initialize", {}, **client)
    session = {"Mcp-Session-Id": begun.headers["mcp-session-id"], "Mcp-Protocol-Version": "2025-11-25"}
    for uri in ("events://stream", "events://stream?filters=token_transfer"):
        await post("resources/subscribe", session, uri=uri)
    await house.until(lambda: watched(house) == 2)
    for _ in range(2):
        await house.tell(block(1))
        await house.until(lambda: watched(house) == 1)  # it is told, into the void
        await house.until(lambda: watched(house) == 2)
        standing = await house.ask("/mcp", {"Accept": "text/event-stream", **session})
        said = json.loads((await standing.next()).data)
        assert (said["method"], said["params"]["uri"]) == ("notifications/resources/updated", "events://stream")
        standing.cut()
        await house.until(lambda: house.context.gate.taken == 0)


async def test_a_watched_subscription_that_is_ended_is_told_as_changed(house, enter, brisk, monkeypatch):
    monkeypatch.setattr(updates, "_ROUND", 0.05)
    async with enter(house) as host:
        await listened(house, host)
        opened = await host.call("subscribe_to_events")
        uri = opened["resource_uri"]
        async with host.watching(uri, "events://stream?filters=block"):
            await house.until(lambda: watched(house) == 2)
            await host.call("unsubscribe", subscription_id=opened["subscription_id"])
            assert await host.updated.get() == uri
            with pytest.raises(MCPError, match="no subscription"):
                await host.read(uri)
            await house.tell(block(1))
            assert await host.updated.get() == "events://stream?filters=block", "the others are watched on"
            with suppress(asyncio.QueueEmpty):
                assert host.updated.get_nowait() != uri
