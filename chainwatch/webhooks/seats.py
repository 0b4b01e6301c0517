"""Who delivers for which webhook: as long as its owner may have what it asks for, and it has not expired."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, NamedTuple

import structlog

from chainwatch.errors import LogError, UsageError
from chainwatch.filter import Filter
from chainwatch.webhooks import courier
from chainwatch.webhooks.courier import Courier
from chainwatch.webhooks.means import Means
from chainwatch.webhooks.register import Webhook
from chainwatch.webhooks.terms import Terms, Withdrawn

EXPIRED: Final = "it has expired"
_AN_HOUR: Final = 3600.0

_log = structlog.get_logger("chainwatch.webhooks")


class _Asked(NamedTuple):
    """What a webhook asks for now; or why it gets nothing."""

    wanted: Filter | None = None
    problem: str | None = None
    withdrawn: bool = False
    """Its owner may not have it any more."""


class Seats:
    """Takes couriers on and lets them go. `one_by_one` is held by whoever calls `seat`, `unseat` and `arm`."""

    def __init__(
        self,
        means: Means,
        terms: Terms,
        remove: Callable[[Webhook], Awaitable[None]],
        spawn: Callable[[Coroutine[None, None, None], str], None],
    ) -> None:
        """`remove` forgets a webhook; `spawn` owns a task with that name."""
        self.one_by_one = asyncio.Lock()
        self.open = False
        """Somebody delivers, for those that may have it."""
        self._means = means
        self._terms = terms
        self._remove = remove
        self._spawn = spawn
        self._expiries: dict[Webhook, asyncio.TimerHandle] = {}
        self._scopes: dict[str, Filter | None] = {}  # of owners, as they were looked at last
        self._opened: dict[Webhook, Filter] = {}  # what is laid to the account of its owner

    def wanted(self, webhook: Webhook) -> Filter:
        """What it asks for now. `Withdrawn` or `UsageError` where it may not, or it means nothing any more."""
        return self._terms.wanted(webhook.owner, webhook.purpose.words)

    def recheck(self) -> None:
        """
        Keys, or the words of filters, have changed: each webhook's filter is asked for again, and what is under way by
        one that holds no more is broken off at once.
        """
        register = self._means.register
        before, self._scopes = self._scopes, {owner: self._scope(owner) for owner in register.owners}
        for webhook in register:
            if webhook.courier is not None and before.get(webhook.owner) != self._scopes[webhook.owner]:
                webhook.courier.cut()
        self._spawn(self._recheck(), "webhooks: other terms")

    async def seat(self, webhook: Webhook) -> None:
        """Have it delivered for as it is now, if it may be."""
        await self.unseat(webhook)
        if webhook.gone or not self.open:
            return
        self._scopes[webhook.owner] = self._scope(webhook.owner)
        asked, before = self._ask(webhook), webhook.problem
        if asked.wanted is not None:
            try:
                self._terms.open(webhook.owner, asked.wanted)
                self._opened[webhook] = asked.wanted
            except Withdrawn as error:
                asked = _Asked(problem=str(error))
        webhook.problem = asked.problem
        if asked.problem is not None and asked.problem != before:
            _log.warning("nothing is sent for a webhook; its place stays", reason=asked.problem, **webhook.told)
        self.arm(webhook)
        if asked.withdrawn and asked.problem != before and self._farewell(webhook) is not None:
            self._spawn(self._end(webhook), f"webhook {webhook.name}: ended")
        if webhook.standing.pause is not None:
            _log.warning(
                "a webhook is paused; a test that is accepted goes on with it, or a resume",
                why=webhook.standing.pause,
                **webhook.told,
            )
        elif asked.wanted is not None:
            webhook.courier = Courier(webhook, asked.wanted, self._means)
            webhook.courier.start()

    async def unseat(self, webhook: Webhook) -> None:
        """Nobody delivers for it."""
        if (timer := self._expiries.pop(webhook, None)) is not None:
            timer.cancel()
        if (wanted := self._opened.pop(webhook, None)) is not None:
            self._terms.close(webhook.owner, wanted)
        if (courier := webhook.courier) is not None:
            webhook.courier = None
            await courier.stop()

    def arm(self, webhook: Webhook) -> None:
        """It is removed when it expires, whoever delivers."""
        if (timer := self._expiries.pop(webhook, None)) is not None:
            timer.cancel()
        expires = webhook.purpose.expires
        if expires is not None:
            left = (expires - self._means.now()) / 1000
            # One that is over already could not be removed: the log takes nothing, and is not to be asked all the time.
            wait = courier.AGAIN if left <= 0 else min(left, _AN_HOUR)  # clocks of wall time are set now and then
            self._expiries[webhook] = asyncio.get_running_loop().call_later(wait, self._expired, webhook)

    def _ask(self, webhook: Webhook) -> _Asked:
        """The filter of a webhook now; or why there is none."""
        expires = webhook.purpose.expires
        if expires is not None and expires <= self._means.now():
            return _Asked(problem=EXPIRED)
        try:
            return _Asked(self.wanted(webhook))
        except Withdrawn as error:
            return _Asked(problem=str(error), withdrawn=True)
        except UsageError as error:
            return _Asked(problem=f"its filter means nothing any more: {error.what}")

    def _scope(self, owner: str) -> Filter | None:
        """All that they may see; None: nothing."""
        try:
            return self._terms.wanted(owner, {})
        except Withdrawn:
            return None

    async def _recheck(self) -> None:
        """In turns: an expression takes milliseconds to read, and streams must not wait for hundreds of them."""
        for webhook in self._means.register:
            await asyncio.sleep(0)
            try:
                asked = self._ask(webhook)
                same = asked.wanted == self._opened.get(webhook) and asked.problem == webhook.problem
                if not same or (webhook.courier is not None and webhook.courier.was_cut):
                    async with self.one_by_one:
                        await self.seat(webhook)
            except Exception:  # noqa: BLE001 - a fault of ours in one must not keep the others from theirs
                _log.exception("a webhook stands still", **webhook.told)

    def _farewell(self, webhook: Webhook) -> Callable[[str], bytes] | None:
        form = self._means.forms.get(webhook.purpose.form)
        return None if form is None else form.ended

    async def _end(self, webhook: Webhook) -> None:
        """Forget it, and tell its receiver, who is asked once: there is nobody any more who could ask how that went."""
        asked, farewell = self._ask(webhook), self._farewell(webhook)
        if not asked.withdrawn or farewell is None:  # it may be had again
            return
        try:
            await self._remove(webhook)
        except LogError as error:
            _log.warning("a webhook that ended cannot be removed yet", problem=error.what, **webhook.told)
            return
        if webhook.standing.verified:
            sender = Courier(webhook, Filter(), self._means)
            await sender.post(f"msg_terminated_{secrets.token_hex(16)}", farewell(asked.problem or ""))

    def _expired(self, webhook: Webhook) -> None:
        self._expiries.pop(webhook, None)
        if (expires := webhook.purpose.expires) is not None and expires > self._means.now():
            self.arm(webhook)
        else:
            self._spawn(self._expire(webhook), f"webhook {webhook.name}: expired")

    async def _expire(self, webhook: Webhook) -> None:
        try:
            await self._remove(webhook)
        except LogError as error:
            _log.warning("a webhook that has expired cannot be removed yet", problem=error.what, **webhook.told)
