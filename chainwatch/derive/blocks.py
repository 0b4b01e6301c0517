"""What a block itself tells, and what a reorganisation tells."""

from __future__ import annotations

from collections.abc import Sequence

from chainwatch.chain.evm.block import Block, Header
from chainwatch.event import Event, event_id, rfc3339
from chainwatch.payloads import BlockFinalized, BlockNew, BlockRef, ChainReorg


def block_new(block: Block, chain: str, retracted: int) -> Event:
    """The block joined the canonical chain."""
    header = block.header
    return Event(
        id=event_id(chain, header.hash, BlockNew.TYPE, None, None, None, None, retracted),
        type=BlockNew.TYPE,
        timestamp=rfc3339(header.timestamp * 1000),
        observed_at=rfc3339(block.arrived),
        chain=chain,
        data=BlockNew(
            block_number=header.number,
            block_hash=header.hash,
            parent_hash=header.parent_hash,
            transaction_count=block.transaction_count,
            gas_used=str(block.gas_used),
            gas_limit=str(block.gas_limit),
            base_fee_per_gas=None if block.base_fee_per_gas is None else str(block.base_fee_per_gas),
        ),
    )


def block_finalized(header: Header, tag: str, chain: str, retracted: int, now: int) -> Event:
    """The chain calls this block, and all below, `safe` or `finalized`. `now` in Unix milliseconds."""
    return Event(
        id=event_id(chain, header.hash, BlockFinalized.TYPE, None, None, tag, None, retracted),
        type=BlockFinalized.TYPE,
        timestamp=rfc3339(header.timestamp * 1000),
        observed_at=rfc3339(now),
        chain=chain,
        data=BlockFinalized(block_number=header.number, block_hash=header.hash, tag=tag),
    )


def chain_reorg(
    ancestor: Header, orphaned: Sequence[Header], blocks: Sequence[Block], chain: str, retracted: int, now: int
) -> Event:
    """
    `orphaned` left the canonical chain for `blocks`. `retracted`: how often the old tip had been orphaned before,
    so that A → B → A → B tells two reorganisations and not one twice. `now` in Unix milliseconds.
    """
    tip = orphaned[-1]
    new_tip = blocks[-1].header.hash if blocks else ancestor.hash
    return Event(
        id=event_id(chain, tip.hash, ChainReorg.TYPE, None, ancestor.hash, new_tip, None, retracted),
        type=ChainReorg.TYPE,
        timestamp=rfc3339(blocks[-1].header.timestamp * 1000 if blocks else now),
        observed_at=rfc3339(now),
        chain=chain,
        data=ChainReorg(
            depth=len(orphaned),
            common_ancestor=BlockRef(ancestor.number, ancestor.hash),
            old_blocks=[BlockRef(header.number, header.hash) for header in orphaned],
            new_blocks=[BlockRef(block.header.number, block.header.hash) for block in blocks],
        ),
    )
