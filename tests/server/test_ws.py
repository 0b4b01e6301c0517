"""`GET /ws` as clients have it: subscriptions, publications, keys, limits, ends."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlencode

import pytest
from aiohttp import web
from server.house import ALICE, BOB, USDC, block, transfer
from server.talk import Raw, Talk, frame
from server.test_access import holding, key, text
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus

from chainwatch.event import Event
from chainwatch.keys import Keyring
from chainwatch.server import orders
from chainwatch.server.sockets import SOCKETS

CAROL = "0x" + "ca" * 20
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
NOW = "2025-06-24T07:00:00.000Z"


def status(state: str) -> Event:
    about = {"state": state, "endpoint": "wss://node", "head": 1, "lag_seconds": 0, "reason": None}
    return Event(id=f"evt_{state}", type="chain_status", timestamp=NOW, observed_at=NOW, chain="ethereum", data=about)


# --- subscriptions ------------------------------------------------------------------------------------------------


async def test_a_subscription_replays_and_goes_on_live(house):
    await house.tell(transfer(1), transfer(2))
    async with Talk(house) as ws:
        told = await ws.subscribe("mine", since="earliest", filters=["token"], chains="ethereum")
        assert told["stream"].startswith("str_")
        assert told["filters"]["chains"] == ["ethereum"]
        assert told["cursor"] == told["replay_from"] == f"{house.log.identity}-0"
        assert await ws.numbers(2, "mine") == [1, 2]
        await house.tell(transfer(3), block(4), transfer(5))
        assert await ws.numbers(2, "mine") == [3, 5]
        assert ws.messages[-1]["cursor"] == f"{house.log.identity}-5"


async def test_connect_says_what_it_says_by_sse(house):
    await house.tell(transfer(1))
    async with Talk(house) as ws:
        for parameters, query in (({}, ""), ({"since": "earliest", "address": BOB}, f"?since=earliest&address={BOB}")):
            told = await ws.subscribe(**parameters, duration=0.1)
            answer = await house.ask(f"/events{query}")
            by_sse = await answer.expect("connect")
            del told["op"], told["id"], told["stream"], by_sse["stream"]
            assert told == by_sse
            answer.cut()
            await ws.until(lambda message: message["op"] == "complete")


QUERIES = (
    {},
    {"types": "block_new"},
    {"filters": ["blocks", "token_transfer"]},
    {"address": BOB},
    {"address": [ALICE.upper().replace("X", "x")], "chains": ["base"]},
    {"token": "USDC"},
    {"min_amount": 3},
    {"chains": "base,ethereum", "min_amount": "2", "types": ["token_transfer"]},
    {"where": "data.number % 2 == 0"},
    {"last": 3},
    {"last": 0},
    {"since": "1h"},
)


async def test_every_parameter_means_what_it_means_by_sse(house):
    transfers = [
        transfer(n, to=[BOB, CAROL][n % 2], amount=n, chain=["ethereum", "base"][n % 3 == 0]) for n in range(1, 8)
    ]
    await house.tell(*transfers, *(block(n, chain="base") for n in range(8, 11)))
    async with Talk(house) as ws:
        for parameters in QUERIES:
            asked = parameters if parameters.keys() & {"last", "since"} else {"since": "earliest"} | parameters
            answer = await house.stream(f"/events?{urlencode(asked | {'duration': 0.1}, doseq=True)}")
            by_sse = [message for message in await answer.rest() if message.event == "message"]
            await ws.subscribe(**asked, duration=0.1)
            *events, _ = await ws.until(lambda message: message["op"] == "complete")
            found = [(one["cursor"], one["event"]) for one in events]
            assert found == [(one.id, json.loads(one.data)) for one in by_sse], parameters
            assert bool(events) is (parameters != {"last": 0})


async def test_the_event_is_byte_for_byte_what_sse_has(house):
    await house.tell(transfer(1, padding="é\u2028\"'</"))
    answer = await house.stream("/events?since=earliest")
    data = (await answer.next()).data
    raw = await Raw.open(house)
    raw.say("subscribe", 'q"é', since="earliest")
    await raw.next()
    assert (await raw.frame()).data == (
        '{"op":"event","id":"q\\"é","cursor":"' + f'{house.log.identity}-1","event":{data}' + "}"
    ).encode()
    raw.cut()


async def test_subscriptions_of_one_connection_are_their_own(house):
    await house.tell(transfer(1), block(2))
    async with Talk(house) as ws:
        await ws.subscribe("blocks", types="block_new")
        await ws.subscribe("all", since="earliest")
        assert await ws.numbers(2, "all") == [1, 2]
        await house.tell(block(3))
        both = {message["id"]: message["event"]["data"]["number"] for message in [await ws.next(), await ws.next()]}
        assert both == {"blocks": 3, "all": 3}
        await ws.say("unsubscribe", "blocks")
        await ws.expect("complete", "blocks")
        await house.tell(block(4))
        assert await ws.numbers(1, "all") == [4]
        await ws.subscribe("blocks", types="block_new", last=1)
        assert await ws.numbers(1, "blocks") == [4]


async def test_an_id_is_taken_while_its_subscription_lasts(house):
    async with Talk(house) as ws:
        await ws.subscribe("a")
        told = await ws.refused("subscribe", "a")
        assert (told["status"], told["parameter"], told["value"]) == (409, "id", "a")
        assert (await ws.refused("unsubscribe", "b"))["status"] == 404
        await ws.say("unsubscribe", "a")
        assert (await ws.expect("complete", "a"))["reason"] == "unsubscribed"
        await ws.subscribe("a")


async def test_a_connection_has_so_many_subscriptions_and_no_more(house, monkeypatch):
    monkeypatch.setattr(orders, "SUBSCRIPTIONS", 3)
    monkeypatch.setattr(orders, "ADDRESSES", 4)
    async with Talk(house) as ws:
        for name in "ab":
            await ws.subscribe(name, address=[ALICE, BOB])
        assert "4 addresses" in (await ws.refused("subscribe", "c", address=USDC))["detail"]
        await ws.subscribe("c")
        assert (await ws.refused("subscribe", "d"))["status"] == 429
        await ws.answers()


async def test_a_limit_is_kept_and_the_end_has_the_cursor_of_the_last_event(house):
    await house.tell(*(transfer(number) for number in range(1, 10)))
    async with Talk(house) as ws:
        await ws.subscribe(since="earliest", limit=4, types="token_transfer")
        assert await ws.numbers(4) == [1, 2, 3, 4]
        told = await ws.expect("complete", "a")
        assert (told["reason"], told["cursor"]) == ("limit", ws.messages[-2]["cursor"])
        assert told["retry"] >= 1000
        await ws.subscribe(last_event_id=told["cursor"], limit=7)
        assert await ws.numbers(5) == [5, 6, 7, 8, 9]
        await house.tell(transfer(10), block(11), transfer(12))
        assert await ws.numbers(2) == [10, 11]
        assert (await ws.expect("complete", "a"))["cursor"] == f"{house.log.identity}-11"
        await ws.answers()


async def test_a_duration_ends_one_subscription(house):
    async with Talk(house) as ws:
        await ws.subscribe("long")
        await ws.subscribe("short", duration=0.05)
        assert (await ws.expect("complete", "short"))["reason"] == "duration"
        await house.tell(block(1))
        assert await ws.numbers(1, "long") == [1]


async def test_a_cursor_that_cannot_be_continued_is_a_gap_or_410(house):
    await house.tell(transfer(1))
    async with Talk(house) as ws:
        await ws.subscribe(last_event_id="other-5")
        told = await ws.expect("gap", "a")
        assert (told["requested"], told["reason"]) == ("other-5", "other_log")
        assert told["resumed_at"] == f"{house.log.identity}-0"
        assert await ws.numbers(1) == [1]
        told = await ws.refused("subscribe", "b", last_event_id="nonsense", gap="fail")
        assert (told["status"], told["reason"]) == (410, "malformed")


async def test_how_things_stand_now_is_told_first_and_counts(house):
    await house.tell(status("connected"))
    async with Talk(house) as ws:
        told = await ws.subscribe(types="chain_status", limit=2)
        first = await ws.expect("event", "a")
        assert (first["event"]["id"], first["cursor"]) == ("evt_connected", told["cursor"])
        await house.tell(status("stalled"))
        assert (await ws.expect("event", "a"))["event"]["id"] == "evt_stalled"
        assert (await ws.expect("complete", "a"))["reason"] == "limit"
        await ws.subscribe("b", types="chain_status", limit=1)
        await ws.expect("event", "b")
        assert (await ws.expect("complete", "b"))["cursor"] == f"{house.log.identity}-2"


async def test_an_idle_subscription_has_signs_of_life_that_move_its_cursor(house):
    async with Talk(house) as ws:
        await ws.subscribe(types="block_new", heartbeat=0.1)
        await house.tell(transfer(1), transfer(2))
        told = await ws.expect("heartbeat", "a")
        while not told["cursor"].endswith("-2"):
            told = await ws.expect("heartbeat", "a")
        assert told["timestamp"].endswith("Z")


WRONG = (
    ({"typs": "block_new"}, {"parameter": "typs", "nearest": "types"}),
    ({"types": "block_nw"}, {"parameter": "types", "nearest": "block_new"}),
    ({"chains": "etherum"}, {"parameter": "chains", "nearest": "ethereum"}),
    ({"address": "0x12"}, {"parameter": "address", "value": "0x12"}),
    ({"limit": 0}, {"parameter": "limit", "value": "0"}),
    ({"limit": 1.5}, {"parameter": "limit", "value": "1.5"}),
    ({"limit": [1, 2]}, {"parameter": "limit"}),
    ({"named": True}, {"parameter": "named"}),
    ({"where": "data.number >"}, {"parameter": "where"}),
    ({"since": "yesterday"}, {"parameter": "since"}),
)


async def test_a_parameter_that_means_nothing_is_named_and_the_connection_goes_on(house):
    async with Talk(house) as ws:
        for parameters, expected in WRONG:
            told = await ws.refused("subscribe", "a", **parameters)
            assert told["status"] == 400
            assert told.items() >= expected.items()
        await ws.subscribe("a")


async def test_ops_are_answered_in_the_order_in_which_they_are_said(house):
    await house.tell(transfer(1))
    async with Talk(house) as ws:
        await ws.say("subscribe", "a", last=1, limit=1)
        await ws.say("ping", "1")
        await ws.say("unsubscribe", "b")
        await ws.say("ping")
        answers = await ws.until(lambda message: message == {"op": "pong"})
        assert [(one["op"], one.get("id")) for one in answers if one["op"] not in ("event", "complete")] == [
            ("connect", "a"), ("pong", "1"), ("error", "b"), ("pong", None),
        ]  # fmt: skip


async def test_a_long_replay_keeps_neither_answers_nor_other_subscriptions_waiting(house):
    """A client that is slow, so that the daemon is in the middle of the replay when the others have something."""
    for start in range(1, 3001, 1000):
        await house.tell(*(transfer(number, padding="." * 1000) for number in range(start, start + 1000)))
    raw = await Raw.open(house, receive_buffer=4096)
    raw.say("subscribe", "blocks", types="block_new")
    raw.say("subscribe", "deep", since="earliest")
    (connection,) = house.runner.app[SOCKETS].connections
    await house.until(lambda: connection.paused and len(connection.subscriptions) == 2)
    raw.say("ping", "now")
    await house.tell(block(3001))
    told = []
    while not told or told[-1].get("cursor") != f"{house.log.identity}-3001" or told[-1]["id"] != "deep":
        told.append(await raw.next())
    events = [message for message in told if message["op"] == "event"]
    assert [one["event"]["data"]["number"] for one in events if one["id"] == "deep"] == list(range(1, 3002))
    assert told.index({"op": "pong", "id": "now"}) < 1000
    assert [one["id"] for one in events].index("blocks") < 1000
    raw.cut()


# --- publishing ---------------------------------------------------------------------------------------------------


async def test_what_is_sent_is_an_event_of_the_log(house):
    async with Talk(house) as ws:
        await ws.subscribe(types="custom:note")
        await ws.say("send", "ref", type="note", data={"a": 1.5, "big": 10**30, "address": BOB})
        both = {message["op"]: message for message in [await ws.next(), await ws.next()]}
        assert both["sent"]["id"] == "ref"
        assert both["sent"]["cursor"] == both["event"]["cursor"]
        assert both["sent"]["event_id"] == both["event"]["event"]["id"]
        assert both["event"]["event"]["data"] == {"a": 1.5, "big": 10**30, "address": BOB}


async def test_a_repetition_with_the_same_key_is_one_event(house):
    async with Talk(house) as ws:
        told = []
        for _ in range(2):
            await ws.say("send", type="note", data={}, idempotency_key="once")
            told.append(await ws.expect("sent"))
        assert told[0]["event_id"] == told[1]["event_id"]
        assert [one["replayed"] for one in told] == [False, True]
    assert house.log.head == 1


UNPUBLISHABLE = (
    ({"type": "block_new", "data": {}}, 409),
    ({"type": "Note", "data": {}}, 400),
    ({"type": "note", "data": []}, 400),
    ({"type": "note", "data": {"a": "x" * 66_000}}, 413),
    ({"type": "note", "data": {}, "idempotency_key": "\n"}, 400),
)


async def test_what_cannot_be_published_is_refused_as_by_http(house):
    async with Talk(house) as ws:
        for message, status in UNPUBLISHABLE:
            assert (await ws.refused("send", "r", **message))["status"] == status
        await ws.answers()
    assert house.log.head == 0


async def test_only_what_an_agent_reads_is_acknowledged(house):
    async with Talk(house) as ws:
        await ws.subscribe()
        assert "agent" in (await ws.refused("ack", "a", cursor=f"{house.log.identity}-0"))["hint"]
        assert (await ws.refused("ack", "b", cursor="x-1"))["status"] == 404


# --- who ----------------------------------------------------------------------------------------------------------


async def test_a_page_of_a_foreign_origin_or_host_gets_no_socket(serve):
    house = await serve(allowed_origins=("https://good.example",))
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        assert (await house.ask("/ws", HANDSHAKE | headers)).status == 403
    async with Talk(house, headers={"Origin": "https://good.example"}) as ws:
        await ws.answers()
    assert not house.context.gate.taken


async def test_where_there_are_keys_one_is_needed_in_a_header_or_in_the_address(serve):
    reader = key("reader")
    house = await serve(ring=Keyring([reader]))
    with pytest.raises(InvalidStatus) as refused:
        await Talk(house).__aenter__()
    assert refused.value.response.status_code == 401
    async with Talk(house, headers=holding(reader)) as ws:
        await ws.answers()
    async with Talk(house, f"/ws?token={text(reader)}") as ws:
        await ws.answers()


async def test_a_scope_holds_in_replay_and_live_and_more_is_403(serve):
    limited = key("limited", chains=("base",), types=("block",))
    house = await serve(ring=Keyring([limited]))
    await house.tell(block(1), block(2, chain="base"), transfer(3, chain="base"))
    async with Talk(house, headers=holding(limited)) as ws:
        await ws.subscribe(since="earliest")
        assert await ws.numbers(1) == [2]
        await house.tell(block(4), transfer(5, chain="base"), block(6, chain="base"))
        assert await ws.numbers(1) == [6]
        assert (await ws.refused("subscribe", "b", chains="ethereum"))["status"] == 403
        assert (await ws.refused("subscribe", "b", types="token_transfer"))["status"] == 403


async def test_permissions_are_asked_for_each_op(serve):
    reader, sender = key("reader"), key("sender", can="send")
    house = await serve(ring=Keyring([reader, sender]))
    async with Talk(house, headers=holding(sender)) as ws:
        assert (await ws.refused("subscribe", "a"))["status"] == 403
        await ws.say("send", type="note", data={})
        await ws.expect("sent")
    async with Talk(house, headers=holding(reader)) as ws:
        await ws.subscribe()
        assert (await ws.refused("send", "r", type="note", data={}))["status"] == 403
    assert house.log.head == 1


async def test_revoking_a_key_ends_its_sockets_alone(serve):
    one, other = key("one"), key("other")
    house = await serve(ring=Keyring([one, other]))
    async with Talk(house, headers=holding(one)) as first, Talk(house, headers=holding(other)) as second:
        for ws in (first, second):
            await ws.subscribe()
        house.context.sessions.change(Keyring([other]))
        assert (await first.expect("complete", "a"))["reason"] == "revoked"
        assert await first.ended() == (4401, "the key has ended")
        await house.tell(block(1))
        assert await second.numbers(1) == [1]


async def test_a_key_that_is_revoked_while_a_socket_opens_opens_nothing(serve, monkeypatch):
    one = key("one")
    house = await serve(ring=Keyring([one]))
    prepare = web.StreamResponse.prepare

    async def slowly(response, request):
        monkeypatch.undo()
        house.context.sessions.change(Keyring())
        return await prepare(response, request)

    monkeypatch.setattr(web.StreamResponse, "prepare", slowly)
    async with Talk(house, headers=holding(one)) as ws:
        assert (await ws.ended())[0] == 4401


async def test_a_socket_takes_one_seat_whatever_it_subscribes_to(serve):
    house = await serve(max_connections=2)
    async with Talk(house) as ws, Talk(house) as other:
        for name in "abc":
            await ws.subscribe(name)
        await other.subscribe()
        assert house.context.gate.taken == 2
        with pytest.raises(InvalidStatus) as refused:
            await Talk(house).__aenter__()
        answer = refused.value.response
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
    await house.until(lambda: not house.context.gate.taken)


async def test_a_request_that_is_no_handshake_is_told_so(house):
    answer = await house.ask("/ws")
    assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
    assert "events/stream" in (await answer.json())["hint"]
    for header, wrong in (("Sec-WebSocket-Version", "8"), ("Sec-WebSocket-Key", "short"), ("Sec-WebSocket-Key", "")):
        assert (await house.ask("/ws", HANDSHAKE | {header: wrong})).status == 400
    assert (await house.ask("/ws", HANDSHAKE, version="1.0")).status == 426
    assert (await house.ask("/ws", method="HEAD")).status == 405
    answer = await house.ask("/ws?filters=block", HANDSHAKE)
    assert (answer.status, (await answer.json())["parameter"]) == (400, "filters")
    assert not house.context.gate.taken


# --- the end ------------------------------------------------------------------------------------------------------


async def test_a_stop_ends_every_subscription_and_says_when_to_come_back(house):
    await house.tell(block(1))
    async with Talk(house) as ws:
        for name in "ab":
            await ws.subscribe(name, since="earliest")
            await ws.numbers(1, name)
        stopping = asyncio.create_task(house.runner.cleanup())
        for name in "ab":
            told = await ws.expect("complete", name)
            assert (told["reason"], told["cursor"]) == ("shutdown", f"{house.log.identity}-1")
            assert told["retry"] >= 1000
        assert await ws.ended() == (1001, "the daemon is stopping")
        await stopping


async def test_a_connection_that_is_old_is_ended_and_its_client_comes_back(serve):
    house = await serve(max_connection_age=1)
    async with Talk(house) as ws:
        await ws.subscribe()
        told = await ws.expect("complete", "a")
        assert told["reason"] == "rotation"
        assert (await ws.ended())[0] == 1001
    await house.tell(block(1))
    async with Talk(house) as ws:
        await ws.subscribe(last_event_id=told["cursor"])
        assert await ws.numbers(1) == [1]


async def test_a_stop_does_not_wait_for_a_client_that_says_no_good_bye(house):
    raw = await Raw.open(house)
    raw.say("subscribe", "a")
    await raw.next()
    sockets = house.runner.app[SOCKETS]
    async with asyncio.timeout(5):
        await sockets.close(grace=0.2)
    raw.cut()
    assert not sockets.connections
    assert not house.context.followers.open


async def test_a_client_that_leaves_leaves_nothing_and_one_line(house):
    sockets, followers = house.runner.app[SOCKETS], house.context.followers
    tasks = len(asyncio.all_tasks())
    with capture_logs() as logs:
        for how in ("close", "cut", "close"):
            ws = await Talk(house).__aenter__()
            await ws.subscribe("a", address=BOB)
            await ws.subscribe("b")
            await house.tell(transfer(1))
            await ws.next()
            await ws.next()
            if how == "close":
                await ws.socket.close(1000)
            else:
                ws.cut()
            await house.until(lambda: not sockets.connections)
            del ws
    lines = [line for line in logs if line["event"] == "websocket closed"]
    assert [(line["reason"], line["events"]) for line in lines] == [("left", 2)] * 3
    assert [line for line in logs if line["log_level"] in ("warning", "error")] == []
    assert not followers.open
    assert not followers._groups
    assert not house.context.gate.taken
    assert not house.context.sessions._ends
    await house.until(lambda: len(asyncio.all_tasks()) <= tasks)


async def test_statistics_list_subscriptions(serve):
    one, other = key("one"), key("other")
    house = await serve(ring=Keyring([one, other]))
    async with Talk(house, headers=holding(one)) as ws:
        told = await ws.subscribe("mine", types="block_new")
        await house.tell(block(1))
        await ws.numbers(1, "mine")
        about = (await (await house.ask("/v1/stats", holding(one))).json())["streams"]
        assert (about["open"], about["live"]) == (1, 1)
        (listed,) = about["list"]
        assert (listed["kind"], listed["stream"], listed["sent"], listed["lag"]) == ("ws", told["stream"], 1, 0)
        assert (listed["key"], listed["filters"]) == ("one", {"types": ["block_new"]})
        assert listed["bytes"] > 100
        about = (await (await house.ask("/v1/stats", holding(other))).json())["streams"]
        assert (about["open"], about["list"]) == (0, [])


async def test_what_is_sent_behind_the_request_is_heard(house):
    raw = await Raw.open(house, behind=frame(b'{"op":"ping","id":"early"}'))
    assert await raw.next() == {"op": "pong", "id": "early"}
    raw.say("ping", "late")
    assert await raw.next() == {"op": "pong", "id": "late"}
    raw.cut()
