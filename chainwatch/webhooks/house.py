"""All webhooks of a daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from chainwatch.stream.follow import Followers
from chainwatch.webhooks.delivery import Reply
from chainwatch.webhooks.register import Webhook
from chainwatch.webhooks.terms import Terms

Form = Callable[[Webhook, bytes, str], bytes]
"""The body of a delivery: of this webhook, the JSON of an event, and the cursor before it (all before it was accepted)."""


class TooMany(Exception):
    """There is no room for another webhook."""


class Webhooks:
    """All webhooks of one log. `start` reads what is kept and begins to deliver; `close` ends that."""

    forms: dict[str, Form]
    """More ways to write a body, by name; to be set before `start`."""

    def __init__(self, followers: Followers, terms: Terms) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def add(
        self,
        owner: str,
        name: str,
        url: str,
        words: Mapping[str, list[str]],
        *,
        start: Callable[[], Awaitable[int]],
        secret: str | None = None,
        form: str = "event",
        headers: Mapping[str, str] | None = None,
        expires: int | None = None,
    ) -> tuple[Webhook, str | None, bool]:
        """
        A webhook of that name, or another purpose for the one that there is (its cursor stays; a paused one goes on):
        the webhook, the secret where it was made here (the only time that it is shown), and whether the webhook is new.

        `start` gives the sequence behind which a new one begins, and may refuse it. A `url` that was not verified yet
        is called with a challenge before this returns; `webhook.status` is `unverified` where it was not answered well,
        `webhook.last` says why, and it is tried again a few times. `secret`: `whsec_…`; one that replaces another is
        signed with beside it for a day. `form`: how the body is written. `headers` go with each request. `expires`:
        Unix milliseconds at which it is removed.

        `UsageError` for a URL or a secret that cannot be; `Withdrawn`, `TooMany`, `LogError`.
        """
        raise NotImplementedError

    def get(self, owner: str, name: str) -> Webhook | None:
        """The webhook of that name of theirs."""
        raise NotImplementedError

    def of(self, owner: str) -> list[Webhook]:
        """All of theirs, by name."""
        raise NotImplementedError

    async def remove(self, webhook: Webhook) -> None:
        """Forget it, and its dead letters; what is under way is ended."""

    async def test(self, webhook: Webhook) -> Reply:
        """
        Send a `test` (to one that is not verified: the challenge) now. Where it is accepted, a webhook that was paused
        goes on, and one that waits for its next attempt makes it.
        """
        raise NotImplementedError

    def recheck(self) -> None:
        """Keys, or the words of filters, have changed: each webhook's filter is asked for again, at once."""

    def about(self, webhook: Webhook) -> dict[str, Any]:
        """A webhook, as its owner sees it, ready for JSON; no secret in it."""
        raise NotImplementedError
