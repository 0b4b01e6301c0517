"""The operator's webhooks: `[[webhooks]]` of the configuration as purposes, and where a new one begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from chainwatch.config import WebhookSettings
from chainwatch.config.values import duration
from chainwatch.filter import OPEN
from chainwatch.log import Log, parse_cursor
from chainwatch.stream.begin import EARLIEST, Start, begin
from chainwatch.webhooks.caller import Trust
from chainwatch.webhooks.kept import Purpose

Configured = Mapping[str, tuple[Purpose, Callable[[], Awaitable[int]]]]
"""By name: what it is for, and the sequence behind which a new one begins."""


def configured(settings: Sequence[WebhookSettings], secrets: Mapping[str, str], log: Log, now: int) -> Configured:
    """What `Webhooks.configure` takes. `secrets`: by their files; `now`: Unix milliseconds."""
    return {one.name: (_purpose(one, secrets[one.secret_file], now), _start(log, one.since, now)) for one in settings}


def _purpose(settings: WebhookSettings, secret: str, now: int) -> Purpose:
    return Purpose(
        url=settings.url,
        words={name: list(texts) for name, texts in settings.words.items()},
        secret=secret,
        created=now,
        changed=now,
        trust=Trust(private=settings.allow_private, ca_file=settings.ca_file),
    )


def _start(log: Log, since: str, now: int) -> Callable[[], Awaitable[int]]:
    async def start() -> int:
        wish = (
            None if since == "now" else EARLIEST if since == "earliest" else max(1, now - int(duration(since) * 1000))
        )
        found = parse_cursor((await begin(log, Start(since=wish), OPEN)).cursor)
        return log.head if found is None else found.sequence

    return start
