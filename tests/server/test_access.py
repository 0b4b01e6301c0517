"""Who gets in with which key, what they see, and when it ends: through the whole server."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from server.house import ALICE, BOB, USDC, block, transfer
from websockets.asyncio.client import connect

from chainwatch.keys import Key, Keyring
from chainwatch.keys.ring import digest_of
from chainwatch.server import limits

SECRET = "s" * 43


def key(name: str, *, can: str = "read", expires: int | None = None, **lists: tuple[str, ...]) -> Key:
    return Key(
        name=name,
        id=name.ljust(10, "0"),
        digest=digest_of(SECRET),
        created=0,
        expires=expires,
        can=frozenset(can.split(",")),
        **lists,
    )


def text(of: Key) -> str:
    return f"cw_{of.id}_{SECRET}"


def holding(of: Key) -> dict[str, str]:
    return {"X-API-Key": text(of)}


READER = key("reader")
PROTECTED = ("/events", "/events/stream", "/events/history", "/events/block", "/v1/stats")


@pytest.mark.parametrize("path", PROTECTED)
async def test_where_there_are_keys_one_is_needed(serve, path):
    house = await serve(ring=Keyring([READER]))
    answer = await house.ask(path)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="chainwatch"')
    assert "X-API-Key" in (await answer.json())["hint"]
    for headers in ({"X-API-Key": "nonsense"}, {"Authorization": f"Bearer {text(key('stranger'))}"}):
        answer = await house.ask(path, headers)
        assert (answer.status, 'error="invalid_token"' in answer.headers["www-authenticate"]) == (401, True)
    wrong = text(READER)[:-1] + "x"
    answer = await house.ask(f"{path}?token={wrong}")
    assert (answer.status, wrong in (await answer.body()).decode()) == (401, False)


@pytest.mark.parametrize("path", PROTECTED)
async def test_a_key_is_taken_from_either_header_and_from_the_query(serve, path):
    house = await serve(ring=Keyring([READER]))
    for headers in (
        holding(READER),
        {"Authorization": f"Bearer {text(READER)}"},
        {"authorization": f"bearer {text(READER)}"},
    ):
        assert (await house.ask(path, headers)).status == 200
    assert (await house.ask(f"{path}?token={text(READER)}")).status == 200


async def test_token_is_a_filter_too_and_a_key_in_it_is_never_told(serve):
    house = await serve(ring=Keyring([READER]))
    await house.tell(block(1), transfer(2))
    answer = await house.ask(f"/events?token=USDC&token={text(READER)}&since=earliest")
    told = await answer.expect("connect")
    assert told["filters"] == {"token": [USDC]}
    assert await answer.numbers(1) == [2]
    answer = await house.ask(f"/events?token={text(READER)}&tokn=1")
    assert (answer.status, SECRET in (await answer.body()).decode()) == (400, False)


async def test_without_keys_one_that_is_sent_is_not_looked_at(house):
    await house.tell(transfer(1))
    for headers, query in (({"X-API-Key": "anything"}, ""), ({}, f"&token={text(READER)}")):
        answer = await house.stream(f"/events?since=earliest{query}", headers)
        assert await answer.numbers(1) == [1]


async def test_what_anyone_may_ask_needs_no_key_and_tells_nothing(serve):
    chains = [{"name": "ethereum", "ready": False, "state": "connecting", "reason": "refused"}]
    house = await serve(ring=Keyring([READER]), chains=lambda: chains)
    assert await (await house.ask("/health")).json() == {"status": "waiting"}
    assert (await house.ask("/health/live")).status == 200
    assert (await house.ask("/schema.json")).status == 200
    told = await (await house.ask("/health", holding(READER))).json()
    assert told["not_ready"] == ["ethereum"]


async def test_a_key_that_may_not_is_403_and_admin_may_everything(serve):
    sender, admin = key("sender", can="send"), key("admin", can="admin")
    house = await serve(ring=Keyring([sender, admin]))
    answer = await house.ask("/events", holding(sender))
    assert answer.status == 403
    assert "may not read" in (await answer.json())["detail"]
    assert (await house.ask("/events", holding(admin))).status == 200


SCOPES = [
    ({"chains": ("base",)}, "/events?", [2], ("chains", "ethereum")),
    ({"types": ("block",)}, "/events?", [1], ("types", "token_transfer")),
    ({"addresses": (BOB,)}, "/events?", [2], ("address", "0x" + "c3" * 20)),
]


@pytest.mark.parametrize(("scope", "path", "seen", "beyond"), SCOPES)
async def test_a_scope_holds_on_replay_live_and_history_and_more_is_403(serve, scope, path, seen, beyond):
    limited = key("limited", **scope)
    house = await serve(ring=Keyring([limited]))
    other = "0x" + "c3" * 20
    first = [block(1), transfer(2, chain="base"), transfer(3, to=other)]
    if "chains" not in scope:
        first[1] = transfer(2)
    if "types" in scope:
        seen = [1]
    await house.tell(*first)
    page = await (await house.ask("/events/history", holding(limited))).json()
    assert [event["data"]["number"] for event in page["events"]] == seen
    answer = await house.stream(f"{path}since=earliest", holding(limited))
    assert await answer.numbers(len(seen)) == seen
    chain = "base" if "chains" in scope else "ethereum"
    await house.tell(
        block(11, chain="ethereum"), transfer(12, chain=chain), transfer(13, to=other), block(14, chain=chain)
    )
    expected = {"chains": [12, 14], "types": [11, 14], "addresses": [12]}[next(iter(scope))]
    assert await answer.numbers(len(expected)) == expected
    name, value = beyond
    for route in ("/events", "/events/history"):
        refused = await house.ask(f"{route}?{name}={value}", holding(limited))
        assert refused.status == 403
        assert value.lower() in (await refused.json())["value"]


async def test_an_allow_list_that_means_nothing_any_more_allows_nothing(serve):
    limited = key("limited", types=("of_another_version",))
    house = await serve(ring=Keyring([limited]))
    await house.tell(block(1))
    page = await (await house.ask("/events/history", holding(limited))).json()
    assert page["events"] == []


async def test_a_key_limited_to_a_chain_sees_nothing_of_no_chain(serve):
    limited = key("limited", chains=("ethereum",))
    house = await serve(ring=Keyring([limited]))
    await house.tell(block(1, chain=None), block(2))
    page = await (await house.ask("/events/history", holding(limited))).json()
    assert [event["data"]["number"] for event in page["events"]] == [2]


async def test_statistics_show_the_streams_of_ones_own_key_and_admin_all(serve):
    one, other, admin = key("one"), key("other", chains=("base",)), key("admin", can="admin")
    chains = [{"name": name, "ready": True, "state": "connected", "reason": None} for name in ("ethereum", "base")]
    house = await serve(ring=Keyring([one, other, admin]), chains=lambda: chains)
    await house.stream("/events", holding(one))
    await house.stream("/events?address=" + ALICE, holding(other))
    told = await (await house.ask("/v1/stats", holding(one))).json()
    assert [stream["key"] for stream in told["streams"]["list"]] == ["one"]
    assert (told["streams"]["open"], len(told["chains"]), told["connections"]) == (1, 2, None)
    told = await (await house.ask("/v1/stats", holding(other))).json()
    assert ([chain["name"] for chain in told["chains"]], told["streams"]["open"]) == (["base"], 1)
    told = await (await house.ask("/v1/stats", holding(admin))).json()
    assert (told["streams"]["open"], told["connections"]["open"]) == (2, 2)
    streamed = await house.ask("/v1/stats", {**holding(other), "Accept": "text/event-stream"})
    assert ALICE.encode() in (await streamed.next()).data.encode()


async def test_revoking_ends_the_streams_of_that_key_alone_and_within_a_moment(serve):
    one, other = key("one"), key("other")
    house = await serve(ring=Keyring([one, other]))
    streams = [await house.stream("/events", holding(one)) for _ in range(3)]
    watching = await house.ask("/v1/stats", {**holding(one), "Accept": "text/event-stream"})
    stays = await house.stream("/events", holding(other))
    house.context.sessions.change(Keyring([other]))
    async with asyncio.timeout(1):
        for ended in (*streams, watching):
            assert (await ended.rest())[-1].event == "complete"
    assert (await house.ask("/events", holding(one))).status == 401
    await house.tell(block(1))
    assert await stays.numbers(1) == [1]
    assert house.context.gate.taken == 1


async def test_a_key_that_changes_or_expires_ends_what_it_opened(serve):
    now = int(time.time() * 1000)
    changing, expiring = key("changing"), key("expiring", expires=now + 1500)
    house = await serve(ring=Keyring([changing, expiring]))
    first, second = [await house.stream("/events", holding(of)) for of in (changing, expiring)]
    house.context.sessions.change(Keyring([key("changing", chains=("base",)), expiring]))
    assert (await first.rest())[-1].event == "complete"
    assert (await second.rest())[-1].event == "complete"
    assert time.time() * 1000 >= now + 1500
    assert (await house.ask("/events", holding(expiring))).status == 401


async def test_the_first_key_closes_the_door_and_no_revocation_opens_it(serve):
    house = await serve()
    anybody = await house.stream()
    house.context.sessions.change(Keyring([READER]))
    assert (await anybody.rest())[-1].event == "complete"
    house.context.sessions.change(Keyring())
    assert (await house.ask("/events")).status == 401


async def test_a_key_that_is_revoked_while_its_stream_opens_opens_nothing(serve, monkeypatch):
    house = await serve(ring=Keyring([READER]))
    from chainwatch.server import streams

    begin = streams.begin

    async def slowly(*given):
        house.context.sessions.change(Keyring())
        return await begin(*given)

    monkeypatch.setattr(streams, "begin", slowly)
    answer = await house.ask("/events", holding(READER))
    assert [message.event for message in await answer.rest()] == ["connect", "complete"]


async def test_a_key_that_is_revoked_while_a_body_comes_publishes_nothing(serve):
    sender = key("sender", can="send")
    house = await serve(ring=Keyring([sender]))
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    head = f"POST /events/note HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {text(sender)}\r\nContent-Length: 2\r\n"
    writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
    house.context.sessions.change(Keyring())
    writer.write(b"{}")
    assert b" 401 " in await reader.readuntil(b"\r\n")
    assert house.log.head == 0
    writer.close()


async def test_limits_of_a_key_and_of_an_address_are_429_and_never_for_who_comes_back(serve):
    house = await serve(ring=Keyring([READER]), max_connections_per_key=1)
    await house.tell(block(1), block(2))
    await house.stream("/events", holding(READER))
    refused = await house.ask("/events", holding(READER))
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) >= 15
    back = await house.ask("/events", {**holding(READER), "Last-Event-ID": f"{house.log.identity}-1"})
    assert (back.status, await back.expect("complete")) == (200, "[DONE]")


async def test_too_many_connects_a_minute_are_429_with_the_time_to_wait(serve):
    house = await serve(connects_per_minute=2)
    await house.tell(block(1))
    cursor = f"{house.log.identity}-1"
    for _ in range(2):
        (await house.stream()).cut()
    refused = await house.ask("/events")
    assert (refused.status, int(refused.headers["retry-after"])) == (429, 30)
    for _ in range(3):
        (await house.stream(headers={"Last-Event-ID": cursor})).cut()
    await house.until(lambda: house.context.gate.taken == 0)


async def test_a_request_that_fails_gives_its_seat_back(serve):
    house = await serve(max_connections=1)
    for _ in range(3):
        assert (await house.ask("/events?gap=fail&last_event_id=other-1")).status == 410
    assert house.context.gate.taken == 0
    await house.stream()


async def test_expressions_that_would_hold_everybody_up_are_429_and_never_for_who_comes_back(serve, monkeypatch):
    monkeypatch.setattr(limits, "WORK", 4)
    house = await serve(ring=Keyring([READER]))
    first = await house.ask("/events?where=data.number%3E1", holding(READER))
    told = await first.expect("connect")
    answer = await house.ask("/events?where=data.number%3E2", holding(READER))
    assert (answer.status, "where" in (await answer.json())["detail"]) == (429, True)
    answer = await house.ask(f"/events?where=data.number%3E2&last_event_id={told['cursor']}", holding(READER))
    assert (answer.status, [message.event for message in await answer.rest()]) == (200, ["complete"])
    await house.stream("/events?where=data.number%3E1", holding(READER))
    async with connect(f"ws://127.0.0.1:{house.port}/ws", additional_headers=holding(READER)) as socket:
        for number, op in ((2, "error"), (1, "connect")):
            await socket.send(json.dumps({"op": "subscribe", "id": "mine", "where": f"data.number > {number}"}))
            assert json.loads(await socket.recv())["op"] == op
    for answer in house.answers:
        answer.cut()
    await house.until(lambda: not house.context.gate.taken)
    assert not house.context.gate._asked
