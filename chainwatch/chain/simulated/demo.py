"""
The chain behind `serve --demo`: a simulated world that lives, at the pace of a clock.

What happens next, and after how long, is a pure function of the seed and the number of the step (`Schedule`); the
runner only waits and does it. So two demos of one seed tell the same story, with other time stamps.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from chainwatch.chain.simulated.contracts import ACCOUNTS
from chainwatch.chain.simulated.node import SimulatedNode
from chainwatch.chain.simulated.primitives import Dice
from chainwatch.chain.simulated.transactions import DEFAULT_MIX
from chainwatch.chain.simulated.world import World

BLOCK_TIME: Final = 2.0
"""Seconds between two blocks of a demo."""
HISTORY: Final = 64
"""Blocks that are there when it starts."""
KEEP: Final = 2048
"""Newest blocks that a demo holds: more than an hour of them, in about 35 MB."""

MIX: Final = {**DEFAULT_MIX, "report": 8}
"""A demo has a price, too."""


class Step(NamedTuple):
    """One thing that happens to the chain."""

    wait: float
    """Block times since the last one."""
    depth: int
    """Newest blocks that are replaced: 0 is no reorganisation."""
    length: int
    """New blocks."""


class Schedule:
    """
    An endless story: mostly one block a block time; about every thirtieth step a reorganisation of depth 1 to 3, every
    fiftieth a silence of 3 to 8 block times, every fortieth a burst of blocks in quick succession.
    """

    def __init__(self, seed: int) -> None:
        self._dice = Dice("schedule", seed)
        self._burst = 0

    def step(self) -> Step:
        dice = self._dice
        if self._burst:
            self._burst -= 1
            return Step(0.1, 0, 1)
        if dice.one_in(30):
            depth = dice.between(1, 3)
            return Step(1, depth, depth + dice.between(0, 1))
        if dice.one_in(50):
            return Step(float(dice.between(3, 8)), 0, 1)
        if dice.one_in(40):
            self._burst = dice.between(4, 12)
        return Step(1, 0, 1)


class Bustle:
    """
    What goes on in the pool between blocks: about every sixth step somebody pays more to be faster, or takes back what
    waits; and now and then a transaction comes that pays too little, waits, and is forgotten.
    """

    def __init__(self, seed: int) -> None:
        self._dice = Dice("bustle", seed)
        self._stuck: tuple[int, int] | None = None
        """Nonce of the one that is stuck, and the steps until it is forgotten."""

    def step(self, world: World) -> None:
        dice = self._dice
        if dice.one_in(6) and world.pool:
            world.replace(dice.pick(world.pool).hash, cancel=dice.one_in(3))
        if self._stuck is None:
            if dice.one_in(12):
                # Of somebody who sends little, so that his place is not taken at once.
                self._stuck = world.underpay(ACCOUNTS[-1]).nonce, dice.between(4, 10)
            return
        nonce, steps = self._stuck
        self._stuck = nonce, steps - 1
        if steps <= 1:
            self._stuck = None
            # It may have been outbid meanwhile, by one that is stuck as well.
            for waiting in [t for t in world.pool if t.sender == ACCOUNTS[-1] and t.nonce == nonce]:
                world.evict(waiting.hash)


class Clock:
    """Unix time, but first that of the history: as if each of its blocks had come at its time."""

    def __init__(self, history: int, block_time: float) -> None:
        self._now: float | None = time.time() - (history + 1) * block_time
        self._block_time = block_time

    def __call__(self) -> float:
        if self._now is None:
            return time.time()
        self._now += self._block_time
        return self._now

    def catch_up(self) -> None:
        """From now on it is now."""
        self._now = None


@asynccontextmanager
async def demo(
    seed: int,
    *,
    port: int = 0,
    block_time: float = BLOCK_TIME,
    history: int = HISTORY,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[SimulatedNode]:
    """
    A node over a chain that has `history` blocks and goes on by itself for as long as the context is open.

    `block_time` is in seconds; `pause` is given those until the next step. Who it is about: `node.world.native`,
    `contracts.TOKENS`, `contracts.WALLETS`.
    """
    clock = Clock(history, block_time)
    world = World(seed, clock=clock, keep=KEEP, mix=MIX)
    world.mine(history)
    clock.catch_up()
    async with SimulatedNode(world, port=port) as node:
        living = asyncio.create_task(
            _live(world, Schedule(seed), Bustle(seed), block_time, pause), name="simulated chain"
        )
        try:
            yield node
        finally:
            living.cancel()
            await asyncio.wait([living])
            if not living.cancelled():
                living.result()  # it never returns: tell what ended it


async def _live(
    world: World,
    schedule: Schedule,
    bustle: Bustle,
    block_time: float,
    pause: Callable[[float], Awaitable[None]],
) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        step = schedule.step()
        due = max(due + step.wait * block_time, loop.time())  # after the machine slept, no flood of blocks
        await pause(due - loop.time())
        if step.depth:
            world.reorg(min(step.depth, world.head.number - world.oldest), step.length)
        else:
            world.mine(step.length)
        bustle.step(world)
