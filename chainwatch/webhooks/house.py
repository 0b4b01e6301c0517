"""All webhooks of a daemon: who comes and goes, and who delivers for whom."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

import msgspec
import structlog

from chainwatch.config import target
from chainwatch.errors import LogError, UsageError
from chainwatch.filter import Filter
from chainwatch.stream.follow import Followers
from chainwatch.webhooks import courier, kept, signing
from chainwatch.webhooks.again import Sent, send_again
from chainwatch.webhooks.caller import Caller
from chainwatch.webhooks.configured import Configured
from chainwatch.webhooks.courier import Courier
from chainwatch.webhooks.delivery import Allowance, Reply
from chainwatch.webhooks.kept import EVENT, OPERATOR, Letter, Purpose, Standing
from chainwatch.webhooks.means import Form
from chainwatch.webhooks.register import Register, Webhook, idle, tally
from chainwatch.webhooks.room import Room
from chainwatch.webhooks.seats import Seats
from chainwatch.webhooks.terms import Terms, TooMany, TooOften, Withdrawn, Words

_T = TypeVar("_T")

TIDY: Final = 60.0
"""Seconds after which the places of webhooks that had nothing to deliver are saved."""
_REQUESTS: Final = 64
"""Under way at once, about: each is a descriptor;"""
_THEIRS: Final = 16
"""and so many of one owner (see `Room`)."""
_DELIVERED: Final = ("url", "words", "form", "headers")
"""Of a purpose: what is delivered, and where."""

_log = structlog.get_logger("chainwatch.webhooks")


class Webhooks:
    """All webhooks of one log. `start` reads what is kept and begins to deliver; `close` ends that."""

    def __init__(self, followers: Followers, terms: Terms, *, caller: Caller | None = None) -> None:
        self.followers = followers
        self.forms: dict[str, Form] = {}
        """More ways to write a body, by name; to be set before `start`."""
        self.counts: Counter[str] = Counter()
        """Since the start: `accepted`, `failed`, `dead`, and each fault as `fault:WORD`."""
        self.room = Room(_REQUESTS, _THEIRS)
        self.register = Register(followers.log)
        self._caller = caller
        self._terms = terms
        self._allowance = Allowance()
        self._redelivering: set[Webhook] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._tidying: asyncio.Task[None] | None = None
        self._configured: Configured = {}
        self._seats = Seats(self, terms, self.remove, self._spawn)
        self._one_by_one = self._seats.one_by_one  # webhooks come, change and go

    now = staticmethod(courier.now)

    @property
    def caller(self) -> Caller:
        if self._caller is None:
            self._caller = Caller()
        return self._caller

    async def start(self) -> None:
        """Read what is kept, and deliver from there on."""
        await self.register.load()
        self._seats.open = True
        for webhook in self.register:
            await self._seats.seat(webhook)
        self._tidying = asyncio.create_task(self._tidy(), name="webhooks:tidy")

    async def close(self) -> None:
        """Deliver no more. Requests that are under way are broken off."""
        self._seats.open = False
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
            await self._save_places()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *map(self._seats.unseat, self.register), return_exceptions=True)
        if self._caller is not None:
            await self._caller.close()

    # --- for clients --------------------------------------------------------------------------------------------------

    def get(self, owner: str, name: str) -> Webhook | None:
        """The webhook of that name of theirs."""
        return self.register.get(owner, name)

    def of(self, owner: str) -> list[Webhook]:
        """All of theirs, by name."""
        return self.register.of(owner)

    async def add(
        self,
        owner: str,
        name: str,
        url: str,
        words: Words,
        *,
        start: Callable[[], Awaitable[int]],
        secret: str | None = None,
        form: str = EVENT,
        headers: Mapping[str, str] | None = None,
        expires: int | None = None,
        agreed: bool = False,
    ) -> tuple[Webhook, str | None, bool]:
        """
        A webhook of that name, or another purpose for the one that there is (its cursor stays; a paused one goes on):
        the webhook, the secret where it was made here (the only time that it is shown), and whether the webhook is new.

        `start` gives the sequence behind which a new one begins, and may refuse it. A `url` that was not verified yet
        is called with a challenge before this returns; `webhook.status` is `unverified` where it was not answered well,
        `webhook.last` says why, and it is tried again a few times. `secret`: `whsec_…`; one that replaces another signs
        beside it for a day. `form`: how the body is written. `headers` go with each request. `expires`: Unix
        milliseconds at which it is removed. `agreed`: whoever is at `url` said already that the owner may send there; a
        new webhook needs no challenge then.

        `UsageError` for a URL, a name or a secret that cannot be; `Withdrawn`, `TooMany`, `TooOften`, `LogError`.
        """
        target.parse(url)
        if not kept.NAME.fullmatch(name):
            hint = "up to 64 letters, digits, dots, - and _, the first a letter or a digit"
            raise UsageError(f"{name!r} is no name for a webhook", parameter="name", value=name, hint=hint)
        if secret is not None:
            signing.check_secret(secret)
        self._terms.wanted(owner, words)

        async def enter() -> tuple[Webhook, str | None, bool]:
            made = None
            webhook = self.register.get(owner, name)
            new = webhook is None
            if not agreed if webhook is None else webhook.purpose.url != url or not webhook.standing.verified:
                self._spend(owner)
            now = self.now()
            if webhook is None:
                self._check_room(owner)
                made = None if secret else signing.new_secret()
                purpose = Purpose(
                    url=url, words=words, secret=secret or made or "", created=now, changed=now, form=form,
                    headers=headers or {}, expires=expires,
                )  # fmt: skip
                webhook = Webhook(owner, name, purpose, Standing(sequence=await start(), at=now, verified=agreed))
                await self.register.enter(webhook)
            else:
                purpose = msgspec.structs.replace(
                    webhook.purpose, url=url, words=words, form=form, headers=headers or {}, expires=expires
                )
                await self._change(webhook, purpose.signed(secret, now), now)
            if webhook.courier is None or new:
                await self._seats.seat(webhook)
            return webhook, made, new

        webhook, made, new = await self._whole(enter, f"webhook {name}: add")
        if not webhook.standing.verified and webhook.courier is not None:
            await webhook.courier.attempt()
        return webhook, made, new

    async def remove(self, webhook: Webhook) -> None:
        """Forget it, and its dead letters; what is under way is broken off."""

        async def leave() -> None:
            await self._seats.unseat(webhook)
            try:
                await self.register.remove(webhook)
            except LogError:
                await self._seats.seat(webhook)
                raise

        await self._whole(leave, f"webhook {webhook.name}: remove")

    async def test(self, webhook: Webhook) -> Reply:
        """
        Send a `test` (to one that is not verified: the challenge) now. Where it is accepted, a webhook that was paused
        goes on, and one that waits for its next attempt makes it. `TooOften`, `Withdrawn`.
        """
        if webhook.problem is not None:
            raise Withdrawn(webhook.problem)
        self._spend(webhook.owner)
        # One that nobody delivers for, since it is paused, has somebody for this.
        sender = webhook.courier or Courier(webhook, Filter(), self)
        if webhook.standing.verified:
            reply = await sender.send("test")
            if reply.fault is None:
                await self.resume(webhook)
            return reply
        await self.resume(webhook)
        if webhook.courier is not None:
            await webhook.courier.attempt()
        return webhook.last or Reply(fault="challenge_failed")

    async def wake(self, webhook: Webhook) -> None:
        """The same without a test. `TooOften`, `Withdrawn`."""
        if webhook.problem is not None:
            raise Withdrawn(webhook.problem)
        self._spend(webhook.owner)
        await self.resume(webhook)

    async def redeliver(self, webhook: Webhook) -> Sent:
        """Send its dead letters again (`send_again`); where one is accepted, a pause ends. `TooOften`, `Withdrawn`."""
        if webhook.problem is not None:
            raise Withdrawn(webhook.problem)
        self._spend(webhook.owner)
        if webhook in self._redelivering:
            raise TooOften(1)
        if webhook.letters and not webhook.standing.verified:  # it has another address by now, which has not agreed
            return Sent(0, Reply(fault="challenge_failed"))
        self._redelivering.add(webhook)
        try:
            sent = await send_again(webhook, self, lambda: self._terms.wanted(webhook.owner, {}))
        finally:
            self._redelivering.discard(webhook)
        if sent.accepted:
            await self.resume(webhook)
        return sent

    async def resume(self, webhook: Webhook) -> None:
        """End a pause; make the next attempt now."""

        async def go_on() -> None:
            standing = webhook.standing
            if standing.pause is not None:
                standing = msgspec.structs.replace(standing, pause=None, trouble=None, after_dead=False)
                await self.register.move([(webhook, standing)])
                await self._seats.seat(webhook)

        await self._whole(go_on, f"webhook {webhook.name}: resume")
        if webhook.courier is not None:
            webhook.courier.hurry()

    async def letters(self, webhook: Webhook) -> list[Letter]:
        """Its dead letters, oldest first."""
        return await self.register.letters(webhook)

    async def burn(self, webhook: Webhook) -> None:
        """Forget its dead letters."""
        await self.register.burn(webhook)
        if webhook.standing.pause == "full":
            await self.resume(webhook)

    def wanted(self, webhook: Webhook) -> Filter:
        """What it asks for now. `Withdrawn` or `UsageError` where it may not, or it means nothing any more."""
        return self._seats.wanted(webhook)

    def recheck(self) -> None:
        """Keys, or the words of filters, have changed: see `Seats.recheck`."""
        self._seats.recheck()

    def stats(self) -> dict[str, Any]:
        """Numbers for people and metrics."""
        return tally(self.register, self.counts, self.followers.log.head)

    # --- for the operator ---------------------------------------------------------------------------------------------

    def take_up(self, purposes: Configured) -> None:
        """The same while it runs, and beside everything else: the configuration, and the words in it, are others."""
        self.recheck()
        self._configured = purposes
        self._spawn(self._take_up(purposes), "webhooks: configure")

    async def _take_up(self, purposes: Configured) -> None:
        """As soon as the log takes it: nobody reads the same configuration again for that."""
        said = False
        while purposes is self._configured:
            try:
                await self.configure(purposes)
            except LogError as error:
                if not said:
                    _log.error("webhooks of the configuration wait for the log", problem=error.what)
                said = True
                await asyncio.sleep(courier.AGAIN)
            else:
                return

    async def configure(self, purposes: Configured) -> None:
        """
        These are the operator's webhooks from now on, by name, with where a new one begins. One that was there goes on
        where it is; one that is not named any more is forgotten.
        """
        async with self._one_by_one:
            for webhook in self.register.of(OPERATOR):
                if webhook.name not in purposes:
                    await self._seats.unseat(webhook)
                    await self.register.remove(webhook)
                    _log.info("the configuration has this webhook no more: its place is forgotten", **webhook.told)
            for owner, name in list(self.register.standings):
                if owner == OPERATOR and name not in purposes:
                    await self.register.forget(owner, name)
            for name, (purpose, start) in purposes.items():
                found, now = self.register.get(OPERATOR, name), self.now()
                if found is None:
                    known = self.register.standings.get((OPERATOR, name))
                    known = known or Standing(sequence=await start(), at=now, verified=True)
                    found = Webhook(OPERATOR, name, purpose, known)
                    await self.register.enter(found)
                elif found.purpose.differs(purpose, (*_DELIVERED, "secret", "trust")):
                    changed = msgspec.structs.replace(
                        purpose, created=found.purpose.created, secret=found.purpose.secret,
                        former=found.purpose.former, former_until=found.purpose.former_until,
                    )  # fmt: skip
                    await self._change(found, changed.signed(purpose.secret, now), now, verified=True)
                else:
                    continue
                await self._seats.seat(found)

    async def _change(self, webhook: Webhook, purpose: Purpose, now: int, *, verified: bool | None = None) -> None:
        """Another purpose. Nobody delivers any more where that is for something else, or was not done."""
        before = webhook.purpose
        if purpose != before:
            purpose = msgspec.structs.replace(purpose, changed=now)
        live = webhook.status in ("live", "failing") and webhook.courier is not None
        if live and webhook.owner != OPERATOR and not before.differs(purpose, _DELIVERED):
            await self.register.renew(webhook, purpose)
            self._seats.arm(webhook)
            return
        await self._seats.unseat(webhook)
        standing = webhook.standing
        if verified is None:
            verified = standing.verified and purpose.url == before.url
        told = msgspec.structs.replace(standing, trouble=None, pause=None, after_dead=False, verified=verified)
        try:
            await self.register.change(webhook, purpose, told)
        except LogError:
            await self._seats.seat(webhook)
            raise

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _check_room(self, owner: str) -> None:
        hint = "remove one that is not needed"
        if len(self.register.of(owner)) >= kept.MOST:
            raise TooMany(f"there are {kept.MOST} webhooks, as many as one may have", hint=hint)
        # Those of keys that ended hold nothing, and nobody is there to remove them.
        if sum(webhook.problem is None for webhook in self.register) >= kept.MOST_OF_ALL:
            raise TooMany(f"this daemon has {kept.MOST_OF_ALL} webhooks, as many as it takes", hint=hint)

    def _spend(self, owner: str) -> None:
        if wait := self._allowance.take(owner, self.now() / 1000):
            raise TooOften(wait)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY)
            await self._save_places()

    async def _save_places(self) -> None:
        """
        Those that had nothing to deliver have come further all the same: after a restart they need not look at that
        again, nor find it gone.
        """
        moves: list[tuple[Webhook, Standing]] = []
        try:
            if moves := idle(self.register, self.now()):
                await self.register.move(moves)
        except LogError as error:
            _log.warning("the places of webhooks are not saved", webhooks=len(moves), problem=error.what)
        except Exception:  # noqa: BLE001 - a fault of ours must end neither the looking nor the end
            _log.exception("the places of webhooks are not saved", webhooks=len(moves))

    async def _whole(self, work: Callable[[], Awaitable[_T]], name: str) -> _T:
        """
        Do it one by one, and to its end even where whoever asked for it leaves in the middle: else a webhook would
        stand where nobody delivers for it.
        """

        async def alone() -> _T:
            async with self._one_by_one:
                return await work()

        task = asyncio.create_task(alone(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a webhook could not be changed", task=task.get_name(), exc_info=error)
