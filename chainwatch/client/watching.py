"""How a daemon is, for as long as somebody looks; and what its wallets hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from chainwatch import sse
from chainwatch.client.request import answer, base_url, body, chunk, key_headers, open_session
from chainwatch.client.subscription import Backoff, Connected, Note, OnNote, Trouble, Waiting, decoded
from chainwatch.errors import BadAnswer, ChainwatchError
from chainwatch.text import redact_url

SILENCE: Final = 6.0
"""Seconds without a snapshot, of which one comes a second, after which a daemon is given up."""
_MAX_BYTES: Final = 16 * 1024 * 1024


def _no_one(_: Note) -> None:
    """Hears the notes that nobody asked for."""


async def snapshots(url: str, *, key: str | None = None, on_note: OnNote | None = None) -> AsyncGenerator[bytes]:
    """
    The JSON of `GET /v1/stats` once a second, for ever, as it came. Of several that came together only the newest is
    given. Raises what `stream` raises.
    """
    base, headers, note = base_url(url), key_headers(key), on_note or _no_one
    backoff, reached = Backoff(), False
    async with open_session(SILENCE) as session:
        while True:
            try:
                async with answer(session, base, "/v1/stats", (), headers, wanted=sse.MEDIA_TYPE) as response:
                    note(Connected("", again=reached))
                    reached = True
                    parser = sse.Parser(max_bytes=_MAX_BYTES)
                    while True:
                        messages = parser.feed(await chunk(response, base, SILENCE))
                        backoff.asked = (parser.retry or 0) / 1000
                        told = [message.data for message in messages if message.event == "message"]
                        if told:
                            backoff.succeeded()
                            yield told[-1].encode()
                        _go_on(messages)
            except sse.Oversize as error:
                raise BadAnswer(f"{redact_url(base)} sent {error}") from None
            except Trouble as trouble:
                if trouble.fatal is not None and not reached:
                    raise trouble.fatal from None
                seconds = backoff.failed(trouble.retry_after)
                note(Waiting(trouble.reason, seconds))
            await asyncio.sleep(seconds)


def _go_on(messages: list[sse.Message]) -> None:
    if any(message.event == "complete" for message in messages):
        raise Trouble("the daemon ended the stream", fatal=None)


class Holding(msgspec.Struct, frozen=True):
    """What a wallet has of one token."""

    token: str | None = None
    token_address: str | None = None
    """None: the chain's own currency."""
    decimals: int | None = None
    balance: str = "0"
    """Base units."""


class Wallet(msgspec.Struct, frozen=True):
    """A watched wallet on one chain."""

    address: str
    chain: str
    name: str = ""
    state: str = ""
    """`syncing`, `watching`."""
    balances: tuple[Holding, ...] = ()
    """As they were told last."""


class _Wallets(msgspec.Struct):
    wallets: tuple[Wallet, ...]


_WALLETS: Final = msgspec.json.Decoder(_Wallets)


async def wallets(url: str, *, key: str | None = None) -> tuple[Wallet, ...]:
    """The watched wallets that the key may see, `GET /v1/wallets`; asked once. Raises what `stats` raises."""
    base = base_url(url)
    async with open_session(SILENCE) as session:
        try:
            async with answer(session, base, "/v1/wallets", (), key_headers(key)) as response:
                return decoded(await body(response, base, _MAX_BYTES), _WALLETS, base).wallets
        except Trouble as trouble:
            raise trouble.fatal or ChainwatchError(trouble.reason, hint=trouble.hint) from None
