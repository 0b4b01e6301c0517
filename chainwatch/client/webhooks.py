"""The webhooks of a key, at a daemon: what `chainwatch webhooks` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from chainwatch.client.request import answer, base_url, body, key_headers, open_session
from chainwatch.client.subscription import Trouble, decoded
from chainwatch.errors import ChainwatchError

_SILENCE: Final = 15.0
_MAX_ANSWER: Final = 4 * 1024 * 1024

_ANY: Final = msgspec.json.Decoder(dict[str, Any])

Told = dict[str, Any]
"""A webhook as `GET /webhooks/{webhook}` describes it."""


async def put(
    url: str, name: str, receiver: str, words: Mapping[str, Sequence[str]], *, secret: str | None, key: str | None
) -> Told:
    """
    Add the webhook `name`, or change it: `receiver` is its URL, `words` the stream parameters. The daemon has called
    the receiver with a challenge when this returns. Where `secret` is None and it is new, the answer has one.
    """
    given: dict[str, Any] = {"url": receiver, **{word: list(texts) for word, texts in words.items()}}
    if secret is not None:
        given["secret"] = secret
    return await _ask(url, "PUT", _path(name), key, given)


async def listed(url: str, *, key: str | None) -> list[Told]:
    """The webhooks of this key; of one that may `admin`, those of the configuration too."""
    found: list[Told] = (await _ask(url, "GET", "/webhooks", key)).get("webhooks", [])
    return found


async def show(url: str, name: str, *, key: str | None) -> tuple[Told, list[Told]]:
    """How it stands, and its dead letters, oldest first: each with its `event`."""
    told = await _ask(url, "GET", _path(name), key)
    letters: list[Told] = (await _ask(url, "GET", f"{_path(name)}/dead-letters", key)).get("dead_letters", [])
    return told, letters


async def resume(url: str, name: str, *, key: str | None) -> Told:
    """End its pause; the next attempt is made now."""
    return await _ask(url, "POST", f"{_path(name)}/resume", key)


async def redeliver(url: str, name: str, *, key: str | None) -> Told:
    """Have dead letters sent again for a few seconds: `accepted`, `left`, `fault`, `status`, `webhook`."""
    return await _ask(url, "POST", f"{_path(name)}/dead-letters", key)


async def discard(url: str, name: str, *, key: str | None) -> None:
    """Forget its dead letters."""
    await _ask(url, "DELETE", f"{_path(name)}/dead-letters", key)


async def remove(url: str, name: str, *, key: str | None) -> None:
    """Forget it."""
    await _ask(url, "DELETE", _path(name), key)


async def test(url: str, name: str, *, key: str | None) -> Told:
    """Have it called now: `accepted`, `fault`, `status`, `milliseconds`, `webhook`."""
    return await _ask(url, "POST", f"{_path(name)}/test", key)


def _path(name: str) -> str:
    return f"/webhooks/{quote(name, safe='')}"


async def _ask(url: str, method: str, path: str, key: str | None, given: Mapping[str, Any] | None = None) -> Told:
    base, posted = base_url(url), None if given is None else msgspec.json.encode(given)
    async with open_session(_SILENCE) as session:
        try:
            async with answer(session, base, path, (), key_headers(key), posted=posted, method=method) as response:
                if response.status == 204:
                    return {}
                return decoded(await body(response, base, _MAX_ANSWER), _ANY, base)
        except Trouble as trouble:
            raise trouble.fatal or ChainwatchError(trouble.reason, hint=trouble.hint) from None
