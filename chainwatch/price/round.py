"""One round: all the requests that the prices of a source need, and what came of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from chainwatch.price.fetch import Fetcher
from chainwatch.price.quote import Answer, Ask, Limited, Price, Request, Unusable, rest_of
from chainwatch.price.source import Outcome
from chainwatch.text import HIDDEN, printable, redact

NAMED: Final = 5
"""Prices that a reason names one by one."""

Read = Callable[[int, bytes, Sequence[Ask], float], Answer]
"""How an API's answers are read: HTTP status, body, what was asked for, Unix time."""


async def ask_all(
    fetcher: Fetcher, requests: Sequence[Request], read: Read, key: str | None
) -> tuple[dict[Ask, Price], Outcome]:
    """The prices, and how it went. A request that fails does not take the others with it, unless it was too many."""
    prices: dict[Ask, Price] = {}
    problems: dict[Ask, str] = {}
    trouble: str | None = None
    rest: float | None = None
    for request in requests:
        try:
            reply = await fetcher.get(request)
            now = time.time()
            if reply.status != 200:
                rest = rest_of(reply.retry_after, now)
            answer = read(reply.status, _without(key, reply.body), request.asks, now)
        except Limited as limited:
            longest = max(rest or 0.0, limited.rest or 0.0)
            return prices, Outcome(trouble=_clean(key, limited), limited=True, rest=longest)
        except Unusable as unusable:
            trouble = _clean(key, unusable)
        else:
            prices |= answer.prices
            problems |= answer.problems
    return prices, Outcome(_words(problems), trouble, rest=rest)


def _without(key: str | None, body: bytes) -> bytes:
    """The answer without our key: some quote the key that they do not know."""
    return body if key is None else body.replace(key.encode(), HIDDEN.encode())


def _clean(key: str | None, error: Unusable) -> str:
    shown = redact(str(error))
    return shown if key is None else shown.replace(key, HIDDEN)


def _words(problems: Mapping[Ask, str]) -> tuple[str, ...]:
    named = [f"{printable(ask.id, 64)} in {ask.quote}: {problem}" for ask, problem in problems.items()]
    more = len(named) - NAMED
    return (*named[:NAMED], f"{more} more") if more > 0 else tuple(named)
