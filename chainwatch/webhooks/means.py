"""What all who deliver share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from chainwatch.stream.follow import Followers
from chainwatch.webhooks.caller import Caller
from chainwatch.webhooks.register import Register, Webhook
from chainwatch.webhooks.room import Room


class Form(NamedTuple):
    """Another way to deliver than the event as it is."""

    body: Callable[[Webhook, bytes, str], bytes]
    """Of this webhook, the JSON of an event, and the cursor before it, all up to which is done."""
    refusals: frozenset[int] = frozenset()
    """Statuses by which a receiver refuses that one event for good, and goes on."""
    ended: Callable[[str], bytes] | None = None
    """What its receiver is told, once, where its owner may not have it any more, and why: then it is forgotten."""


class Means(Protocol):
    """The webhooks of a daemon, as couriers see them."""

    register: Register
    followers: Followers
    counts: Counter[str]
    room: Room

    @property
    def caller(self) -> Caller: ...

    @property
    def forms(self) -> Mapping[str, Form]: ...

    @property
    def now(self) -> Callable[[], int]:
        """Unix milliseconds."""
