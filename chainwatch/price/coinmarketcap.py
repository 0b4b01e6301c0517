"""
CoinMarketCap's API: `GET /v2/cryptocurrency/quotes/latest` (coinmarketcap.com/api/documentation).

    GET {url}/v2/cryptocurrency/quotes/latest?id=1,1027&convert=USD&skip_invalid=true
    {"status": {"error_code": 0, "error_message": null, "credit_count": 1, …},
     "data": {"1027": {"id": 1027, "slug": "ethereum", "quote": {"USD": {"price": 3120.55, "last_updated": "…Z"}}}}}

Asked by numbers or by slugs, never both at once; `data` has the numbers as keys either way. One currency a request:
the free plan has no more, and others bill each. A request is one credit for each hundred coins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from chainwatch.price.quote import (
    Answer,
    Ask,
    Limited,
    NoPrice,
    Price,
    Request,
    Unusable,
    batches,
    checked_time,
    parse,
    read_price,
    said,
)

URL: Final = "https://pro-api.coinmarketcap.com"
FREE_CALLS: Final = 10_000
"""Credits a month of the basic plan."""

# The API's own error codes, and how long to rest: a minute's limit, the day's, the month's, that of our address.
_LIMITS: Final = {"1008": 60.0, "1009": 3600.0, "1010": 3600.0, "1011": 60.0}
_KEY_ERRORS: Final = frozenset(str(code) for code in range(1001, 1008))
_SPENT: Final = {"1009": "the day's requests are used up", "1010": "the month's requests are used up"}


def requests(asks: Sequence[Ask], url: str | None, key: str | None) -> list[Request]:
    """A request for each currency, apart for numbers and for slugs, up to 100 coins each."""
    base = (url or URL).rstrip("/")
    headers = {} if key is None else {"X-CMC_PRO_API_KEY": key}
    kinds: dict[tuple[str, str], list[Ask]] = {}
    for ask in asks:
        kinds.setdefault(("id" if ask.id.isdecimal() else "slug", ask.quote.upper()), []).append(ask)
    made = []
    for (kind, quote), some in kinds.items():
        for wanted in batches(some):
            query = {kind: ",".join(sorted({ask.id for ask in wanted})), "convert": quote, "skip_invalid": "true"}
            made.append(Request(f"{base}/v2/cryptocurrency/quotes/latest", query, headers, wanted))
    return made


def read(status: int, body: bytes, asks: Sequence[Ask], now: float) -> Answer:
    """The prices of an answer, and what is wrong with the others. `Unusable` where nothing can be used."""
    if status != 200:
        raise _refused(status, body)
    told = parse(body)
    state = told.get("status")
    # A success without data, and with a code, is an error all the same.
    if not isinstance(state, dict) or state.get("error_code") not in ("0", 0) or not isinstance(told.get("data"), dict):
        raise _refused(status, body)
    coins = dict(_coins(told["data"]))
    answer = Answer({}, {})
    for ask in asks:
        try:
            answer.prices[ask] = _price(coins.get(ask.id), ask, now)
        except NoPrice as error:
            answer.problems[ask] = str(error)
    return answer


def _coins(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each coin under its number, and under its slug."""
    for number, coin in data.items():
        yield number, coin
        if isinstance(coin, dict) and type(slug := coin.get("slug")) is str and slug not in data:
            yield slug, coin


def _price(coin: Any, ask: Ask, now: float) -> Price:
    if coin is None:
        raise NoPrice("CoinMarketCap knows no such id")
    quotes = coin.get("quote") if isinstance(coin, dict) else None
    if not isinstance(quotes, dict):
        raise NoPrice("what it says of it cannot be read")
    quote = quotes.get(ask.quote.upper())
    if not isinstance(quote, dict):
        raise NoPrice(f"it has no price in {ask.quote}")
    price = read_price(quote.get("price"))
    at = quote.get("last_updated")
    try:
        when = datetime.fromisoformat(at) if type(at) is str else None
    except ValueError:
        when = None
    if when is None:
        raise NoPrice("it does not say from when its price is")
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return Price(price, checked_time(round((aware - _EPOCH).total_seconds() * 1000), now))


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _refused(status: int, body: bytes) -> Unusable:
    """Why there is no answer: by the code in the body first, which says more than the HTTP status."""
    try:
        told = parse(body)
    except Unusable as unusable:
        if status == 200:
            return unusable
        told = {}
    state = told.get("status")
    code, message = (state.get("error_code"), state.get("error_message")) if isinstance(state, dict) else (None, None)
    words = said(message)
    code = code if isinstance(code, str) else None
    if code in _LIMITS or status == 429:
        return Limited(f"{_SPENT.get(code or '', 'too many requests')}{words}", _LIMITS.get(code or ""))
    number = f"HTTP {status}" if status != 200 else "what cannot be read"
    if status in (401, 402, 403) or code in _KEY_ERRORS:
        return Unusable(f"it does not accept the API key, or the lack of one: {number}{words}")
    return Unusable(f"it answered {number}{words}")
