"""Dead letters that are sent again because somebody asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from chainwatch.event import decode, interest
from chainwatch.filter import Filter
from chainwatch.webhooks.courier import Courier
from chainwatch.webhooks.delivery import Reply
from chainwatch.webhooks.means import Means
from chainwatch.webhooks.register import Webhook
from chainwatch.where import View

ENOUGH: Final = 3.0
"""Seconds after which no other one is begun: whoever asks waits for the answer, and may ask again."""


class Sent(NamedTuple):
    """What came of it."""

    accepted: int
    """Dead letters that are none any more."""
    fault: Reply | None = None
    """Of the one that was not accepted, behind which none was sent."""


async def send_again(webhook: Webhook, means: Means, scope: Callable[[], Filter]) -> Sent:
    """
    Send the dead letters of a webhook, the oldest first and each once, beside what it delivers otherwise; forget what
    is accepted. `scope` is what its owner may see at that moment: what was given up before their key was narrowed is
    not sent.
    """
    sender = webhook.courier or Courier(webhook, Filter(), means)
    accepted, until = 0, time.monotonic() + ENOUGH
    for letter in await means.register.letters(webhook):
        if webhook.gone or time.monotonic() > until:
            break
        event = decode(bytes(letter.event))
        if not scope().matches(interest(event), View(event)):
            continue
        reply = await sender.repeat(letter)
        if reply.fault is not None and not sender.refused(reply):
            return Sent(accepted, reply)
        await means.register.open(webhook, letter)
        accepted += 1
    return Sent(accepted)
