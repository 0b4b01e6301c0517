"""
What a client has to say becomes an event of the daemon's log: once, however often it has to be sent.

A connection that breaks before the answer leaves open whether the event was told. So each publication has an
`Idempotency-Key`, and is sent again with the same until it is answered: the daemon makes one event of all of them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from chainwatch.client.request import answer, base_url, body, key_headers, open_session
from chainwatch.client.subscription import Backoff, OnNote, Trouble, Waiting, decoded
from chainwatch.errors import Unreachable, UsageError
from chainwatch.text import printable, redact_url

_SILENCE: Final = 15.0
_MAX_ANSWER: Final = 64 * 1024


class Receipt(NamedTuple):
    """An event is durable."""

    id: str
    cursor: str
    """Of the event: a stream that begins behind it does not have it."""
    replayed: bool
    """It was published before, with the same idempotency key."""


class _Told(msgspec.Struct):
    id: str
    cursor: str


_TOLD: Final = msgspec.json.Decoder(_Told)


async def send(
    url: str,
    kind: str,
    data: Mapping[str, Any],
    *,
    idempotency_key: str | None = None,
    timeout: float = 60.0,  # noqa: ASYNC109  # of all attempts, and its end has something to say
    key: str | None = None,
    on_note: OnNote | None = None,
) -> Receipt:
    """
    Publish `data` as an event of the custom type `kind`. It is durable when this returns.

    A lost connection and a daemon that asks for patience are tried again with the same `idempotency_key` (made up
    unless given) for `timeout` seconds. `Unreachable` then, or at once where nobody is there; `UsageError` and
    `Refused` where the daemon will not have it.
    """
    base, again = base_url(url), idempotency_key or f"cw-{secrets.token_hex(16)}"
    if not (again.isascii() and again.isprintable()):
        raise UsageError(f"{printable(again, 80)!r} is no idempotency key", parameter="idempotency_key", value=again)
    headers = key_headers(key) | {"Idempotency-Key": again}
    path, posted = f"/events/{quote(kind, safe='')}", _json(data)
    backoff, ends_at, sent = Backoff(), time.monotonic() + timeout, False
    async with open_session(_SILENCE) as session:
        while True:
            try:
                async with answer(session, base, path, (), headers, posted=posted) as response:
                    replayed = response.headers.get("Idempotent-Replayed") == "true"
                    told = decoded(await body(response, base, _MAX_ANSWER), _TOLD, base)
                    return Receipt(told.id, told.cursor, replayed)
            except Trouble as trouble:
                if trouble.fatal is not None and not sent:
                    raise trouble.fatal from None
                sent, seconds = True, backoff.failed(trouble.retry_after)
                if time.monotonic() + seconds > ends_at:
                    raise Unreachable(
                        f"no answer from {redact_url(base)} within {timeout:g}s: {kind} may have been told, or not",
                        why=trouble.reason,
                        hint=f"send it again with the idempotency key {again}: that never makes two of it",
                    ) from None
                if on_note is not None:
                    on_note(Waiting(trouble.reason, seconds))
            await asyncio.sleep(seconds)


def _json(data: Mapping[str, Any]) -> bytes:
    """`UsageError` for what JSON has no words for: msgspec alone would make `null` of a number that is none."""
    try:
        return json.dumps(msgspec.to_builtins(data, str_keys=True), allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        wrong = "half of a surrogate pair in a text"
    except ValueError:
        wrong = "a number that is not finite (NaN, Infinity)"
    raise UsageError(f"the data has {wrong}, which is no JSON", parameter="data")
