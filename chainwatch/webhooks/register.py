"""The webhooks of a log: in memory as they are on disk, and moved on disk first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from chainwatch.log import Change, Drop, Log
from chainwatch.webhooks import kept
from chainwatch.webhooks.delivery import Reply
from chainwatch.webhooks.kept import OPERATOR, Letter, Purpose, Standing

if TYPE_CHECKING:
    from chainwatch.webhooks.courier import Courier

Status = Literal["unverified", "live", "failing", "paused", "halted"]


class Webhook:
    """One webhook."""

    __slots__ = (
        "courier", "gone", "last", "last_at", "letter_bytes", "letters", "name", "owner", "problem", "purpose",
        "standing",
    )  # fmt: skip

    def __init__(self, owner: str, name: str, purpose: Purpose, standing: Standing) -> None:
        self.owner: Final = owner
        self.name: Final = name
        self.purpose = purpose
        self.standing = standing
        self.letters = 0
        """Dead letters that are kept,"""
        self.letter_bytes = 0
        """and bytes of their events."""
        self.last: Reply | None = None
        """What came of the newest request of this daemon,"""
        self.last_at = 0
        """at that Unix time in milliseconds."""
        self.problem: str | None = None
        """Why its filter cannot be had: the key ended, or its words mean nothing any more."""
        self.courier: Courier | None = None
        """Whoever delivers now."""
        self.gone = False
        """It was removed."""

    @property
    def status(self) -> Status:
        """How it is, in a word."""
        if self.problem is not None:
            return "halted"
        if self.standing.pause is not None:
            return "paused"
        if not self.standing.verified:
            return "unverified"
        return "live" if self.standing.trouble is None else "failing"

    @property
    def told(self) -> dict[str, str | None]:
        """What names it in a log line; its URL may hold a secret."""
        whose = {"by": "configuration"} if self.owner == OPERATOR else {"key_id": self.owner or None}
        return {"webhook": self.name, **whose}


def place_of(webhook: Webhook) -> int:
    """The sequence up to which there is nothing more to deliver for it."""
    idle = webhook.courier.idle_at if webhook.courier is not None else None
    return max(webhook.standing.sequence, idle or 0)


def idle(webhooks: Iterable[Webhook], now: int) -> list[tuple[Webhook, Standing]]:
    """How those stand that have come further without anything to deliver, at the Unix time `now` in milliseconds."""
    return [
        (webhook, msgspec.structs.replace(webhook.standing, sequence=place_of(webhook), at=now))
        for webhook in webhooks
        if place_of(webhook) > webhook.standing.sequence
    ]


def tally(webhooks: Iterable[Webhook], counts: Counter[str], head: int) -> dict[str, Any]:
    """Numbers of all of them, and of what was counted; `head`: of the log."""
    found = list(webhooks)
    return {
        "states": dict(Counter(webhook.status for webhook in found)),
        "accepted": counts["accepted"],
        "failed": counts["failed"],
        "dead_letters": counts["dead"],
        "lag": max((head - place_of(webhook) for webhook in found), default=0),
        "faults": {word[6:]: count for word, count in counts.items() if word.startswith("fault:")},
    }


class Register:
    """Every webhook of a log, by owner and name."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._webhooks: dict[tuple[str, str], Webhook] = {}
        self.standings: dict[tuple[str, str], Standing] = {}
        """Of webhooks that the configuration may still name."""

    def __iter__(self) -> Iterator[Webhook]:
        return iter(list(self._webhooks.values()))

    def __len__(self) -> int:
        return len(self._webhooks)

    async def load(self) -> None:
        """Read what is kept."""
        standings = {
            kept.whose(key): msgspec.json.decode(value, type=Standing)
            for key, value in await self._log.scan(*kept.STANDINGS)
        }
        for key, value in await self._log.scan(*kept.PURPOSES):
            whose = kept.whose(key)
            purpose = msgspec.json.decode(value, type=Purpose)
            self._webhooks[whose] = Webhook(*whose, purpose, standings.pop(whose))
        self.standings = standings
        for webhook in self:
            await self._count(webhook)

    @property
    def owners(self) -> set[str]:
        return {webhook.owner for webhook in self._webhooks.values()}

    def get(self, owner: str, name: str) -> Webhook | None:
        return self._webhooks.get((owner, name))

    def of(self, owner: str) -> list[Webhook]:
        return sorted((one for one in self._webhooks.values() if one.owner == owner), key=lambda one: one.name)

    async def enter(self, webhook: Webhook) -> None:
        """A new one. One of the configuration may have stood here before, and goes on from there."""
        whose = (webhook.owner, webhook.name)
        if (before := self.standings.pop(whose, None)) is not None:
            webhook.standing = before
        else:
            changes: list[Change] = [kept.put_standing(*whose, webhook.standing)]
            if webhook.owner != OPERATOR:
                changes.append(kept.put_purpose(*whose, webhook.purpose))
            await self._log.append((), changes)
        self._webhooks[whose] = webhook
        await self._count(webhook)

    async def change(self, webhook: Webhook, purpose: Purpose, standing: Standing) -> None:
        """Another purpose, and how it stands with that."""
        changes: list[Change] = [kept.put_standing(webhook.owner, webhook.name, standing)]
        if webhook.owner != OPERATOR:
            changes.append(kept.put_purpose(webhook.owner, webhook.name, purpose))
        await self._log.append((), changes)
        webhook.purpose, webhook.standing = purpose, standing

    async def renew(self, webhook: Webhook, purpose: Purpose) -> None:
        """Another purpose, by which the same is delivered to the same receiver."""
        await self._log.append((), [kept.put_purpose(webhook.owner, webhook.name, purpose)])
        webhook.purpose = purpose

    async def move(self, moves: Iterable[tuple[Webhook, Standing]]) -> None:
        """They stand so from now on: in one commit. Returns when that is durable."""
        there = [(webhook, standing) for webhook, standing in moves if not webhook.gone]
        await self._log.append((), [kept.put_standing(one.owner, one.name, standing) for one, standing in there])
        for webhook, standing in there:
            webhook.standing = standing

    async def bury(self, webhook: Webhook, letter: Letter, standing: Standing) -> None:
        """Keep an event that is given up, and go on behind it: in one commit."""
        if webhook.gone:
            return
        whose = (webhook.owner, webhook.name)
        await self._log.append((), [kept.put_letter(*whose, letter), kept.put_standing(*whose, standing)])
        webhook.standing = standing
        webhook.letters += 1
        webhook.letter_bytes += len(bytes(letter.event))

    async def letters(self, webhook: Webhook) -> list[Letter]:
        """Its dead letters, oldest first."""
        found = await self._log.scan(*kept.letters_of(webhook.owner, webhook.name))
        return [msgspec.json.decode(value, type=Letter) for _, value in found]

    async def open(self, webhook: Webhook, letter: Letter) -> None:
        """Forget one dead letter: it was accepted after all."""
        await self._log.append((), [kept.drop_letter(webhook.owner, webhook.name, letter)])
        webhook.letters = max(0, webhook.letters - 1)  # somebody may have burnt them all meanwhile
        webhook.letter_bytes = max(0, webhook.letter_bytes - len(bytes(letter.event)))

    async def burn(self, webhook: Webhook) -> None:
        """Forget its dead letters."""
        await self._log.append((), [Drop(*kept.letters_of(webhook.owner, webhook.name))])
        webhook.letters = webhook.letter_bytes = 0

    async def remove(self, webhook: Webhook) -> None:
        """Forget it."""
        if webhook.gone:
            return
        webhook.gone = True  # from here on it is not moved, or that would be kept behind this
        try:
            await self._log.append((), kept.forget(webhook.owner, webhook.name))
        except BaseException:
            webhook.gone = False
            raise
        self._webhooks.pop((webhook.owner, webhook.name), None)

    async def forget(self, owner: str, name: str) -> None:
        """Forget one of the configuration that is not named any more."""
        await self._log.append((), kept.forget(owner, name))
        self.standings.pop((owner, name), None)

    async def _count(self, webhook: Webhook) -> None:
        found = await self.letters(webhook)
        webhook.letters, webhook.letter_bytes = len(found), sum(len(bytes(letter.event)) for letter in found)
