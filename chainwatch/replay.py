"""
One past block, derived as it would be today: how somebody tries a filter or a wallet before relying on it.

It talks to a chain's endpoints as the daemon does and touches no log. Balances are compared with the block before, as
if the daemon had been there: that needs a node that still has the state of both. What hangs on more than a block and
its parent is not told: what became of pending transactions, finality, audits of balances, states. With `min_change` a
price is compared with the round before, not with the one that a daemon told last.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import msgspec

from chainwatch.chain.evm import fetch, state
from chainwatch.chain.evm.block import MALFORMED, Block
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint
from chainwatch.chain.evm.fetch import Setback
from chainwatch.chain.evm.profile import profile
from chainwatch.chain.evm.reads import NOTHING, Holding, Reads
from chainwatch.config import ChainSettings, Settings
from chainwatch.derive.balances import Holdings
from chainwatch.derive.feeds import Feeds
from chainwatch.derive.flows import flows
from chainwatch.derive.known import Known
from chainwatch.derive.questions import questions
from chainwatch.derive.rules import Rules
from chainwatch.derive.swaps import initialized
from chainwatch.derive.transactions import confirmed
from chainwatch.errors import ChainwatchError, Unreachable
from chainwatch.event import Event, rfc3339
from chainwatch.teller import derived
from chainwatch.wiring import endpoints, needs, rules

TRIES = 3
"""Times that a node whose answers do not fit together is asked again."""


class Replay(msgspec.Struct, frozen=True):
    """What a block tells."""

    events: list[Event]
    unread: str | None
    """Why there are no balances among them, where wallets are watched."""


async def replay(settings: Settings, chain: ChainSettings, number: int) -> Replay:
    """
    The events of that block, with each confirmation that it has by now. `Unreachable` where no endpoint can be had;
    `ChainwatchError` where the chain has no such block, or the nodes do not give it.
    """
    wanted = rules(chain, settings)
    problem = ""
    async with contextlib.AsyncExitStack() as stack:
        for endpoint in await stack.enter_async_context(_connected(chain)):
            for _ in range(TRIES):
                try:
                    return await _of(endpoint, wanted, number)
                except (Setback, CallFailed, *MALFORMED) as error:
                    problem = f"{endpoint.name}: {endpoint.explain(error)}"
    raise ChainwatchError(f"block {number} of {chain.name} cannot be had", why=problem)


@contextlib.asynccontextmanager
async def _connected(chain: ChainSettings) -> AsyncIterator[Sequence[Endpoint]]:
    """The endpoints of a chain that answer, in order of preference."""
    woken = asyncio.Event()
    every = endpoints(chain, profile(chain.chain_id))(woken.set)
    tasks = [asyncio.create_task(one.run(), name=f"endpoint {one.name}") for one in every]
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chain.request_timeout * 2):
                # The preferred one is waited for as long as it may still come.
                while not every[0].ready and not all(one.ready or one.failures for one in every):
                    woken.clear()
                    await woken.wait()
        ready = [one for one in every if one.ready]
        if not ready:
            why = "\n".join(f"{one.name}: {one.link.reason or 'no answer'}" for one in every)
            raise Unreachable(f"no endpoint of {chain.name} can be reached", why=why)
        yield ready
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _of(endpoint: Endpoint, wanted: Rules, number: int) -> Replay:
    head = await endpoint.latest()
    header = None if number > head.number else await fetch.header_at(endpoint, number)
    if header is None:
        raise ChainwatchError(
            f"{wanted.chain} has no block {number}", why=f"its newest block is {head.number}, says {endpoint.name}"
        )
    block = await fetch.block_by_hash(endpoint, header, needs(wanted))
    before, unread = await _before(endpoint, wanted, block)
    known, feeds = Known(wanted.tokens), Feeds(wanted)
    holdings = Holdings(wanted, before)
    if number > 0 and wanted.feeds:
        # What the feeds said before, so that only what this block brought is told.
        parent = await fetch.header_by_hash(endpoint, header.parent_hash)
        if parent is not None:
            below = fetch.bare(parent)
            readings = await state.answer(endpoint, below, Reads(feeds=tuple(wanted.feeds)))
            feeds.updates(msgspec.structs.replace(below, readings=readings), 0)
    known.learn(pools=initialized(block))
    for again in (False, True):
        asked = questions(block, wanted, known, holdings, feeds, again=again)
        if unread:
            asked = msgspec.structs.replace(asked, balances=())
        if asked != NOTHING:
            readings = await state.answer(endpoint, block, asked)
            known.learn(readings.tokens, readings.pools)
            block = msgspec.structs.replace(block, readings=block.readings.with_more(readings))
    found = flows(block, wanted)
    succeeded, events = derived(block, found, wanted, known, 0)
    events += [*feeds.updates(block, 0), *holdings.tell(block, found, 0)]
    for depth in wanted.confirmations:
        if 1 < depth <= head.number - number + 1:
            events += confirmed(succeeded, depth, wanted.chain, rfc3339(block.arrived))
    return Replay(events, unread)


async def _before(endpoint: Endpoint, wanted: Rules, block: Block) -> tuple[dict[Holding, int], str | None]:
    """What the wallets held before the block; else why nobody knows."""
    every = Holdings(wanted, {}).wanted
    if not every or block.header.number == 0:
        return {}, None
    parent = await fetch.header_by_hash(endpoint, block.header.parent_hash)
    if parent is None:
        raise Setback("the node does not have the parent of the block")
    readings = await state.answer(endpoint, fetch.bare(parent), Reads(balances=every))
    if readings.unreadable:
        return {}, f"{endpoint.name} no longer has the state of block {parent.number}"
    return {pair: held for pair, held in readings.balances.items() if held is not None}, None
