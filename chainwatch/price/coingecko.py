"""
CoinGecko's API, version 3: `GET /simple/price` (docs.coingecko.com).

    GET {url}/simple/price?ids=ethereum,bitcoin&vs_currencies=usd&include_last_updated_at=true&precision=full
    {"ethereum": {"usd": 3120.5512, "last_updated_at": 1711356300}, "bitcoin": {…}}

An id that it does not know is just not there. A demo key goes to api.coingecko.com, one of a paid plan to
pro-api.coingecko.com, each in a header of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from chainwatch.price.quote import (
    Answer,
    Ask,
    Limited,
    NoPrice,
    Number,
    Price,
    Request,
    Unusable,
    batches,
    checked_time,
    parse,
    read_price,
    said,
)

URL: Final = "https://api.coingecko.com/api/v3"
FREE_CALLS: Final = 10_000
"""Calls a month of the demo plan."""


def requests(asks: Sequence[Ask], url: str | None, key: str | None) -> list[Request]:
    """One request for all, up to 100 ids each."""
    base = (url or URL).rstrip("/")
    paid = (urlsplit(base).hostname or "").startswith("pro-api.")
    headers = {} if key is None else {"x-cg-pro-api-key" if paid else "x-cg-demo-api-key": key}
    made = []
    for ids in batches(sorted({ask.id for ask in asks})):
        wanted = tuple(ask for ask in asks if ask.id in ids)
        query = {
            "ids": ",".join(ids),
            "vs_currencies": ",".join(sorted({ask.quote.lower() for ask in wanted})),
            "include_last_updated_at": "true",
            "precision": "full",
        }
        made.append(Request(f"{base}/simple/price", query, headers, wanted))
    return made


def read(status: int, body: bytes, asks: Sequence[Ask], now: float) -> Answer:
    """The prices of an answer, and what is wrong with the others. `Unusable` where nothing can be used."""
    if status != 200:
        raise _refused(status, body)
    told = parse(body)
    answer = Answer({}, {})
    for ask in asks:
        try:
            answer.prices[ask] = _price(told.get(ask.id), ask, now)
        except NoPrice as error:
            answer.problems[ask] = str(error)
    if not answer.prices and isinstance(told.get("status"), dict):  # an error that came as a success
        raise _refused(status, body)
    return answer


def _price(coin: Any, ask: Ask, now: float) -> Price:
    if coin is None:
        raise NoPrice("CoinGecko knows no such id")
    if not isinstance(coin, dict):
        raise NoPrice("what it says of it cannot be read")
    if ask.quote.lower() not in coin:
        raise NoPrice(f"it has no price in {ask.quote}")
    price = read_price(coin[ask.quote.lower()])
    at = coin.get("last_updated_at")
    if not isinstance(at, Number) or not at.isdecimal() or len(at) > 12:
        raise NoPrice("it does not say from when its price is")
    return Price(price, checked_time(int(at) * 1000, now))


def _refused(status: int, body: bytes) -> Unusable:
    """
    Why there is no answer. CoinGecko's errors are `{"status": {"error_code": 429, "error_message": "…"}}` or
    `{"error": "…"}`.
    """
    try:
        told = parse(body)
    except Unusable:
        told = {}
    inner = told.get("status")
    code, message = (inner.get("error_code"), inner.get("error_message")) if isinstance(inner, dict) else (None, None)
    words = said(message or told.get("error"))
    if status == 429 or code == "429":
        return Limited(f"too many requests{words}")
    number = f"HTTP {status}" if status != 200 else "an error"
    if status in (401, 403) or code in ("10002", "10010", "10011"):
        return Unusable(f"it does not accept the API key, or the lack of one: {number}{words}")
    return Unusable(f"it answered {number}{words}")
