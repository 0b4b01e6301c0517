"""The desk of `chainwatch mcp`: over HTTP a daemon looks as it does to its own MCP server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from anvil import free_port
from proxy import Proxy
from server import house as houses
from server.house import ALICE, BOB, House, block, transfer
from server.test_access import key, text
from sse_server import SseServer

from chainwatch.keys import Keyring
from chainwatch.mcp import remote
from chainwatch.mcp.desk import Desk, Standing, Turned
from chainwatch.server.desk import Desk as Own, Shelf
from chainwatch.server.limits import Seat
from chainwatch.server.principal import Principal
from chainwatch.server.publish import PUBLISHER

READER, SENDER = key("reader"), key("sender", can="read,send")
WALLET = {
    "chain": "ethereum", "address": ALICE, "name": "treasury", "state": "watching", "block_number": 7,
    "block_hash": "0x7", "balances": [{"token": "ETH", "token_address": None, "decimals": 18, "balance": "5"}],
}  # fmt: skip
CHAIN = {"name": "ethereum", "state": "connected", "ready": True, "head": 7, "lag_seconds": 1.5, "endpoints": []}


@pytest.fixture
async def house(tmp_path) -> AsyncIterator[House]:
    house = await houses.serve(tmp_path / "events.db", chains=lambda: [CHAIN], wallets=lambda: [WALLET])
    yield house
    await house.close()


def over_http(house: House, secret: str | None = None) -> remote.Desk:
    return remote.Desk(f"http://127.0.0.1:{house.port}", secret)


def own(house: House) -> Own:
    context = house.context
    seat = context.gate.enter("", "127.0.0.1", time.monotonic())
    assert isinstance(seat, Seat)
    return Own(context, house.runner.app[PUBLISHER], Shelf(house.log), Principal(), seat, "test")


async def said(asked: Any) -> Any:
    """The answer; or what and hint, of a desk that turned the question away."""
    try:
        return await asked
    except Turned as turned:
        return turned.what, turned.hint


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ({}, {}),
        ({}, {"last": 3}),
        ({}, {"last": 0}),
        ({}, {"since": "earliest"}),
        ({}, {"since": "1h"}),
        ({}, {"since": "2020-01-01T00:00:00Z"}),
        ({}, {"since": "now"}),
        ({}, {"since": "yesterday"}),
        ({}, {"cursor": "nonsense"}),
        ({}, {"cursor": ""}),
        ({}, {"cursor": "a\nb"}),
        ({"filters": ["token"]}, {"last": 2}),
        ({"filters": ["token", "block"], "chains": ["base"]}, {}),
        ({"types": ["token_transfer"], "address": [BOB, ALICE], "token": ["USDC"]}, {}),
        ({"min_amount": ["12"]}, {}),
        ({"where": ["data.number > 3.0"]}, {"last": 2}),
        ({"where": ["data.number >"]}, {}),
        ({"where": ["removed", "removed"]}, {}),
        ({"filters": ["tokne_transfer"]}, {}),
        ({"chains": ["etherium"]}, {}),
        ({"address": ["0x12"]}, {}),
        ({"colour": ["red"]}, {}),
    ],
)
async def test_a_page_is_the_same_as_the_daemons_own(house, words, place):
    await house.tell(*(transfer(number, amount=number + 10) for number in range(5)), block(5), block(6, chain="base"))
    for limit in (2, 100):
        ours, theirs = [await said(desk.page(words, limit, **place)) for desk in (over_http(house), own(house))]
        assert ours == theirs
    if not place:
        ours, theirs = [await said(desk.cursor(words)) for desk in (over_http(house), own(house))]
        assert ours == theirs or ours[0] == theirs[0].partition("; there is")[0]  # the parameters differ


async def test_pages_go_on_from_cursor_to_cursor_as_the_daemons_own_do(house):
    await house.tell(*(transfer(number) for number in range(7)))
    for desk in (over_http(house), own(house)):
        numbers, cursor, more = [], None, True
        while more:
            page = await desk.page({"filters": ["token"]}, 3, cursor=cursor)
            numbers += [event["data"]["number"] for event in page.events]
            cursor, more = page.cursor, page.has_more
        assert numbers == [0, 1, 2, 3, 4, 5, 6]


async def test_numbers_and_texts_come_as_exactly_as_the_daemon_has_them(house):
    data = {"whole": 10**30, "part": 0.1, "text": "\u202e\x07<b>", "none": None, "deep": [{"a": [1, "2"]}]}
    receipt = await over_http(house).send("measured", data, None)
    ours, theirs = [(await desk.page({}, 1, last=1)).events for desk in (over_http(house), own(house))]
    assert ours == theirs
    assert (ours[0]["data"], ours[0]["id"]) == (data, receipt.id)


async def test_an_older_cursor_than_what_is_kept_is_said_to_be_truncated(tmp_path):
    house = await houses.serve(tmp_path / "events.db", max_events=3)
    try:
        desks = over_http(house), own(house)
        begin = await desks[0].cursor({})
        await house.tell(*(transfer(number) for number in range(8)))
        await house.until(lambda: house.log.oldest > 1)
        other = "0" * (len(begin) - 2) + begin[-2:]
        for cursor in (begin, other):
            ours, theirs = [await said(desk.page({}, 10, cursor=cursor)) for desk in desks]
            assert ours == theirs
            for desk in desks:
                async with asyncio.timeout(5):
                    arrived, _ = await desk.wait({"filters": ["block"]}, begin, 60)
                assert arrived, "what is gone is told at once"
        assert (await desks[0].page({}, 10, cursor=begin)).truncated
    finally:
        await house.close()


async def test_a_wait_ends_with_the_first_event_that_matches_and_its_cursor_is_before_it(house):
    for desk in (over_http(house), own(house)):
        cursor = await desk.cursor({})
        waiting = asyncio.create_task(desk.wait({"filters": ["token"]}, cursor, 20))
        await house.tell(block(1), block(2))
        await house.tell(transfer(3), transfer(4))
        arrived, behind = await waiting
        page = await desk.page({"filters": ["token"]}, 10, cursor=behind)
        assert (arrived, [event["data"]["number"] for event in page.events]) == (True, [3, 4])
        assert (await desk.wait({"filters": ["token"]}, cursor, 20))[0], "at once, where one is there already"


async def test_a_wait_in_vain_says_so_with_a_cursor_that_is_as_good(house):
    for desk in (over_http(house), own(house)):
        cursor = await desk.cursor({})
        await house.tell(block(1))
        arrived, behind = await desk.wait({"filters": ["token"]}, cursor, 0.05)
        await house.tell(transfer(2))
        page = await desk.page({"filters": ["token"]}, 10, cursor=behind)
        assert (arrived, len(page.events)) == (False, 1)


async def test_an_event_that_comes_as_a_wait_ends_is_not_missed(house):
    for desk in (over_http(house), own(house)):
        for number in range(20):
            cursor = await desk.cursor({})
            await house.tell(block(number))
            _, behind = await desk.wait({}, cursor, number / 10_000)
            page = await desk.page({}, 10, cursor=behind)
            assert [event["data"]["number"] for event in page.events] == [number]


async def test_status_and_wallets_are_those_of_the_daemon(house):
    ours, theirs = over_http(house), own(house)
    assert await ours.wallets() == await theirs.wallets() == [WALLET]
    mine, other = await ours.status(), await theirs.status()
    assert mine.keys() == other.keys()
    assert mine["chains"] == [CHAIN]


async def test_what_is_published_twice_with_one_key_is_one_event(house):
    desk = over_http(house)
    first, again = [await desk.send("deploy", {"app": "web"}, "once") for _ in range(2)]
    assert first == again
    for name in ("Deploy", "a/b", "..", "", "x" * 65, "block_new"):
        ours, theirs = [await said(one.send(name, {}, None)) for one in (desk, own(house))]
        if name == "block_new":  # that a request was refused is said with the status
            assert theirs[0] in ours[0]
        else:
            assert ours == theirs


async def test_a_key_that_is_missing_wrong_or_not_for_that_is_said_to_be(tmp_path):
    house = await houses.serve(tmp_path / "events.db", ring=Keyring([READER, SENDER]))
    try:
        for secret, said_so in ((None, "wants a key"), (text(key("stranger")), "does not take this key")):
            with pytest.raises(Turned, match=said_so) as caught:
                await over_http(house, secret).page({}, 1)
            assert caught.value.forbidden
            assert "CHAINWATCH_KEY" in caught.value.hint
            with pytest.raises(Turned, match=said_so):
                await over_http(house, secret).wait({}, "any", 30)
        with pytest.raises(Turned, match="send") as caught:
            await over_http(house, text(READER)).send("deploy", {}, None)
        assert caught.value.forbidden
        assert caught.value.hint.startswith("chainwatch keys create "), "a command is as it is typed"
        assert (await over_http(house, text(SENDER)).send("deploy", {}, None)).id
        assert len((await over_http(house, text(READER)).page({}, 9)).events) == 1
    finally:
        await house.close()


async def test_a_daemon_that_is_not_there_is_said_not_to_be_at_once_but_waited_for():
    desk = remote.Desk(f"http://127.0.0.1:{free_port()}")
    asked = (desk.page({}, 1), desk.cursor({}), desk.status(), desk.wallets(), desk.send("deploy", {}, None))
    for one in asked:
        with pytest.raises(Turned, match=r"Cannot reach .* Is `chainwatch serve` running there\?") as caught:
            await one
        assert caught.value.passing
    with pytest.raises(Turned, match="Cannot reach") as caught:  # at the end: it could have come
        await desk.wait({}, "cursor", 0.3)
    assert caught.value.passing


async def test_a_daemon_that_has_no_room_is_waited_for_and_at_the_end_said_to_have_none(tmp_path):
    house = await houses.serve(tmp_path / "events.db", max_connections=1)
    try:
        desk = over_http(house)
        cursor = await desk.cursor({})
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(desk.wait({}, cursor, 20))
            await house.until(lambda: bool(house.hub.streams))
            with pytest.raises(Turned) as caught:
                await desk.wait({}, cursor, 1)
            assert caught.value.passing
            await house.tell(block(1))
        assert (await first)[0]
        assert (await desk.wait({}, cursor, 20))[0]
    finally:
        await house.close()


async def test_a_wait_goes_on_over_lost_connections_and_a_daemon_that_is_away(house):
    async with Proxy(house.port) as proxy:
        desk = remote.Desk(f"http://127.0.0.1:{proxy.port}")
        cursor = await desk.cursor({})
        waiting = asyncio.create_task(desk.wait({"filters": ["token"]}, cursor, 30))
        await house.until(lambda: bool(house.hub.streams))
        await proxy.refuse()
        proxy.cut()
        await house.tell(block(1), transfer(2))
        await asyncio.sleep(0)
        assert not waiting.done()
        await proxy.accept()
        assert (await waiting)[0]


async def test_waits_are_bounded_and_end_with_their_callers(house, monkeypatch):
    monkeypatch.setattr(remote, "WAITING", 3)
    desk = over_http(house)
    cursor = await desk.cursor({})
    waiting = [asyncio.create_task(desk.wait({}, cursor, 60)) for _ in range(3)]
    await house.until(lambda: len(house.hub.streams) == 3)
    with pytest.raises(Turned, match="There are 3 waits"):
        await desk.wait({}, cursor, 60)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await house.until(lambda: not house.hub.streams)
    assert await desk.wait({}, cursor, 0.01) == (False, cursor)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b'{"events": 5}', b'{"chains": {}}', b'{"wallets": [{"address": 7}]}', b"{}", b'{"a": "\xff"}'],
)
async def test_what_is_no_daemon_is_said_to_be_none(body):
    server = SseServer()
    server.script = [server.said(body, content_type="application/json") for _ in range(3)]
    async with server:
        desk = remote.Desk(server.url)
        for asked in (desk.page({}, 1), desk.status(), desk.wallets()):
            with pytest.raises(Turned, match=r"sent what no daemon sends|answers"):
                await asked


async def test_subscriptions_are_forgotten_with_their_time(house):
    desk: Desk = over_http(house)
    now = time.time()
    old = Standing("sub_old", {}, "c", now - 9, now - 1)
    await desk.keep(old)
    fresh = msgspec.structs.replace(old, id="sub_new", expires=now + 60)
    await desk.keep(fresh)
    assert await desk.kept() == [fresh]
    await desk.forget("sub_new")
    await desk.forget("sub_never")
    assert await desk.kept() == []
