"""
The one serial path from «there may be a new head» to a step that is committed.

A pushed head, of whatever endpoint, or a timer, only wakes the follower. It then looks at the head of the endpoint in
use, finds the common ancestor, fetches and checks every new block before anything is retracted, and hands one step to
the sink. Anything may be orphaned between two requests: what does not fit together is a `Setback`, never a commit, and
the next look starts from what the node says then. Nothing here gives up for good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from chainwatch.chain.evm import fetch
from chainwatch.chain.evm.block import MALFORMED, Header
from chainwatch.chain.evm.catchup import CatchUp
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint
from chainwatch.chain.evm.fetch import Needs, Setback
from chainwatch.chain.evm.head import Found, Patience, TooDeep, judge
from chainwatch.chain.evm.link import SLACK, choose
from chainwatch.chain.evm.profile import Profile
from chainwatch.chain.evm.status import Situation, describe
from chainwatch.chain.evm.step import Sink, Step

TICK = 1.0
"""Seconds after which the follower looks round without being woken."""
FINALITY_EVERY = 1.0
"""Seconds between two looks at `safe` and `finalized`."""
FINALITY_AGAIN = 60.0
"""Seconds until a node that failed to say what is final is asked again."""
DEEP_AGAIN = 5.0
"""Seconds until a chain that may not be taken is looked at again."""
DEEP_BENCH = 60.0
"""The same where another endpoint has the chain that was told."""
AUDIT_AGAIN = 2.0
"""Seconds until an audit that failed is tried again; twice as long each time it fails."""
LONGEST_AUDIT_AGAIN = 120.0
GRACE = 3.0
"""Seconds that an endpoint may be behind before another is used, and must hold before it is preferred again."""


class Follower:
    """Follows one chain. `run` is its task; the endpoints' tasks belong to it."""

    def __init__(
        self,
        *,
        chain: str,
        endpoints: Callable[[Callable[[], None]], Sequence[Endpoint]],
        profile: Profile,
        needs: Needs,
        sink: Sink,
        start: int | None,
        max_reorg_depth: int,
        stall_after: float | None,
    ) -> None:
        """
        `endpoints` builds them, given what to call on a change; `start`: the first block to tell at the very first
        start, None for the head.
        """
        self._woken = asyncio.Event()
        self.endpoints = endpoints(self._woken.set)
        self._profile = profile
        self._sink = sink
        self._start = start
        self._max_depth = max_reorg_depth
        self._stall_after = stall_after
        self._logger = structlog.get_logger().bind(chain=chain)
        self._catch_up = CatchUp(sink, needs, max_depth=max_reorg_depth, moved=self._tell_status)
        self._patience = Patience(seconds=min(profile.quiet * 2, 10.0))
        self._current: int | None = None
        self._best = -1
        self._best_at = time.monotonic()
        self._polls_seen: dict[Endpoint, int] = {}
        self._setbacks = 0
        self._trouble: str | None = None
        self._deep: dict[Endpoint, float] = {}
        """When an endpoint was found to have a chain that may not be taken."""
        self._audit_at = 0.0
        self._audits_failed = 0
        self._finality_at = 0.0
        self._finality_tip: str | None = None
        self.halted: str | None = None
        self.state = "connecting"
        self.reason: str | None = None
        self.reorgs = 0
        self._told: tuple[str, str | None] | None = None

    # --- the loop ---

    async def run(self) -> None:
        """Follow the chain for ever."""
        async with asyncio.TaskGroup() as tasks:
            for endpoint in self.endpoints:
                tasks.create_task(endpoint.run(), name=f"endpoint {endpoint.name}")
            tasks.create_task(self._follow(), name="follower")

    async def _follow(self) -> None:
        while True:
            await self._tell_status()
            try:
                async with asyncio.timeout(TICK):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            endpoint = self._choose()
            if endpoint is None:
                continue
            try:
                await self._advance(endpoint)
            except Setback as setback:
                await self._recover(endpoint, str(setback), lie=setback.lie)
            except CallFailed as failed:
                if failed.kind == "limited":
                    self._catch_up.pace.limited()
                    endpoint.rest(failed.retry_after or min(2.0 ** min(self._setbacks, 5) * 0.25, 10.0))
                await self._recover(endpoint, str(failed), lie=failed.kind == "lost")
            except MALFORMED as error:
                await self._recover(endpoint, f"an answer that is none: {endpoint.explain(error)}", lie=True)
            else:
                self._setbacks, self._trouble = 0, None

    def _choose(self) -> Endpoint | None:
        """The endpoint to use now."""
        now = time.monotonic()
        tip = self._sink.window.tip
        heads = self._compare(now)
        best = max([*heads, tip.number if tip else -1])
        for one in self.endpoints:
            behind = one.head is None or one.head.number < best - SLACK
            one.behind_since = (one.behind_since or now) if behind else None
        chosen = choose([one.standing(now) for one in self.endpoints], now, grace=GRACE, current=self._current)
        if chosen is not None and chosen != self._current:
            self._logger.info("using endpoint", endpoint=self.endpoints[chosen].name)
        self._current = chosen
        return None if chosen is None else self.endpoints[chosen]

    def _compare(self, now: float) -> list[int]:
        """The heads that the endpoints name, those left alone for what they said excepted."""
        heads = [
            one.head.number for one in self.endpoints if one.ready and one.head is not None and one.benched_until <= now
        ]
        if heads and max(heads) != self._best:
            self._best, self._best_at = max(heads), now
        return heads

    async def _recover(self, endpoint: Endpoint, reason: str, *, lie: bool) -> None:
        """After a setback: a short pause, longer each time; an endpoint that goes on like that is left for a while."""
        reason = endpoint.clean(reason)  # a node's own words may be in it
        self._setbacks += 1
        # The 4th, the 8th, the 16th: what lasts for hours is no line a second.
        loud = self._setbacks > 2 and self._setbacks.bit_count() == 1
        self._logger.log(30 if loud else 10, "looking again", endpoint=endpoint.name, reason=reason)
        if self._setbacks >= 3:
            self._trouble = reason
        if (lie and self._setbacks >= 4) or self._setbacks >= 10:
            endpoint.bench(min(2.0 ** min(self._setbacks, 6), 30.0), reason)
        await self._tell_status()
        await asyncio.sleep(min(0.02 * 2.0 ** min(self._setbacks, 6), 1.0))
        self._woken.set()

    @property
    def at_head(self) -> Endpoint | None:
        """The endpoint in use, where all that it has is told."""
        endpoint = None if self._current is None else self.endpoints[self._current]
        tip = self._sink.window.tip
        if endpoint is None or tip is None or not endpoint.ready or endpoint.head is None:
            return None
        return endpoint if endpoint.head.hash == tip.hash else None

    # --- one look ---

    async def _advance(self, endpoint: Endpoint) -> None:
        """Bring what was told up to the endpoint's head."""
        sink = self._sink
        if self._setbacks:
            await endpoint.latest()  # a head that was pushed may be of no chain at all: the newest word counts
        while (head := endpoint.head) is not None:
            if (deep := self._deep.get(endpoint)) is not None and time.monotonic() - deep < DEEP_AGAIN:
                return
            verdict = judge(sink.window, head)
            if verdict == "fork":
                # It may be a balanced backend on a branch that is gone: the newest word counts.
                head = await endpoint.latest()
                verdict = judge(sink.window, head)
            if verdict == "behind" and not self._below_all(head):
                return
            if verdict in ("known", "behind"):
                await self._known(endpoint, head)
                break
            if verdict == "first":
                await self._begin(endpoint, head)
            elif not await self._adopt(endpoint, head, child=verdict == "child"):
                return
        self._clear_halt(endpoint)
        await self._finality(endpoint)
        await self._audit(endpoint)

    async def _audit(self, endpoint: Endpoint) -> None:
        """Look at the state at the tip, when it is time, where the endpoint has it."""
        tip, head = self._sink.window.tip, endpoint.head
        if tip is None or head is None or head.hash != tip.hash or time.monotonic() < self._audit_at:
            return
        if (asked := self._sink.audit()) is None:
            return
        try:
            await self._catch_up.audit(endpoint, tip, asked)
        except (Setback, CallFailed, *MALFORMED) as error:
            # No setback: what was told is good without it, and the endpoint is, for blocks.
            wait = min(AUDIT_AGAIN * 2.0**self._audits_failed, LONGEST_AUDIT_AGAIN)
            self._audit_at = time.monotonic() + wait
            self._audits_failed = min(self._audits_failed + 1, 16)
            if isinstance(error, CallFailed) and error.kind == "limited":
                endpoint.rest(error.retry_after or wait)
            self._logger.debug("no audit of balances", endpoint=endpoint.name, reason=endpoint.explain(error))
        else:
            self._audits_failed = 0

    async def _begin(self, endpoint: Endpoint, head: Header) -> None:
        """The very first blocks."""
        first = head.number if self._start is None else self._start
        if first > head.number:
            raise Setback(f"the chain has not reached block {first} yet, where the configuration starts")
        await self._catch_up.stream(endpoint, first, head.number, None, [])

    async def _known(self, endpoint: Endpoint, head: Header) -> None:
        """The head is a block that was told: the tip (all is told), a node that is behind, or a rollback."""
        tip = self._sink.window.tip
        if tip is None or head.hash == tip.hash:
            self._patience.present()
            return
        if self._polls_seen.get(endpoint) == endpoint.polls:
            return  # only the answer to a question counts: a pushed head may be late
        self._polls_seen[endpoint] = endpoint.polls
        there = await fetch.header_at(endpoint, tip.number)
        if there is not None and there.hash == tip.hash:
            self._patience.present()
            return
        now = time.monotonic()
        if any(number >= tip.number for number in self._compare(now)):
            return
        if not self._patience.missing(tip, head, now):
            return
        found = self._catch_up.walk().receive(head)
        if isinstance(found, TooDeep):
            self._halt(endpoint, found.reason)
        elif isinstance(found, Found):
            self._logger.warning("the chain was rolled back", tip=tip.number, head=head.number)
            self.reorgs += 1
            await self._sink.commit(Step(found.ancestor, self._sink.window.above(found.ancestor), []))

    def _below_all(self, head: Header) -> bool:
        """The head is below the block at which telling began, and not so far that it can only be a node that syncs."""
        window = self._sink.window
        return (
            window.tip is not None
            and window.oldest == self._sink.first
            and (window.tip.number - head.number <= self._max_depth)
        )

    async def _adopt(self, endpoint: Endpoint, head: Header, *, child: bool) -> bool:
        """Take the endpoint's chain up to `head`. False where that would be too deep a reorganisation."""
        window = self._sink.window
        tip = window.tip
        if tip is None:
            return True
        if child:
            await self._catch_up.child(endpoint, head, tip)
            return True
        found = await self._catch_up.ancestor(endpoint, head, tip)
        if isinstance(found, TooDeep):
            self._halt(endpoint, found.reason)
            return False
        orphaned = window.above(found)
        if orphaned:
            self.reorgs += 1
            self._logger.info("reorganisation", depth=len(orphaned), ancestor=found.number, head=head.number)
        await self._catch_up.stream(endpoint, found.number + 1, head.number, found, orphaned)
        return True

    async def _finality(self, endpoint: Endpoint) -> None:
        """Look at what the chain calls safe and finalized, when there was a new block and not too often."""
        tip, now = self._sink.window.tip, time.monotonic()
        if tip is None or tip.hash == self._finality_tip or not endpoint.finality:
            return
        if now - self._finality_at < FINALITY_EVERY:
            return
        try:
            asked = {tag: fetch.header_at(endpoint, tag) for tag in ("safe", "finalized")}
            found = await asyncio.gather(*asked.values())
            marks = {
                tag: header
                for tag, header in zip(asked, found, strict=True)
                if header is not None and header.number <= tip.number and self._on_our_chain(header)
            }
        except CallFailed as failed:
            if failed.kind == "unknown":  # a young chain has no such block yet
                return
            if failed.kind not in ("unsupported", "failed"):
                raise
            # Some call a tag that they do not know by any name of an error; others fail once.
            endpoint.finality = failed.kind != "unsupported"
            self._finality_at = now + FINALITY_AGAIN
            return
        self._finality_at, self._finality_tip = now, tip.hash
        await self._sink.finality(marks)

    def _on_our_chain(self, header: Header) -> bool:
        told = self._sink.window.at(header.number)
        return told is None or told.hash == header.hash

    # --- what to say ---

    def _halt(self, endpoint: Endpoint, reason: str) -> None:
        """The endpoint's chain may not be taken. Where every connected endpoint has such a chain, the chain halts."""
        self._deep[endpoint] = time.monotonic()
        others = [one for one in self.endpoints if one.ready and one not in self._deep]
        endpoint.bench(DEEP_BENCH if others else DEEP_AGAIN, f"it is on another chain: {reason}")
        if others:
            self._logger.warning("endpoint is on another chain", endpoint=endpoint.name, reason=reason)
        elif self.halted is None:
            self.halted = reason
            self._logger.error(
                "chain halted: nothing was retracted, and nothing is told until the node's chain fits again",
                reason=reason,
            )

    def _clear_halt(self, endpoint: Endpoint) -> None:
        self._deep.pop(endpoint, None)
        if self.halted is not None:
            self.halted = None
            self._logger.warning("the chain goes on", endpoint=endpoint.name)

    def _situation(self) -> Situation:
        ready = [one for one in self.endpoints if one.ready]
        in_use = None if self._current is None else self.endpoints[self._current]
        tip = self._sink.window.tip
        now = time.monotonic()
        self._compare(now)
        why = [(one.name, one.trouble(now)) for one in (self.endpoints[:1] if ready else self.endpoints)]
        return Situation(
            ready=len(ready),
            was_ready=any(one.connects for one in self.endpoints),
            tried=all(one.failures for one in self.endpoints),
            in_use=in_use.name if in_use else None,
            preferred=self._current == 0,
            tip=tip.number if tip else None,
            head=in_use.head.number if in_use and in_use.head else None,
            silent=now - self._best_at,
            stall_after=self._stall_after,
            halted=self.halted or self._sink.blocked,
            trouble=self._trouble,
            reason=next((f"{name}: {reason}" for name, reason in why if reason is not None), None),
        )

    async def _tell_status(self) -> None:
        situation = self._situation()
        self.state, self.reason = describe(situation)
        if (self.state, situation.in_use) != self._told:
            self._told = (self.state, situation.in_use)
            level = 30 if self.state in ("degraded", "stalled", "disconnected", "halted") else 20
            self._logger.log(level, "chain status", state=self.state, endpoint=situation.in_use, reason=self.reason)
            await self._sink.status(self.state, situation.in_use, self.reason)

    def vitals(self) -> dict[str, Any]:
        """What `/v1/stats` and `/health` tell of the chain."""
        tip = self._sink.window.tip
        situation = self._situation()
        state, reason = describe(situation)  # of now: a step that waits for room keeps the loop from telling it
        return {
            "state": state,
            "ready": state in ("connected", "degraded"),
            "reason": reason,
            "endpoint": situation.in_use,
            "head": tip.number if tip else None,
            "head_hash": tip.hash if tip else None,
            "node_head": situation.head,
            "lag_seconds": round(max(0.0, time.time() - tip.timestamp), 3) if tip else None,
            "finalized": self._sink.finalized,
            "reorgs": self.reorgs,
            "endpoints": [one.vitals() for one in self.endpoints],
        }
