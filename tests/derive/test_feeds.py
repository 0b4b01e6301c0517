"""Chainlink feeds as dialogues: blocks with logs and readings in, prices out. No node."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from chainwatch.chain.evm.block import Block, Header, RpcLog
from chainwatch.chain.evm.reads import Feed, Readings
from chainwatch.derive import feeds as module
from chainwatch.derive.feeds import AGAIN, ANSWER_UPDATED, UNANSWERED, Feeds
from chainwatch.derive.rules import FeedRule, Rules
from chainwatch.event import Event, encode

PROXY, OTHER = "0x" + "5f" * 20, "0x" + "6f" * 20
FIRST, SECOND = "0x" + "a1" * 20, "0x" + "a2" * 20
BORN = 1_700_000_000
PHASE = 1 << 64


def word(number: int) -> str:
    return f"0x{number % 2**256:064x}"


def answered(answer: int, round_: int, *, at: int = BORN, by: str = FIRST, index: int = 7, **more: Any) -> RpcLog:
    topics = more.get("topics", [ANSWER_UPDATED, word(answer), word(round_)])
    return RpcLog(by, topics, more.get("data", word(at)), hex(index), "0x" + "77" * 32, "0x3", "0x" + "bb" * 32)


def reading(answer: int | None, round_: int = 1, *, phase: int = 1, by: str = FIRST, at: int = BORN) -> Feed:
    if answer is None:
        return Feed(aggregator=by, decimals=8, phase=phase)
    return Feed(aggregator=by, decimals=8, phase=phase, answer=answer, round_id=phase << 64 | round_, updated_at=at)


def block(number: int, *logs: RpcLog, branch: str = "b", **readings: Feed | None) -> Block:
    """`proxy=`, `other=`: what their contracts said at this block."""
    names = {"proxy": PROXY, "other": OTHER}
    header = Header(number, f"0x{branch.encode().hex():0>32}{number:032x}", "0x" + "00" * 32, BORN + 12 * number)
    told = Readings(feeds={names[name]: feed for name, feed in readings.items()})
    return Block(
        header=header, transaction_count=0, gas_used=0, gas_limit=0, base_fee_per_gas=None, transactions=[],
        receipts=[], logs=list(logs), arrived=BORN * 1000, readings=told,
    )  # fmt: skip


def rules(**more: Any) -> Rules:
    return Rules(chain="sim", native="ETH", feeds={PROXY: FeedRule(symbol="ETH", quote="USD", **more)})


def prices(events: list[Event]) -> list[tuple[str, int]]:
    """Price, and the round of the aggregator."""
    return [(event.data.price, int(event.data.round_id) & (PHASE - 1)) for event in events]


def test_an_unknown_feed_is_asked_for_until_it_is_known_and_then_now_and_then():
    feeds = Feeds(rules())
    asked = []
    for number in range(1, 2 * AGAIN + 2):
        one = block(number, **({"proxy": reading(1)} if number == 3 else {}))
        if feeds.asks(one):
            asked.append(number)
        feeds.updates(one, 0)
    assert asked == [1, 2, 3, AGAIN, 2 * AGAIN]
    assert Feeds(Rules(chain="sim", native="ETH")).asks(block(AGAIN)) == ()


def test_the_first_reading_tells_the_latest_round():
    (event,) = Feeds(rules()).updates(block(1, proxy=reading(312055000000, 4, phase=6, at=BORN - 60)), 0)
    told = json.loads(encode(event))
    assert told["timestamp"] == "2023-11-14T22:12:20.000Z"
    assert told["chain"] == "sim"
    assert told["data"] == {
        "symbol": "ETH", "quote": "USD", "price": "3120.55", "previous_price": None, "change_percent": None,
        "source": "chainlink", "feed": "0x5f5f5f5f5f5F5f5F5F5F5F5f5F5f5f5F5F5F5F5f", "round_id": str(6 << 64 | 4),
        "updated_at": "2023-11-14T22:12:20.000Z", "tx_hash": None, "log_index": None, "block_number": 1,
        "block_hash": block(1).header.hash,
    }  # fmt: skip


def test_a_round_is_told_by_its_log():
    feeds = Feeds(rules())
    feeds.updates(block(1, proxy=reading(100 * 10**8)), 0)
    (event,) = feeds.updates(block(2, answered(99 * 10**8, 2, at=BORN + 24)), 0)
    data = event.data
    assert (data.price, data.previous_price, data.change_percent) == ("99", "100", "-1.0000")
    assert (data.round_id, data.log_index, data.tx_hash) == (str(PHASE | 2), 7, "0x" + "77" * 32)
    assert feeds.updates(block(3, proxy=reading(99 * 10**8, 2)), 0) == [], "the reading knows no more"


def test_each_round_is_told_even_where_the_price_stays_unless_somebody_wants_less():
    same, less = Feeds(rules()), Feeds(rules(min_change=Decimal("0.5")))
    told = []
    for feeds in (same, less):
        feeds.updates(block(1, proxy=reading(1000)), 0)
        logs = [answered(answer, round_, index=round_) for round_, answer in ((2, 1000), (3, 1004), (4, 1005))]
        told.append(prices(feeds.updates(block(2, *logs), 0)))
    assert told == [[("0.00001", 2), ("0.00001004", 3), ("0.00001005", 4)], [("0.00001005", 4)]]


@pytest.mark.parametrize("answer", [0, -1, -(2**255)])
def test_an_answer_that_is_no_price_is_none(answer):
    feeds = Feeds(rules())
    assert feeds.updates(block(1, answered(answer, 2), proxy=reading(answer)), 0) == []


@pytest.mark.parametrize(
    "log",
    [
        answered(5, 2, by=SECOND),
        answered(5, 1),
        answered(5, 1 << 64),
        answered(5, 2, topics=[ANSWER_UPDATED, word(5)]),
        answered(5, 2, topics=[ANSWER_UPDATED, "0x5", word(2)]),
        answered(5, 2, topics=[word(1), word(5), word(2)]),
        answered(5, 2, topics=[]),
        answered(5, 2, data="0x"),
    ],
)
def test_what_only_looks_like_a_round_is_none(log):
    feeds = Feeds(rules())
    feeds.updates(block(1, proxy=reading(4)), 0)
    assert feeds.updates(block(2, log), 0) == []


def test_a_time_beyond_all_measure_does_no_harm():
    feeds = Feeds(rules())
    feeds.updates(block(1, proxy=reading(4)), 0)
    (event,) = feeds.updates(block(2, answered(5, 2, at=2**256 - 1)), 0)
    assert event.timestamp == "9999-12-31T23:59:59.999Z"
    assert Feeds(rules(), feeds.state()).updates(block(3, proxy=reading(5, 2)), 0) == []


def test_a_new_aggregator_is_taken_over_with_its_rounds():
    feeds = Feeds(rules())
    feeds.updates(block(1, proxy=reading(100, 900)), 0)
    assert feeds.updates(block(2, answered(300, 1, by=SECOND)), 0) == [], "nobody knows of it yet"
    assert prices(feeds.updates(block(5, proxy=reading(300, 1, phase=2, by=SECOND)), 0)) == [("0.000003", 1)]
    late = answered(400, 901)
    assert prices(feeds.updates(block(6, late, answered(200, 2, by=SECOND)), 0)) == [("0.000002", 2)]


def test_old_and_new_aggregator_in_one_block_are_told_in_order():
    feeds = Feeds(rules())
    feeds.updates(block(1, proxy=reading(100, 9)), 0)
    logs = answered(110, 10, index=1), answered(120, 1, by=SECOND, index=2), answered(130, 11, index=3)
    events = feeds.updates(block(5, *logs, proxy=reading(120, 1, phase=2, by=SECOND)), 0)
    assert prices(events) == [("0.0000011", 10), ("0.0000012", 1)]


def test_two_feeds_before_one_aggregator_are_both_told():
    both = Rules(
        chain="sim",
        native="ETH",
        feeds={proxy: FeedRule(symbol=name, quote="USD") for proxy, name in ((PROXY, "ETH"), (OTHER, "WETH"))},
    )
    feeds = Feeds(both)
    feeds.updates(block(1, proxy=reading(100), other=reading(100, phase=7)), 0)
    events = feeds.updates(block(2, answered(5, 2)), 0)
    assert [(event.data.symbol, event.data.round_id) for event in events] == [
        ("ETH", str(PHASE | 2)),
        ("WETH", str(7 << 64 | 2)),
    ]
    assert len({event.id for event in events}) == 2


# --- reorganisations and restarts -----------------------------------------------------------------------------------


def test_a_reorganisation_restores_the_price_and_asks_again():
    feeds = Feeds(rules())
    feeds.updates(block(1, proxy=reading(100)), 0)
    feeds.updates(block(2, answered(200, 2)), 0)
    feeds.updates(block(3, answered(300, 3)), 0)
    assert feeds.asks(block(2, branch="c")) == (PROXY,), "it is no child of what was told"
    feeds.rewind(1)
    assert feeds.asks(block(4, branch="c")) == (PROXY,)
    (event,) = feeds.updates(block(2, answered(250, 2), branch="c", proxy=reading(250, 2)), 1)
    assert (event.data.previous_price, event.data.price) == ("0.000001", "0.0000025")


def test_what_is_told_does_not_hang_on_how_far_ahead_blocks_are_asked_about():
    blocks = [block(1, proxy=reading(100)), *(block(number, proxy=reading(200, 2)) for number in range(2, AGAIN + 1))]
    ahead, one_by_one = Feeds(rules()), Feeds(rules())
    told = [event for one in blocks for event in ahead.updates(one, 0)]
    later = [
        event
        for one in blocks
        for event in one_by_one.updates(one if one_by_one.asks(one) else block(one.header.number), 0)
    ]
    assert [event.id for event in later] == [event.id for event in told]
    assert [event.data.block_number for event in told] == [1, AGAIN]


def test_a_reorganisation_takes_a_new_aggregator_back():
    feeds = Feeds(rules())
    feeds.updates(block(1, proxy=reading(100)), 0)
    feeds.updates(block(5, proxy=reading(300, 1, phase=2, by=SECOND)), 0)
    feeds.rewind(4)
    events = feeds.updates(block(5, answered(110, 2), answered(5, 2, by=SECOND), branch="c"), 0)
    assert prices(events) == [("0.0000011", 2)]
    assert events[0].data.previous_price == "0.000001"


def test_the_way_there_and_back_tells_other_ids():
    feeds, ids = Feeds(rules()), []
    feeds.updates(block(1, proxy=reading(100)), 0)
    for retracted in range(3):
        ids += [event.id for event in feeds.updates(block(2, answered(200, 2)), retracted)]
        feeds.rewind(1)
    assert len(set(ids)) == 3
    again = Feeds(rules())
    again.updates(block(1, proxy=reading(100)), 0)
    assert [event.id for event in again.updates(block(2, answered(200, 2)), 0)] == ids[:1], "and the same everywhere"


def test_a_restart_knows_the_price_the_round_and_how_it_stood():
    feeds = Feeds(rules())
    feeds.updates(block(1, proxy=reading(100)), 0)
    assert len(feeds.statuses(BORN, "log", 1)) == 1
    again = Feeds(rules(), feeds.state())
    assert again.asks(block(2)) == (PROXY,)
    assert again.updates(block(2, proxy=reading(100)), 0) == []
    assert again.statuses(BORN, "log", 2) == []
    assert [event.id for event in again.told] == [event.id for event in feeds.told]
    assert prices(again.updates(block(3, answered(101, 2)), 0)) == [("0.00000101", 2)]


def test_a_feed_that_is_configured_no_more_is_forgotten():
    feeds = Feeds(rules())
    feeds.updates(block(1, proxy=reading(100)), 0)
    assert Feeds(Rules(chain="sim", native="ETH"), feeds.state()).state() == b"{}"


def test_what_is_remembered_is_bounded(monkeypatch):
    feeds = Feeds(rules(min_change=Decimal(50)), depth=10)
    feeds.updates(block(1, proxy=reading(1000)), 0)
    for number in range(2, 200):
        feeds.updates(block(number, answered(1000 + number, number)), 0)
    (known,) = feeds.known.values()
    assert len(known.seen) <= 13
    assert prices(feeds.updates(block(200, answered(2000, 200)), 0)) == [("0.00002", 200)]
    monkeypatch.setattr(module, "KEPT", 32)
    deep = Feeds(rules(), depth=10**6)
    deep.updates(block(1, proxy=reading(1000)), 0)
    deep.updates(block(2, *(answered(7, 2 + index, index=index) for index in range(80))), 0)
    assert len(deep.known[PROXY].seen) <= 34


# --- how a feed stands ----------------------------------------------------------------------------------------------


def standing(feeds: Feeds, head: int) -> list[tuple[str, str | None]]:
    return [(event.data.state, event.data.reason) for event in feeds.statuses(head, "log", head * 10**9)]


def test_a_feed_that_is_silent_for_longer_than_its_heartbeat_fails_until_it_answers():
    feeds = Feeds(rules(heartbeat=3600.0))
    assert standing(feeds, BORN) == [], "nothing is known yet"
    feeds.updates(block(1, proxy=reading(100)), 0)
    assert standing(feeds, BORN + 3960) == [("ok", None)], "a tenth is granted"
    assert standing(feeds, BORN + 3961) == [("failing", "no answer for longer than its heartbeat of 60m")]
    assert standing(feeds, BORN + 9999) == []
    assert feeds.vitals()[0]["ready"] is False
    feeds.updates(block(2, answered(100, 2, at=BORN + 9999)), 0)
    assert standing(feeds, BORN + 10_000) == [("ok", None)]
    assert feeds.vitals() == [
        {"name": "chainlink:ETH/USD", "chain": "sim", "state": "ok", "ready": True, "reason": None, "price": "0.000001"}
    ]


def test_what_is_no_feed_fails():
    feeds = Feeds(rules())
    assert feeds.updates(block(1, proxy=None), 0) == []
    assert standing(feeds, BORN) == [("failing", "the contract is no Chainlink feed")]
    feeds.updates(block(5, proxy=reading(1)), 0)
    assert standing(feeds, BORN) == [("ok", None)]


def test_a_feed_without_any_round_fails():
    feeds = Feeds(rules())
    assert feeds.updates(block(1, proxy=reading(None)), 0) == []
    assert standing(feeds, BORN) == [("failing", "the feed has no answer yet")]
    assert prices(feeds.updates(block(2, answered(1, 1)), 0)) == [("0.00000001", 1)]


def test_a_node_that_does_not_tell_is_told_after_a_while():
    feeds = Feeds(rules())
    for number in range(1, UNANSWERED):
        feeds.updates(block(number), 0)
    assert standing(feeds, BORN) == []
    feeds.updates(block(UNANSWERED), 0)
    assert standing(feeds, BORN) == [("failing", "the node does not tell what the feed says")]
