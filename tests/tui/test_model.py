"""What the panes say, from what a daemon said: without a daemon, and without a screen."""

from __future__ import annotations

import json

import pytest
from tui.stage import ALICE, NOW, model, price, statistics, wallets

from chainwatch.event import encode, retraction
from chainwatch.tui import tables, vitals
from chainwatch.tui.eventlist import drawn, event_of
from chainwatch.tui.model import Model, Rates
from chainwatch.tui.prices import Prices


def rows(table):
    return [[cell.text.strip() for cell in row.cells] for row in table.rows]


def test_a_rate_is_taken_over_the_newest_seconds_and_begins_anew_with_the_daemon():
    rates = Rates()
    assert rates.of("events") is None
    for second, count in enumerate((0, 100, 200, 300, 400, 500, 5500)):
        rates.count(float(second), {"events": count})
    assert rates.of("events") == pytest.approx(5400 / 5)
    rates.count(7.0, {"events": 10})
    assert rates.of("events") is None
    rates.count(8.0, {"events": 14})
    assert rates.of("events") == 4
    rates.count(9.0, {})
    assert rates.of("events") is None


def test_the_chain_that_is_furthest_behind_counts():
    assert model().behind == 13
    assert Model("x").behind is None


@pytest.mark.parametrize(("order", "names"), [("name", ["base", "ethereum"]), ("lag", ["ethereum", "base"])])
def test_chains_are_sorted_with_their_endpoints_below_them(order, names):
    told = rows(tables.chains(model(), order, NOW))
    assert [row[0] for row in told if row[0][0] not in "├└"] == names
    assert told[0][0] == names[0]
    assert told[1][0].startswith("├")


def test_an_endpoint_says_how_it_is():
    told = rows(tables.chains(model(), "RTT", NOW))
    assert told[0][:4] == ["ethereum", "● connected", "22,771,040", "13s"]
    assert told[0][-1] == "2 reorgs"
    assert told[1][:5] == ["├ https://eth.drpc.org", "● ready", "22,771,039", "1 bl", "112/348 ms"]
    assert told[1][-1] == "3 reconn."


@pytest.mark.parametrize(
    ("order", "keys"),
    [
        ("lag", ["-", "agent", "payments", "dashboard"]),
        ("rate", ["-", "dashboard", "payments", "agent"]),
        ("sent", ["-", "dashboard", "payments", "agent"]),
        ("key", ["-", "agent", "dashboard", "payments"]),
    ],
)
def test_streams_are_sorted(order, keys):
    assert [row[0] for row in rows(tables.streams(model(), order, NOW))] == keys


def test_a_stream_says_who_wants_what_and_how_fast():
    told = rows(tables.streams(model(), "key", NOW))[-1]
    filter_ = "token_transfer wallet_incoming address=0xd8da…6045"
    assert told == ["payments", "10.0.0.1:51001", filter_, "● live", "0", "3.0/s", "81,234", "0 B"]


def test_prices_and_wallets_stand_together_and_a_source_in_trouble_is_named():
    told = rows(tables.held(model(), "name", NOW))
    assert told[0][:4] == ["BTC/USD", "104,112.5", "", ""]
    assert told[1][:4] == ["ETH/USD", "2,407", "", "▼ 0.41%"]
    assert told[2][0] == "coingecko:bitcoin"
    assert told[2][5] == "▲ limited"
    assert told[3][:3] == ["treasury", "10,449.8608…", "ETH"]
    assert told[4][1:3] == ["4,988,609.3305…", "USDC"]
    assert told[5][0] == "0x28C6…1d60"
    whole = tables.held(model(), "name", NOW).rows[3].text
    assert "balance: 10449.860871226071234567" in whole  # what is cut for a glance is not cut in full


def test_wallets_of_several_chains_say_which():
    known = model()
    known.wallets += tuple(
        type(one)(address=one.address, chain="base", name=one.name, balances=one.balances) for one in wallets()[:1]
    )
    names = [row[0] for row in rows(tables.held(known, "name", NOW))]
    assert "treasury on base" in names
    assert "treasury on ethereum" in names


def test_the_log_says_how_large_how_old_how_fast():
    told = dict(rows(tables.log(model(), "", NOW)))
    assert told["age"] == "the oldest is 6d old"
    assert told["writes"] == "2.0/s, the last took 0.74 ms"
    assert told["to disk"] == "p50 4.1 ms, p99 19 ms from arrival"


def test_what_is_copied_of_a_row_has_everything():
    row = tables.held(model(), "name", NOW).rows[3]
    assert f"address: {ALICE}" in row.text.split("\n")
    assert "balance: 10449.860871226071234567" in row.text.split("\n")


def test_a_daemon_of_another_version_is_drawn_as_far_as_it_goes():
    bare = vitals.read(b'{"chains":[{"name":"x","endpoints":[{}]}],"streams":{"list":[{}]},"sources":[{}],"news":1}')
    known = Model("x")
    known.hear(bare)
    for draw, orders in ((tables.chains, tables.CHAIN_ORDERS), (tables.streams, tables.STREAM_ORDERS)):
        for order in orders:
            assert draw(known, order, NOW).rows
    assert tables.held(known, "name", NOW).rows
    assert tables.log(known, "", NOW).rows


def test_a_snapshot_of_the_server_is_understood_whole():
    known = vitals.read(json.dumps(statistics()).encode())
    assert known.chains[0].endpoints[0].rtt_p95_seconds == 0.081
    assert known.latency("arrival_to_socket", "p99") == 23.7


# --- prices ---------------------------------------------------------------------------------------------------------


def test_a_retracted_price_leaves_the_one_before_it():
    prices, first, second = Prices(), price(1, "2400", None), price(2, "2500", "+4.1667")
    for line in (first, second):
        assert not prices.take(line)
    [newest] = prices
    assert (newest.pair, newest.price, newest.change, newest.past) == ("ETH/USD", "2500", "+4.1667", (2400, 2500))
    from chainwatch.event import decode

    prices.take(encode(retraction(decode(second), "2025-06-24T07:00:00.000Z")))
    [newest] = prices
    assert (newest.price, newest.past) == ("2400", (2400,))
    prices.take(encode(retraction(decode(first), "2025-06-24T07:00:00.000Z")))
    assert list(prices) == []


@pytest.mark.parametrize(
    "line", [b"", b"[", b'"text"', b'{"type": "price_update"}', b'{"type": "\xff\xfe"}', b"[" * 5000]
)
def test_a_line_that_is_no_event_is_nothing(line):
    assert not Prices().take(line)
    assert event_of(line) is None
    known = model()
    known.take([line], "")
    assert known.custom_types() == set()


@pytest.mark.parametrize("value", ["inf", "nan", "-1e999", "x", "", "1" * 5000])
def test_a_price_that_is_no_number_is_only_text(value):
    known = model()
    for number in range(3):
        known.prices.take(price(40 + number, value, value))
    assert tables.held(known, "change", NOW).rows


def test_pairs_are_bounded_in_number():
    prices = Prices()
    for number in range(2000):
        prices.take(price(number, "1", None, pair=f"T{number}"))
    assert len(list(prices)) == 500


@pytest.mark.parametrize("line", [b"", b"{}", b"[" * 10_000, b'{"type":"price_update"}', b"\xff\xfe"])
def test_what_is_no_event_is_passed_over_and_drawn_as_such(line):
    assert not Prices().take(line)
    assert drawn(line, 80, 8)[0].text.startswith("✖ no event: ")
