"""Whose subscriptions are whose, what a key lets an agent see and do, and what ends with the key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hosts import WALLETS, numbers
from mcp.shared.exceptions import MCPError
from server.house import ALICE, BOB, House, Serve, block, transfer
from server.test_access import key, text

from chainwatch.keys import Key, Keyring
from chainwatch.mcp.desk import Standing
from chainwatch.server.desk import Shelf

# The handshake era has what the stateless one does without, and is served for as long as hosts speak it.
pytestmark = pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")

ONE, OTHER = key("one"), key("other")
CHAINS = [
    {"name": name, "state": "connected", "ready": True, "reason": None, "head": 7, "lag_seconds": 0.5}
    for name in ("ethereum", "base")
]


async def furnished(serve: Serve, *keys: Key) -> House:
    return await serve(ring=Keyring(keys), wallets=lambda: WALLETS, chains=lambda: CHAINS)


def waiting(house: House) -> int:
    return len(house.context.followers.open)


async def test_what_belongs_to_another_key_is_unknown(serve, enter):
    house = await furnished(serve, ONE, OTHER)
    async with enter(house, text(ONE)) as mine, enter(house, text(OTHER)) as theirs:
        opened = await mine.call("subscribe_to_events")
        name, uri = opened["subscription_id"], opened["resource_uri"]
        unknown = await theirs.refused("wait_for_event", subscription_id="sub_0123456789abcdef")
        for tool in ("wait_for_event", "unsubscribe"):
            said = await theirs.refused(tool, subscription_id=name)
            assert said.replace(name, "sub_0123456789abcdef") == unknown, "as if there were none"
        with pytest.raises(MCPError, match="no subscription"):
            await theirs.read(uri)
        if theirs.era == "legacy":
            with pytest.raises(MCPError, match="no subscription"):
                await theirs.client.session.subscribe_resource(uri)
        else:
            async with theirs.watching(uri) as told:
                assert told == []
        assert (await theirs.call("list_subscriptions"))["subscriptions"] == []
        assert uri not in [one.uri for one in (await theirs.client.list_resources()).resources]
        assert (await mine.read(uri))["events"] == []
        assert (await mine.call("unsubscribe", subscription_id=name))["removed"]


LIMITS: list[tuple[dict[str, Any], list[int], dict[str, Any], str]] = [
    ({"chains": ("base",)}, [3, 4], {"chains": "ethereum"}, "may not see chain ethereum"),
    ({"types": ("block",)}, [1, 3], {"filters": "token_transfer"}, "may not see type token_transfer"),
    ({"addresses": (BOB,)}, [2, 4], {"address": ALICE}, "may not see address"),
]


@pytest.mark.parametrize(("scope", "seen", "beyond", "why"), LIMITS, ids=["chains", "types", "addresses"])
async def test_a_limited_key_sees_its_scope_and_nothing_else(serve, enter, scope, seen, beyond, why):
    limited = key("limited", **scope)
    house = await furnished(serve, limited)
    async with enter(house, text(limited)) as host:
        opened = await host.call("subscribe_to_events")
        name = opened["subscription_id"]
        pending = asyncio.create_task(host.call("wait_for_event", subscription_id=name, timeout_s=50))
        await house.until(lambda: waiting(house) == 1)
        await house.tell(
            block(1), transfer(2), block(3, chain="base"), transfer(4, chain="base"), transfer(5, to=ALICE)
        )
        assert numbers(await pending) == [number for number in (1, 2, 3, 4) if number in seen]
        for page in (
            await host.call("wait_for_event", subscription_id=name),
            await host.call("get_event_stream", cursor=opened["cursor"], duration_s=0),
            await host.call("get_recent_events"),
            await host.call("get_recent_events", since="1h"),
            await host.read("events://stream"),
            await host.read(opened["resource_uri"]),
        ):
            assert numbers(page) == seen
        for tool in ("subscribe_to_events", "get_event_stream", "get_recent_events"):
            assert why in await host.refused(tool, **beyond)
        ((parameter, value),) = beyond.items()
        with pytest.raises(MCPError, match=why):
            await host.read(f"events://stream?{parameter}={value}")
        status = await host.call("get_chain_status")
        chains = {"base"} if "chains" in scope else {"ethereum", "base"}
        assert {chain["name"] for chain in status["chains"]} == chains
        assert {chain["name"] for chain in (await host.read("chains://status"))["chains"]} == chains
        held = [wallet["chain"] for wallet in (await host.call("get_balances"))["wallets"]]
        assert held == (["base"] if "chains" in scope else [])  # BOB is no watched wallet; balances are other types
        listed = [one.uri for one in (await host.client.list_resources()).resources]
        assert (f"wallets://{ALICE}" in listed) is ("chains" in scope)
        if "chains" not in scope:
            assert "treasury" not in await host.refused("get_balances", address=ALICE)
            with pytest.raises(MCPError, match="No watched wallet"):
                await host.read(f"wallets://{ALICE}")


async def test_updates_tell_a_limited_key_of_nothing_beyond_its_scope(serve, enter):
    limited = key("limited", chains=("base",))
    house = await furnished(serve, limited)
    async with enter(house, text(limited)) as host:
        if host.era == "legacy":
            await house.until(lambda: house.context.gate.taken == 1)
        async with host.watching("events://stream", f"wallets://{ALICE}") as told:
            assert len(told) == 2
            await house.until(lambda: waiting(house) == 2)
            await house.tell(block(1), transfer(2))
            await house.tell(block(3, chain="base"))
            assert await host.updated.get() == "events://stream"
            assert numbers(await host.read("events://stream")) == [3]
            assert host.updated.empty()


async def test_what_a_key_may_not_do_is_not_offered_and_not_done(serve, enter):
    reader, sender, both = key("reader"), key("sender", can="send"), key("both", can="read,send")
    house = await furnished(serve, reader, sender, both)
    async with enter(house, text(reader)) as host:
        names = {tool.name for tool in (await host.client.list_tools()).tools}
        assert "send_event" not in names
        assert "may not send" in await host.refused("send_event", type="deploy", data={})
        with pytest.raises(MCPError) as unknown:
            await host.client.call_tool("nothing", {})
        assert "send_event" not in unknown.value.error.message
    async with enter(house, text(sender)) as host:
        assert [tool.name for tool in (await host.client.list_tools()).tools] == ["send_event"]
        sent = await host.call("send_event", type="deploy", data={"number": 1})
        assert sent["cursor"] == f"{house.log.identity}-1"
        for tool, arguments in {
            "subscribe_to_events": {},
            "get_recent_events": {},
            "get_chain_status": {},
            "get_balances": {},
            "list_subscriptions": {},
            "wait_for_event": {"subscription_id": "x"},
            "get_event_stream": {"duration_s": 0},
            "unsubscribe": {"subscription_id": "x"},
        }.items():
            assert "may not read" in await host.refused(tool, **arguments), tool
        assert (await host.client.list_resources()).resources == []
        for uri in ("events://stream", "chains://status", f"wallets://{ALICE}"):
            with pytest.raises(MCPError, match="may not read"):
                await host.read(uri)
    async with enter(house, text(both)) as host:
        assert len((await host.client.list_tools()).tools) == 9
        assert numbers(await host.call("get_recent_events")) == [1]
    assert house.log.head == 1


async def test_a_limited_key_publishes_within_its_scope(serve, enter):
    limited = key("limited", can="read,send", types=("custom:deploy",))
    house = await furnished(serve, limited)
    async with enter(house, text(limited)) as host:
        await host.call("send_event", type="deploy", data={})
        assert "may not publish release" in await host.refused("send_event", type="release", data={})
    assert house.log.head == 1


# --- keys that end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["revoked", "narrowed"])
async def test_a_key_that_ends_or_changes_ends_what_waits_with_it(serve, enter, change):
    house = await furnished(serve, ONE, OTHER)
    rings = {"revoked": Keyring([OTHER]), "narrowed": Keyring([key("one", chains=("base",)), OTHER])}
    async with enter(house, text(OTHER)) as theirs:
        their = await theirs.call("subscribe_to_events")
        goes_on = asyncio.create_task(
            theirs.call("wait_for_event", subscription_id=their["subscription_id"], timeout_s=50)
        )
        await house.until(lambda: waiting(house) == 1)
        calls: list[asyncio.Task[Any]] = []
        try:
            async with enter(house, text(ONE)) as mine:
                name = (await mine.call("subscribe_to_events"))["subscription_id"]
                calls = [
                    asyncio.create_task(mine.result("wait_for_event", subscription_id=name, timeout_s=50)),
                    asyncio.create_task(mine.result("get_event_stream", duration_s=300)),
                ]
                await house.until(lambda: waiting(house) == 3)
                house.context.sessions.change(rings[change])
                await house.until(lambda: waiting(house) == 1, seconds=1)
                await house.tell(block(1))
                for found in await asyncio.gather(*calls, return_exceptions=True):
                    assert isinstance(found, Exception) or found.is_error, "nothing of it was told"
        except* Exception:  # noqa: BLE001 - how the SDK's client takes it that its connection ends
            pass
        assert calls
        assert numbers(await goes_on) == [1]
    await house.until(lambda: waiting(house) == 0)
    if change == "narrowed":
        async with enter(house, text(ONE)) as mine:
            await house.tell(block(2), block(3, chain="base"))
            page = await mine.call("wait_for_event", subscription_id=name)
            assert numbers(page) == [3], "the subscription is still theirs, and is as narrow as the key"


async def test_the_watches_of_a_key_that_ends_end(serve, enter):
    house = await furnished(serve, ONE, OTHER)
    with pytest.raises(BaseException):  # noqa: B017, PT011, PT012 - how the SDK's client takes it that it is put out
        async with enter(house, text(ONE)) as host, host.watching("events://stream", "chains://status"):
            await house.until(lambda: waiting(house) == 2)
            house.context.sessions.change(Keyring([OTHER]))
            await house.until(lambda: waiting(house) == 0, seconds=1)
            raise EOFError
    await house.until(lambda: house.context.gate.taken == 0)


# --- what is kept -------------------------------------------------------------------------------------------------


async def test_subscriptions_survive_a_restart_with_their_owners(serve, enter):
    house = await furnished(serve, ONE, OTHER)
    async with enter(house, text(ONE)) as host:
        opened = await host.call("subscribe_to_events", filters="block", where="chain == 'ethereum'")
        ended = await host.call("subscribe_to_events")
        await host.call("unsubscribe", subscription_id=ended["subscription_id"])
        (before,) = (await host.call("list_subscriptions"))["subscriptions"]
    await house.runner.cleanup()
    await house.log.close()
    again = await furnished(serve, ONE, OTHER)
    await again.tell(block(1, chain="base"), block(2))
    async with enter(again, text(ONE)) as host:
        assert (await host.call("list_subscriptions"))["subscriptions"] == [before]
        page = await host.call("wait_for_event", subscription_id=opened["subscription_id"], cursor=opened["cursor"])
        assert numbers(page) == [2]
    async with enter(again, text(OTHER)) as host:
        assert (await host.call("list_subscriptions"))["subscriptions"] == []


async def test_what_nobody_asks_for_any_more_leaves_the_disk(serve):
    """Of a key that was revoked, say, whose holder never comes back."""
    house = await serve()
    now = 1000.0
    shelf = Shelf(house.log, lambda: now)
    for owner in ("gone", "gone", "here"):
        await shelf.put(owner, Standing(f"sub_{len(shelf.of(owner))}", {}, "log-0", now, now + 60))
    now = 1060.0
    await shelf.put("here", Standing("sub_new", {}, "log-0", now, now + 60))
    assert [name for name, _ in await house.log.scan("mcp/", "mcp0")] == ["mcp/here/sub_new"]
    fresh = Shelf(house.log, lambda: now)
    await fresh.load()
    assert (fresh.of("gone"), [one.id for one in fresh.of("here")]) == ([], ["sub_new"])
