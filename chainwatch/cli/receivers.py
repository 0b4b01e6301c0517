"""What the names of receivers mean now, for people: `config check --online`. Nobody is called."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from chainwatch.cli.probes import Verdict
from chainwatch.text import printable, redact_url

if TYPE_CHECKING:
    from chainwatch.config.webhooks import WebhookSettings

_PATIENCE: Final = 10.0
"""Seconds for all look-ups, side by side: as long as a request may take."""


class Meant(NamedTuple):
    """What was found of one receiver."""

    webhook: WebhookSettings
    verdict: Verdict
    told: str


def looked_up(webhooks: Sequence[WebhookSettings]) -> list[Meant]:
    """The addresses of each, in their order."""
    return asyncio.run(_all(webhooks))


async def _all(webhooks: Sequence[WebhookSettings]) -> list[Meant]:
    return list(await asyncio.gather(*map(_one, webhooks)))


async def _one(webhook: WebhookSettings) -> Meant:
    from chainwatch.config import target
    from chainwatch.webhooks.caller import Resolver

    found = target.parse(webhook.url, private=webhook.allow_private)
    try:
        async with asyncio.timeout(_PATIENCE):
            addresses = await Resolver().addresses(found.host, found.port)
    except TimeoutError:
        return Meant(webhook, "down", "nobody says what its name means")
    except OSError:
        return Meant(webhook, "down", "its name is not known")
    if target.choose(addresses, 0, private=webhook.allow_private) is not None:
        return Meant(webhook, "ok", ", ".join(dict.fromkeys(addresses)))
    refused = ", ".join(dict.fromkeys(one for one in addresses if not target.is_public(one)))
    return Meant(webhook, "wrong", f"its name means an address that is not public ({refused})")


def lines(found: Sequence[Meant], *, paint: bool) -> Iterator[str]:
    """A line for each."""
    from chainwatch.cli.probes import mark

    names = [printable(one.webhook.name, 64) for one in found]
    urls = [redact_url(one.webhook.url) for one in found]
    for one, name, url in zip(found, names, urls, strict=True):
        width, wide = max(map(len, names)), max(map(len, urls))
        yield f"  {mark(one.verdict, paint=paint)}  {name:{width}}  {url:{wide}}  {one.told}"
