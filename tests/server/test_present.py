"""A stream of `system` that begins now is told first how things stand."""

from __future__ import annotations

import json
from typing import Any

from server.house import ALICE, BOB, block

from chainwatch.event import Event, event_id, rfc3339
from chainwatch.payloads import ChainStatus, SourceStatus, WalletStatus


def told(data: Any, chain: str | None, *, removed: bool = False) -> Event:
    at = rfc3339(1_700_000_000_000)
    kind = type(data).TYPE
    made = event_id(kind, chain, data, removed)
    return Event(id=made, type=kind, timestamp=at, observed_at=at, chain=chain, data=data, removed=removed)


def chain(state: str, name: str = "ethereum") -> Event:
    return told(ChainStatus(state=state, endpoint=None, head=1, lag_seconds=None, reason=None), name)


def wallet(address: str, state: str) -> Event:
    status = WalletStatus(address=address, name="w", state=state, balances=[], block_number=None, block_hash=None)
    return told(status, "ethereum")


async def states(answer: Any, count: int) -> list[tuple[str, str]]:
    found = []
    for _ in range(count):
        message = await answer.next()
        event = json.loads(message.data)
        found.append((event["type"], event["data"]["state"]))
    return found


async def test_the_newest_status_of_each_comes_first_and_then_what_happens(house):
    source = told(SourceStatus(source="coingecko", state="ok", reason=None), None)
    await house.tell(chain("connecting"), chain("connected"), wallet(ALICE, "syncing"), wallet(ALICE, "watching"))
    await house.tell(wallet(BOB, "watching"), wallet(BOB, "removed"), source, block(1))
    answer = await house.stream("/events?filters=system")
    assert await states(answer, 3) == [
        ("chain_status", "connected"),
        ("source_status", "ok"),
        ("wallet_status", "watching"),
    ]
    await house.tell(chain("stalled"))
    assert await states(answer, 1) == [("chain_status", "stalled")]


async def test_they_do_not_move_the_client_s_cursor(house):
    await house.tell(chain("connected"), block(1))
    answer = await house.stream("/events/system")
    message = await answer.next()
    assert message.event == "chain_status", "a route of a category has named events"
    assert message.id == f"{house.log.identity}-2", "where the stream began"


async def test_they_count_for_a_limit(house):
    await house.tell(chain("connected"), wallet(ALICE, "watching"), wallet(BOB, "watching"))
    exact = await house.stream("/events?filters=system&limit=2")
    assert await states(exact, 2) == [("chain_status", "connected"), ("wallet_status", "watching")]
    assert (await exact.next()).event == "complete"
    more = await house.stream("/events?filters=system&limit=4")
    await states(more, 3)
    await house.tell(chain("stalled"), chain("halted"))
    assert await states(more, 1) == [("chain_status", "stalled")]
    assert (await more.next()).event == "complete"


async def test_a_filter_holds_for_them_too(house):
    await house.tell(chain("connected"), chain("stalled", "base"), wallet(ALICE, "watching"))
    answer = await house.stream("/events?types=chain_status&chains=base")
    assert await states(answer, 1) == [("chain_status", "stalled")]
    await house.tell(chain("connected", "base"))
    assert await states(answer, 1) == [("chain_status", "connected")]


async def test_a_stream_that_asks_for_everything_or_for_the_past_is_told_none(house):
    await house.tell(chain("connected"))
    plain = await house.stream("/events")
    past = await house.stream("/events?filters=system&since=earliest")
    assert await states(past, 1) == [("chain_status", "connected")]
    resumed = await house.stream(f"/events?filters=system&last_event_id={house.log.identity}-1")
    await house.tell(chain("stalled"))
    for answer in (plain, past, resumed):
        assert await states(answer, 1) == [("chain_status", "stalled")]


async def test_a_retracted_status_is_not_how_things_stand(house):
    before = wallet(ALICE, "watching")
    await house.tell(before, told(before.data, "ethereum", removed=True))
    answer = await house.stream("/events?filters=wallet_status")
    assert await states(answer, 1) == [("wallet_status", "watching")]
    await house.tell(wallet(ALICE, "removed"))
    assert await states(answer, 1) == [("wallet_status", "removed")]
