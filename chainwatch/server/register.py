"""
The agents of a log: in memory as they are on disk, and moved on disk first.

An acknowledgement is answered when it is durable; acknowledgements of many agents share a commit, as all appends do.
Of one agent each one written is at least as far as the one before, in whatever order they came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from chainwatch.log import Change, Log
from chainwatch.server import durable
from chainwatch.server.durable import Purpose, Spot
from chainwatch.stream.stream import Stream

if TYPE_CHECKING:
    from chainwatch.server.subscription import Subscription


class Agent:
    """One durable stream."""

    __slots__ = ("asked", "changed", "ending", "gone", "name", "owner", "purpose", "saved", "socket", "stream")

    def __init__(self, owner: str, name: str, purpose: Purpose, saved: Spot) -> None:
        self.owner: Final = owner
        self.name: Final = name
        self.purpose = purpose
        self.saved = saved
        """On disk."""
        self.asked = saved.sequence
        """Where it goes on: acknowledged, on disk or on its way there."""
        self.stream: Stream | None = None
        """While somebody listens by `/stream`."""
        self.socket: Subscription | None = None
        """While somebody listens by WebSocket; never both."""
        self.ending: asyncio.Task[None] | None = None
        """What left of the stream before is being found out."""
        self.gone = False
        """It was deleted."""


class Register:
    """Every agent of a log, by owner and name."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.time) -> None:
        """`clock`: Unix seconds."""
        self._log = log
        self._clock = clock
        self._agents: dict[tuple[str, str], Agent] = {}
        self._one_by_one = asyncio.Lock()  # agents come, change and go

    async def load(self) -> None:
        """Read what is kept."""
        places = {durable.whose(key): value for key, value in await self._log.scan(*durable.PLACES)}
        for key, value in await self._log.scan(*durable.AGENTS):
            whose = durable.whose(key)
            purpose = msgspec.json.decode(value, type=Purpose)
            self._agents[whose] = Agent(*whose, purpose, msgspec.json.decode(places[whose], type=Spot))

    def get(self, owner: str, name: str) -> Agent | None:
        """The agent of that name of theirs."""
        agent = self._agents.get((owner, name))
        return None if agent is None or agent.gone else agent

    def of(self, owner: str) -> list[Agent]:
        """All of theirs, by name."""
        return sorted((agent for agent in self._agents.values() if agent.owner == owner), key=lambda one: one.name)

    async def put(
        self, owner: str, name: str, words: dict[str, list[str]], start: Callable[[], Awaitable[int]]
    ) -> tuple[Agent, bool]:
        """
        An agent for these words; whether it is new. `start` says where a new one begins, and may refuse it. An old one
        stays where it is.
        """
        async with self._one_by_one:
            agent, now = self.get(owner, name), self._now()
            if agent is not None:
                if words != agent.purpose.words:
                    purpose = Purpose(words, agent.purpose.created, now)
                    await self._log.append((), [durable.put_purpose(owner, name, purpose)])
                    agent.purpose = purpose
                return agent, False
            agent = Agent(owner, name, Purpose(words, now, now), Spot(await start(), now))
            await self._log.append(
                (), [durable.put_purpose(owner, name, agent.purpose), durable.put_place(owner, name, agent.saved)]
            )
            self._agents[owner, name] = agent
            return agent, True

    async def delete(self, agent: Agent) -> None:
        """Forget it."""
        async with self._one_by_one:
            if agent.gone:
                return
            agent.gone = True  # from here on it is not moved, or that would be kept behind this
            try:
                await self._log.append((), durable.forget(agent.owner, agent.name))
            except BaseException:
                agent.gone = False
                raise
            del self._agents[agent.owner, agent.name]

    async def move(self, agent: Agent, sequence: int) -> None:
        """It has everything up to `sequence`. Returns when that is durable."""
        if sequence > agent.saved.sequence:
            agent.asked = max(agent.asked, sequence)
            await self.save([agent])

    async def save(self, agents: Iterable[Agent]) -> None:
        """Bring to disk how far these have come, in one commit."""
        now = self._now()
        moved = [(agent, Spot(agent.asked, now)) for agent in agents if not agent.gone]
        changes: list[Change] = [durable.put_place(agent.owner, agent.name, place) for agent, place in moved]
        await self._log.append((), changes)
        for agent, place in moved:
            if place.sequence > agent.saved.sequence:
                agent.saved = place

    def _now(self) -> int:
        return int(self._clock() * 1000)
