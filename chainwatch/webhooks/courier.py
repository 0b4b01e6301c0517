"""
The task of one webhook: reads on in the log from its cursor, sends one event at a time, and heeds what `delivery` says.

It holds one piece of the log at most (`follow.PIECE`), and lets it go when an attempt fails: what comes next is read
again then. So a webhook whose receiver has been away for a week costs what a name in a table does.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import msgspec
import structlog

from chainwatch.config import target
from chainwatch.errors import LogError, UsageError
from chainwatch.event import rfc3339
from chainwatch.filter import Filter
from chainwatch.log import Cursor, parse_cursor
from chainwatch.stream.begin import Gap
from chainwatch.stream.follow import Follower, Given, State
from chainwatch.stream.wire import Piece
from chainwatch.webhooks import kept, signing
from chainwatch.webhooks.caller import chance
from chainwatch.webhooks.delivery import ACCEPTED, LONGEST_WISH, Outcome, Reply, decide, decide_challenge
from chainwatch.webhooks.kept import Letter, Standing
from chainwatch.webhooks.means import Means
from chainwatch.webhooks.register import Webhook

AGAIN: Final = 5.0
"""Seconds until the log is asked again, where it cannot be read or written."""


Kind = Literal["verification", "test", "gap"]
"""What is sent beside events. The `id` of such a request begins with `msg_`, and its body has no `id`."""

_GAP: Final = "gap"

_log = structlog.get_logger("chainwatch.webhooks")


class _Message(NamedTuple):
    """One request to be made."""

    id: str
    body: bytes
    sequence: int
    """Where the cursor is when it was accepted."""
    event: bytes | None = None
    """The JSON of the event; None: it tells a gap."""


class Courier:
    """Delivers for one webhook, from `start` to `stop`."""

    def __init__(self, webhook: Webhook, wanted: Filter, means: Means) -> None:
        self.webhook = webhook
        self.wanted = wanted
        self._means = means
        self._follower: Follower | None = None
        self._given: Given | None = None
        self._came = asyncio.Event()  # something of the log, or the order to look again
        self._hurry = asyncio.Event()  # what waits for its next attempt makes it now
        self._tried = asyncio.Event()  # an attempt was made
        self._task: asyncio.Task[None] | None = None
        self.was_cut = False

    def start(self) -> None:
        """From now on."""
        self._task = asyncio.create_task(self._run(), name=f"webhook {self.webhook.name}")

    async def stop(self) -> None:
        """No more. A request that is under way is broken off, and made again by whoever goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def cut(self) -> None:
        """Break off what is under way, at once; `stop` waits for it."""
        self.was_cut = True
        if self._task is not None:
            self._task.cancel()

    def hurry(self) -> None:
        """Make the next attempt now."""
        self._hurry.set()

    async def attempt(self) -> None:
        """Returns when the next attempt was made, or will not be made."""
        self._tried.clear()
        self._hurry.set()
        waits = asyncio.create_task(self._tried.wait())
        try:
            await asyncio.wait([waits, *([self._task] if self._task else ())], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waits.cancel()

    @property
    def idle_at(self) -> int | None:
        """The sequence to which it has come without anything to deliver; None while there is something."""
        follower = self._follower
        if follower is None or self._given is not None or follower.state in (State.HELD, State.CLOSED):
            return None
        return follower.position

    # --- the task -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while self.webhook.standing.pause is None:
            try:
                await self._due()
                if not self.webhook.standing.verified:
                    await self._challenge()
                else:
                    await self._read_on()
            except Exception:  # noqa: BLE001 - a fault of ours must not end deliveries for ever
                _log.exception("a webhook failed; it goes on where it was", **self.webhook.told)
                self._tried.set()
                await asyncio.sleep(AGAIN)

    async def _due(self) -> None:
        """Wait until the next attempt is due. Who hurries while one is under way means that one."""
        self._hurry.clear()
        trouble = self.webhook.standing.trouble
        if trouble is not None:
            # A clock that was set back must not stop it for as long.
            wait = min(trouble.again - self._means.now(), LONGEST_WISH) / 1000
            if wait > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), wait)

    async def _challenge(self) -> None:
        """Ask the receiver whether it wants what would come."""
        reply = await self.send("verification")
        standing, now = self.webhook.standing, self._means.now()
        outcome = decide_challenge(reply, standing.trouble, now=now)
        told = msgspec.structs.replace(standing, trouble=outcome.trouble, pause=outcome.pause)
        if outcome is ACCEPTED:
            told = msgspec.structs.replace(told, verified=True)
        await self._note(told)
        self._say(outcome, "the challenge of a webhook")
        self._tried.set()

    async def _read_on(self) -> None:
        """Deliver from the cursor on, until an attempt fails."""
        means, standing = self._means, self.webhook.standing
        follower = self._follower = means.followers.follow(
            self.wanted,
            standing.sequence,
            self._take,
            name=f"webhook_{secrets.token_hex(8)}",
            kind="webhook",
            owner=self.webhook.owner,
            peer=self.webhook.name,
        )
        try:
            while True:
                await self._came.wait()
                self._came.clear()
                given = self._given
                if isinstance(given, Exception):
                    await asyncio.sleep(AGAIN)
                    return
                for message in self._messages(given):
                    if not await self._deliver(message):
                        return
                    follower.bytes_sent += len(message.body)
                self._given = None
                follower.resume()
        finally:
            self._given = self._follower = None
            self._came.clear()
            follower.close()

    def _take(self, given: Given) -> None:
        """Of the follower: one piece, and no more until it is delivered."""
        self._given = given
        if self._follower is not None:
            self._follower.hold()
        self._came.set()

    def _messages(self, given: Piece | Gap | None) -> Iterator[_Message]:
        """The requests that tell this."""
        if isinstance(given, Gap):
            resumed = parse_cursor(given.resumed_at)
            if resumed is not None:
                yield _Message(f"msg_gap_{given.resumed_at}", gap_body(given), resumed.sequence)
            return
        frames = given.wire.split(b"\n\n")[:-1] if given is not None else []
        for place, frame in enumerate(frames, start=1):
            head, _, event = frame.partition(b"\ndata: ")
            sequence = given.last if place == len(frames) and given is not None else int(head[head.rindex(b"-") + 1 :])
            yield _Message(_id_of(event), self._body(event), sequence, event)

    def _body(self, event: bytes) -> bytes:
        """What is sent of the JSON of an event."""
        form = self._means.forms.get(self.webhook.purpose.form)
        before = str(Cursor(self._means.followers.log.identity, self.webhook.standing.sequence))
        return event if form is None else form.body(self.webhook, event, before)

    # --- one request --------------------------------------------------------------------------------------------------

    async def _deliver(self, message: _Message) -> bool:
        """Whether it was accepted, or given up, and the cursor is behind it."""
        standing, means = self.webhook.standing, self._means
        before, after_dead = standing.trouble, standing.after_dead
        reply = await self.post(message.id, message.body, attempt=before.run if before else 0)
        now = means.now()
        # A gap grows while nobody takes it, and is the same one.
        of = _GAP if message.event is None else message.id
        outcome = decide(reply, before, of=of, now=now, chance=chance(), after_dead=after_dead)
        if refused := self.refused(reply):
            outcome = Outcome("dead")  # and no letter
        elif outcome.next == "dead" and message.event is not None and self._full(message.event):
            outcome = Outcome("pause", outcome.trouble, "full")
        means.counts["accepted" if outcome is ACCEPTED else "failed"] += 1
        if outcome is ACCEPTED or outcome.next == "dead":
            told = msgspec.structs.replace(
                standing,
                sequence=message.sequence,
                at=now,
                trouble=None,
                after_dead=outcome.next == "dead" and not refused,
            )
            if outcome is ACCEPTED:
                events = standing.accepted + (message.event is not None)
                told = msgspec.structs.replace(told, accepted=events, accepted_at=now)
            await self._settle(told, outcome, message)
        else:
            await self._note(msgspec.structs.replace(standing, trouble=outcome.trouble, pause=outcome.pause))
        self._say(outcome, "a webhook", first=before is None, event=message)
        self._tried.set()
        return outcome is ACCEPTED or outcome.next == "dead"

    async def _note(self, standing: Standing) -> None:
        """
        Keep what came of an attempt that moved nothing. Where the log takes nothing it counts all the same: nobody is
        asked more often because our disk is full.
        """
        try:
            await self._means.register.move([(self.webhook, standing)])
        except LogError as error:
            self.webhook.standing = standing
            _log.warning("what came of an attempt is not saved", problem=error.what, **self.webhook.told)

    async def _settle(self, standing: Standing, outcome: Outcome, message: _Message) -> None:
        """Bring to disk that it is done. Until that works it is not done again, and nothing else is."""
        register, webhook, trouble, said = self._means.register, self.webhook, outcome.trouble, False
        while True:
            try:
                if trouble is None or message.event is None:
                    await register.move([(webhook, standing)])
                    return
                letter = Letter(
                    sequence=message.sequence,
                    since=trouble.since,
                    at=standing.at,
                    attempts=trouble.attempts,
                    fault=trouble.fault,
                    status=trouble.status,
                    event=msgspec.Raw(message.event),
                )
                await register.bury(webhook, letter, standing)
                self._means.counts["dead"] += 1
            except LogError as error:
                if not said:  # once: a full disk is no reason to write that again and again
                    _log.error("the place of a webhook cannot be saved", problem=error.what, **webhook.told)
                said = True
                await asyncio.sleep(AGAIN)
            else:
                return

    def _full(self, event: bytes) -> bool:
        """Whether there is no room for it among the dead letters."""
        size = self.webhook.letter_bytes + len(event)
        return self.webhook.letters >= kept.LETTERS or size > kept.LETTER_BYTES

    async def send(self, kind: Kind) -> Reply:
        """Send a challenge, or a test, now."""
        message = f"msg_{kind}_{secrets.token_hex(16)}"
        challenge = secrets.token_urlsafe(32) if kind == "verification" else None
        told = {"type": kind, "timestamp": rfc3339(self._means.now())}
        if challenge is not None:
            told["challenge"] = challenge
        return await self.post(message, msgspec.json.encode(told), challenge=challenge)

    async def repeat(self, letter: Letter) -> Reply:
        """Send what was given up once more, now."""
        event = bytes(letter.event)
        reply = await self.post(_id_of(event), self._body(event))
        self._means.counts["accepted" if reply.fault is None else "failed"] += 1
        return reply

    def refused(self, reply: Reply) -> bool:
        """Whether the receiver has said that it wants no more of that event, and that all else may come."""
        form = self._means.forms.get(self.webhook.purpose.form)
        return form is not None and reply.status in form.refusals

    async def post(self, message: str, body: bytes, *, attempt: int = 0, challenge: str | None = None) -> Reply:
        """Make a request."""
        async with self._means.room.of(self.webhook.owner):
            reply = await self._call(message, body, attempt=attempt, challenge=challenge)
        self.webhook.last, self.webhook.last_at = reply, self._means.now()
        if reply.fault is not None:
            self._means.counts[f"fault:{reply.fault}"] += 1
        return reply

    async def _call(self, message: str, body: bytes, *, attempt: int, challenge: str | None) -> Reply:
        purpose, now = self.webhook.purpose, self._means.now()
        headers = signing.headers(message, now // 1000, body, purpose.secrets(now))
        try:
            receiver = target.parse(purpose.url, private=purpose.trust.private)
        except UsageError:  # of the configuration, which allows no private address
            return Reply(fault="address_refused")
        return await self._means.caller.call(
            receiver,
            {**purpose.headers, **headers},
            body,
            trust=purpose.trust,
            attempt=attempt,
            challenge=challenge,
            owner=self.webhook.owner,
        )

    def _say(self, outcome: Outcome, what: str, *, first: bool = False, event: _Message | None = None) -> None:
        """One line when it begins to fail, and whenever something is given up. None says where the receiver is."""
        trouble = outcome.trouble
        if trouble is None or (outcome.next == "again" and not first):
            return
        about = {"reason": trouble.fault, "status": trouble.status, "attempts": trouble.attempts, **self.webhook.told}
        if outcome.next == "again":
            _log.warning(f"{what} is not accepted, and is tried again", **about)
        elif outcome.next == "dead" and event is not None and event.event is None:
            _log.error("the receiver of a webhook was not told what retention took, and it goes on", **about)
        elif outcome.next == "dead":
            _log.error(
                "an event of a webhook is given up, and kept as a dead letter", event_id=event and event.id, **about
            )
        else:
            _log.error(
                f"{what} is paused: nothing more is sent, its place in the log stays", why=outcome.pause, **about
            )


def gap_body(gap: Gap) -> bytes:
    """What is told of events that retention took before they could be delivered."""
    return msgspec.json.encode({"type": "gap", "cursor": gap.resumed_at, **msgspec.structs.asdict(gap)})


class _Identified(msgspec.Struct):
    id: str


_identified: Final = msgspec.json.Decoder(_Identified)


def _id_of(event: bytes) -> str:
    return _identified.decode(event).id


def now() -> int:
    """Unix milliseconds."""
    return int(time.time() * 1000)
