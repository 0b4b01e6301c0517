"""CoinMarketCap's API: what is asked, and how its answers are read, the bad ones too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from chainwatch.price.coinmarketcap import read, requests
from chainwatch.price.quote import Ask, Limited, Price, Unusable

NOW = 1_711_356_360.0
ETH, BTC = Ask("1027", "USD"), Ask("1", "USD")
SLUG = Ask("ethereum", "USD")


def coin(
    number: int, slug: str, price: Any = 3120.55, at: Any = "2024-03-25T08:45:00.000Z", quote: str = "USD"
) -> dict:
    quotes = {quote: {"price": price, "volume_24h": 1, "percent_change_1h": -0.1, "last_updated": at}}
    return {"id": number, "name": slug.title(), "symbol": "X", "slug": slug, "last_updated": at, "quote": quotes}


def answer(*coins: dict, code: Any = 0, message: str | None = None) -> bytes:
    status = {"timestamp": "2024-03-25T08:46:00.000Z", "error_code": code, "error_message": message, "elapsed": 10,
              "credit_count": 1}  # fmt: skip
    return json.dumps({"status": status, "data": {str(one["id"]): one for one in coins}}).encode()


def test_numbers_and_slugs_and_currencies_are_asked_for_apart():
    asks = [ETH, SLUG, BTC, Ask("1", "eur")]
    made = requests(asks, None, "b54bcf4d-secret")
    assert [request.query for request in made] == [
        {"id": "1,1027", "convert": "USD", "skip_invalid": "true"},
        {"slug": "ethereum", "convert": "USD", "skip_invalid": "true"},
        {"id": "1", "convert": "EUR", "skip_invalid": "true"},
    ]
    assert {request.url for request in made} == {"https://pro-api.coinmarketcap.com/v2/cryptocurrency/quotes/latest"}
    assert {request.headers["X-CMC_PRO_API_KEY"] for request in made} == {"b54bcf4d-secret"}


def test_another_address_gets_the_same_path():
    (request,) = requests([ETH], "http://127.0.0.1:9/cmc/", None)
    assert request.url == "http://127.0.0.1:9/cmc/v2/cryptocurrency/quotes/latest"
    assert request.headers == {}


def test_prices_are_read_by_number_and_by_slug():
    body = answer(coin(1027, "ethereum"), coin(1, "bitcoin", at="2024-03-25T08:45:30Z"))
    told = read(200, body, [ETH, BTC, SLUG], NOW)
    at = 1_711_356_300_000
    assert told.prices == {ETH: Price("3120.55", at), BTC: Price("3120.55", at + 30_000), SLUG: Price("3120.55", at)}
    assert told.problems == {}


def test_small_prices_are_written_out():
    body = answer(coin(1027, "ethereum", 1e-8)).replace(b"1e-08", b"1.2300e-08")
    assert read(200, body, [ETH], NOW).prices[ETH].price == "0.000000012300"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (coin(2, "other"), "CoinMarketCap knows no such id"),
        (coin(1027, "ethereum", None), "it has no price"),
        (coin(1027, "ethereum", "3"), "its price is no number"),
        (coin(1027, "ethereum", -3), "its price cannot be meant: -3"),
        (coin(1027, "ethereum", quote="EUR"), "it has no price in USD"),
        (coin(1027, "ethereum", at=None), "it does not say from when its price is"),
        (coin(1027, "ethereum", at=1711356300), "it does not say from when its price is"),
        (coin(1027, "ethereum", at="yesterday"), "it does not say from when its price is"),
        (coin(1027, "ethereum", at="9999-12-31T23:59:59Z"), "its time cannot be meant"),
        (coin(1027, "ethereum", at="0001-01-01T00:00:00+23:59"), "its time cannot be meant"),
        ({"id": 1027, "quote": []}, "what it says of it cannot be read"),
        ({"id": 1027, "slug": 5, "quote": {"USD": 3}}, "it has no price in USD"),
    ],
)
def test_each_bad_price_has_its_words_and_the_others_count(bad, words):
    told = read(200, answer(bad, coin(1, "bitcoin")), [ETH, BTC], NOW)
    assert told.problems == {ETH: words}
    assert BTC in told.prices


@pytest.mark.parametrize(
    ("status", "code", "message", "words", "rest"),
    [
        (429, 1008, "You've exceeded your API Key's HTTP request rate limit.",
         "too many requests (You've exceeded your API Key's HTTP request rate limit.)", 60),
        (429, 1009, None, "the day's requests are used up", 3600),
        (429, 1010, None, "the month's requests are used up", 3600),
        (200, 1011, "ip", "too many requests (ip)", 60),
        (429, None, None, "too many requests", None),
    ],
)  # fmt: skip
def test_limits_say_which_and_for_how_long(status, code, message, words, rest):
    with pytest.raises(Limited) as caught:
        read(status, answer(code=code, message=message), [ETH], NOW)
    assert (str(caught.value), caught.value.rest) == (words, rest)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, answer(code=1001, message="This API Key is invalid."),
         "it does not accept the API key, or the lack of one: HTTP 401 (This API Key is invalid.)"),
        (402, b"", "it does not accept the API key, or the lack of one: HTTP 402"),
        (200, answer(code=1006), "it does not accept the API key, or the lack of one: what cannot be read"),
        (400, answer(code=400, message='"slug" is invalid'), 'it answered HTTP 400 ("slug" is invalid)'),
        (500, b"<html>", "it answered HTTP 500"),
        (200, b"<html>", "it answered with a web page"),
        (200, answer()[:-9], "its answer is no JSON, or not all of it"),
        (200, b'{"data":{}}', "it answered what cannot be read"),
        (200, b'{"status":{"error_code":0},"data":[]}', "it answered what cannot be read"),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_used_says_why(status, body, words):
    with pytest.raises(Unusable) as caught:
        read(status, body, [ETH], NOW)
    assert str(caught.value) == words
    assert not isinstance(caught.value, Limited)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["quote", "USD", "price", "last_updated", "slug", "error_code"]), inner)
    ),
    max_leaves=6,
)


@given(anything, anything, st.sampled_from([200, 400, 429]))
def test_no_answer_is_met_by_anything_but_a_price_a_problem_or_an_error(data, state, status):
    body = json.dumps({"status": state, "data": {"1027": data, "1": data}}).encode()
    try:
        told = read(status, body, [ETH, BTC, SLUG], NOW)
    except Unusable:
        return
    assert told.prices.keys() | told.problems.keys() == {ETH, BTC, SLUG}
