"""CoinGecko's API: what is asked, and how its answers are read, the bad ones too."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from chainwatch.price.coingecko import read, requests
from chainwatch.price.quote import Ask, Limited, Price, Unusable

NOW = 1_711_356_360.0
ETH, BTC, EUR = Ask("ethereum", "USD"), Ask("bitcoin", "USD"), Ask("ethereum", "EUR")
# As the API reference shows it.
ANSWER = (
    b'{"ethereum":{"usd":3120.551234567891,"eur":2880.5,"last_updated_at":1711356300},'
    b'"bitcoin":{"usd":67187.3358936566,"eur":62000.1,"last_updated_at":1711356299}}'
)


def problem(body: bytes, ask: Ask = ETH) -> str:
    answer = read(200, body, [ask, BTC], NOW)
    assert BTC in answer.prices, "the others of a batch count"
    assert ask not in answer.prices
    return answer.problems[ask]


def one(**fields) -> bytes:
    return json.dumps({"ethereum": fields, "bitcoin": {"usd": 1, "last_updated_at": 1711356300}}).encode()


def test_all_prices_are_asked_for_at_once():
    (request,) = requests([ETH, BTC, EUR], None, None)
    assert request.url == "https://api.coingecko.com/api/v3/simple/price"
    assert request.query == {
        "ids": "bitcoin,ethereum",
        "vs_currencies": "eur,usd",
        "include_last_updated_at": "true",
        "precision": "full",
    }
    assert request.headers == {}
    assert request.asks == (ETH, BTC, EUR)


@pytest.mark.parametrize(
    ("url", "header"),
    [
        (None, "x-cg-demo-api-key"),
        ("https://api.coingecko.com/api/v3/", "x-cg-demo-api-key"),
        ("https://pro-api.coingecko.com/api/v3", "x-cg-pro-api-key"),
        ("http://127.0.0.1:81/pro-api.x/", "x-cg-demo-api-key"),
    ],
)
def test_the_key_goes_into_the_header_of_its_plan(url, header):
    (request,) = requests([ETH], url, "CG-secret")
    assert request.headers == {header: "CG-secret"}
    assert "secret" not in request.url + str(request.query)
    assert request.url.endswith("/simple/price")
    assert "//simple" not in request.url


def test_many_ids_are_several_requests():
    asks = [Ask(f"coin-{number}", "USD") for number in range(250)]
    made = requests(asks, None, None)
    assert [len(request.asks) for request in made] == [100, 100, 50]
    assert sorted(ask for request in made for ask in request.asks) == sorted(asks)


def test_prices_are_read_to_the_last_digit():
    answer = read(200, ANSWER, [ETH, BTC, EUR], NOW)
    assert answer.prices == {
        ETH: Price("3120.551234567891", 1_711_356_300_000),
        BTC: Price("67187.3358936566", 1_711_356_299_000),
        EUR: Price("2880.5", 1_711_356_300_000),
    }
    assert answer.problems == {}


def test_a_price_that_no_float_can_hold_is_read_exactly():
    body = b'{"ethereum":{"usd":1234567890123.123456789012345678,"last_updated_at":1711356300}}'
    assert read(200, body, [ETH], NOW).prices[ETH].price == "1234567890123.123456789012345678"


def test_an_unknown_id_is_named_and_the_others_count():
    assert problem(b'{"bitcoin":{"usd":1,"last_updated_at":1711356300}}') == "CoinGecko knows no such id"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"last_updated_at": 1711356300}, "it has no price in USD"),
        ({"usd": None, "last_updated_at": 1711356300}, "it has no price"),
        ({"usd": "3120", "last_updated_at": 1711356300}, "its price is no number"),
        ({"usd": True, "last_updated_at": 1711356300}, "its price is no number"),
        ({"usd": [1], "last_updated_at": 1711356300}, "its price is no number"),
        ({"usd": -1, "last_updated_at": 1711356300}, "its price cannot be meant: -1"),
        ({"usd": 0, "last_updated_at": 1711356300}, "its price cannot be meant: 0"),
        ({"usd": 10**70, "last_updated_at": 1711356300}, "its price cannot be meant: " + "1" + "0" * 38 + "…"),
        ({"usd": 1}, "it does not say from when its price is"),
        ({"usd": 1, "last_updated_at": None}, "it does not say from when its price is"),
        ({"usd": 1, "last_updated_at": "1711356300"}, "it does not say from when its price is"),
        ({"usd": 1, "last_updated_at": 1.5}, "it does not say from when its price is"),
        ({"usd": 1, "last_updated_at": -5}, "it does not say from when its price is"),
        ({"usd": 1, "last_updated_at": 10**30}, "it does not say from when its price is"),
        ({"usd": 1, "last_updated_at": 1711360000}, "its time cannot be meant"),
        ({"usd": 1, "last_updated_at": 0}, "its time cannot be meant"),
    ],
)
def test_each_bad_price_has_its_words(fields, words):
    assert problem(one(**fields)) == words


def test_a_coin_that_is_no_object_cannot_be_read():
    assert problem(b'{"ethereum":[],"bitcoin":{"usd":1,"last_updated_at":1711356300}}') == (
        "what it says of it cannot be read"
    )


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<!DOCTYPE html><html>", "it answered with a web page"),
        (200, ANSWER[:60], "its answer is no JSON, or not all of it"),
        (200, b"", "its answer is no JSON, or not all of it"),
        (200, b"\xff\xfe{}", "its answer is no JSON, or not all of it"),
        (200, b"[" * 100_000, "its answer has more parts than prices can have"),
        (200, b'{"a":' * 65 + b"1" + b"}" * 65, "its answer has more parts than prices can have"),
        (200, b'{"a":' * 64 + b"1" + b"}" * 63, "its answer is no JSON, or not all of it"),
        (200, b"[]," * 300_000, "its answer has more parts than prices can have"),
        (200, b'{"' + b'\\"[' * 300_000, "its answer is no JSON, or not all of it"),
        (200, b'{"ethereum":{"usd":NaN}}', "its answer is no JSON, or not all of it"),
        (200, b"[]", "its answer is no JSON object"),
        (500, b"", "it answered HTTP 500"),
        (502, b"<html>Bad gateway</html>", "it answered HTTP 502"),
        (403, b'{"status":{"error_code":10005,"error_message":"Pro only"}}',
         "it does not accept the API key, or the lack of one: HTTP 403 (Pro only)"),
        (400, b'{"status":{"error_code":10010,"error_message":"use pro-api"}}',
         "it does not accept the API key, or the lack of one: HTTP 400 (use pro-api)"),
        (422, b'{"error":"Missing parameter vs_currencies"}', "it answered HTTP 422 (Missing parameter vs_currencies)"),
        (422, b'{"error":"a\\u001b[2Jb"}', "it answered HTTP 422 (a\\u001b[2Jb)"),
        (422, b'{"error":["x"],"status":7}', "it answered HTTP 422"),
        (200, b'{"status":{"error_code":1,"error_message":"no"}}', "it answered an error (no)"),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_used_says_why(status, body, words):
    with pytest.raises(Unusable) as caught:
        read(status, body, [ETH], NOW)
    assert str(caught.value) == words
    assert not isinstance(caught.value, Limited)


@pytest.mark.parametrize("status", [200, 429])
def test_too_many_requests_are_told_from_other_errors(status):
    body = b'{"status":{"error_code":429,"error_message":"You have exceeded the Rate Limit."}}'
    with pytest.raises(Limited, match=r"^too many requests \(You have exceeded the Rate Limit.\)$"):
        read(status, body, [ETH], NOW)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["usd", "last_updated_at", "status", "x"]), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["ethereum", "bitcoin", "status", "error"]), anything),
    st.sampled_from([200, 429, 500]),
)
def test_no_answer_is_met_by_anything_but_a_price_a_problem_or_an_error(told, status):
    try:
        answer = read(status, json.dumps(told).encode(), [ETH, BTC], NOW)
    except Unusable:
        return
    assert answer.prices.keys() | answer.problems.keys() == {ETH, BTC}
    assert not answer.prices.keys() & answer.problems.keys()


@given(st.binary(max_size=200))
def test_no_bytes_are_met_by_another_error(body):
    with pytest.raises(Unusable):
        read(200, b"\x00" + body, [ETH], NOW)
