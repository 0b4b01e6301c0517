"""
Swaps out of logs: Uniswap v2, v3 and v4, PancakeSwap v3, and the forks that write the same logs.

A swap log has amounts and no tokens: those are the pool's (`Known.pools`), read of it once, or learnt from the log that
made a pool of Uniswap v4. There one contract, the PoolManager, holds every pool, and a pool has an id instead of an
address. Any contract can write a swap log with whatever it likes in it: a pool is its contract, or its manager and id,
never the id alone, and what it claims to trade is its own claim.

Told as the pool sees it: `in` is what it took, `out` what it gave.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from eth_hash.auto import keccak

from chainwatch.chain.evm.block import Block, RpcLog
from chainwatch.chain.evm.reads import Pool
from chainwatch.derive.known import Known, pool_key
from chainwatch.derive.ratio import plain
from chainwatch.derive.rules import Rules
from chainwatch.derive.transfers import TRANSFER
from chainwatch.derive.words import ZERO, Party, party
from chainwatch.eip55 import checksum
from chainwatch.event import PART, Event, identify, rfc3339
from chainwatch.payloads import TokenSwap

SWAP_V2: Final = "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822"
"""Swap(address,uint256,uint256,uint256,uint256,address)"""
SWAP_V3: Final = "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67"
"""Swap(address,address,int256,int256,uint160,uint128,int24)"""
SWAP_V4: Final = "0x40e9cecb9f5f1f1c5b9c97dec2917b7ee92e57ba5563708daca94dd84ad7112f"
"""Swap(bytes32,address,int128,int128,uint160,uint128,int24,uint24)"""
SWAP_PANCAKE_V3: Final = "0x19b47279256b2a23a1665c810c8d55a1758940ee09377d4f8d26497a3577dc83"
"""Swap(address,address,int256,int256,uint160,uint128,int24,uint128,uint128)"""
INITIALIZE_V4: Final = "0xdd466e674ea557f56295e2d0218a125ea4b4f0f6f3307b95f85e6110838d6438"
"""Initialize(bytes32,address,address,uint24,int24,address,uint160,int24)"""


class Swap(NamedTuple):
    """What a swap log says."""

    protocol: str
    key: str
    """The pool, as `Known.pools` has it."""
    pool_id: str | None
    """Of Uniswap v4."""
    sender: Party
    recipient: Party | None
    amount0: int
    """What the pool took of its first token; negative: what it gave."""
    amount1: int


def candidates(block: Block, rules: Rules) -> set[str]:
    """
    The pools (as `Known.pools` has them) whose tokens must be known before `swaps` can tell this block: all that
    swapped; or, where only wallets and listed tokens are watched, those of a swap that touches a wallet, or of a
    transaction in which a listed token moved from or to the pool's contract.
    """
    if not rules.tells_transfers:
        return set()
    readers = _READERS
    found = [
        (log, swap)
        for log in block.logs
        if (topics := log.topics) and (read := readers.get(topics[0])) is not None and (swap := read(log)) is not None
    ]
    if rules.transfers == "all" or not found:
        return {swap.key for _, swap in found}
    of_wallets = _of_wallets(block, rules)
    moved = _moved(block, rules) if rules.tokens else set()
    return {
        swap.key
        for log, swap in found
        if _touches(swap, log, rules, of_wallets) or (log.transaction_hash, log.address.lower()) in moved
    }


def swaps(block: Block, rules: Rules, known: Known, retracted: int) -> Iterator[Event]:
    """The swaps of a block that the rules want, in the order of their logs."""
    if not rules.tells_transfers:
        return
    everything = rules.transfers == "all"
    of_wallets = set() if everything else _of_wallets(block, rules)
    tokens, pools = rules.tokens, known.pools
    header = block.header
    timestamp, observed = rfc3339(header.timestamp * 1000), rfc3339(block.arrived)
    block_parts = PART.join([rules.chain, header.hash, "token_swap", ""])
    readers = _READERS
    for log in block.logs:
        topics = log.topics
        if not topics or (read := readers.get(topics[0])) is None or (swap := read(log)) is None:
            continue
        pool = pools.get(swap.key, _UNKNOWN)
        listed = pool.token0 in tokens or pool.token1 in tokens
        if not everything and not listed and not _touches(swap, log, rules, of_wallets):
            continue
        first = swap.amount0 > 0
        taken, given = (pool.token0, pool.token1) if first else (pool.token1, pool.token0)
        amount_in = swap.amount0 if first else swap.amount1
        amount_out = -swap.amount1 if first else -swap.amount0
        token_in, decimals_in = _describe(taken, rules, known)
        token_out, decimals_out = _describe(given, rules, known)
        index, tx_hash = int(log.log_index, 16), log.transaction_hash.lower()
        yield Event(
            # As `event_id` joins them: no subject and no threshold.
            id=identify(f"{block_parts}{tx_hash}{PART}{index}{PART}{PART}{PART}{retracted}"),
            type="token_swap",
            timestamp=timestamp,
            observed_at=observed,
            chain=rules.chain,
            data=TokenSwap(
                protocol=swap.protocol,
                pool=swap.pool_id or checksum(swap.key),
                manager=None if swap.pool_id is None else checksum(log.address.lower()),
                sender=swap.sender[1],
                recipient=None if swap.recipient is None else swap.recipient[1],
                token_in=token_in,
                token_in_address=checksum(taken) if taken else None,
                decimals_in=decimals_in,
                amount_in=str(amount_in),
                token_out=token_out,
                token_out_address=checksum(given) if given else None,
                decimals_out=decimals_out,
                amount_out=str(amount_out),
                price=_price(amount_in, decimals_in, amount_out, decimals_out),
                tx_hash=tx_hash,
                transaction_index=int(log.transaction_index, 16),
                log_index=index,
                block_number=header.number,
                block_hash=header.hash,
            ),
        )


def initialized(block: Block) -> dict[str, Pool]:
    """
    The pools of Uniswap v4 that were made in the block, by `Known.pools`' keys. The id is a hash over the pool's
    tokens, so a log that claims others than the real pool's proves itself wrong.
    """
    found: dict[str, Pool] = {}
    for log in block.logs:
        topics = log.topics
        if topics and topics[0] == INITIALIZE_V4 and (pool := _initialize(log)) is not None:
            found[pool_key(log.address.lower(), topics[1].lower())] = pool
    return found


def _initialize(log: RpcLog) -> Pool | None:
    topics, data = log.topics, log.data
    if len(topics) != 4 or len(data) < 2 + 64 * 5:
        return None
    token0, token1 = party(topics[2]), party(topics[3])
    if token0 is None or token1 is None or token0[0] >= token1[0]:
        return None
    # PoolKey: both tokens, fee, tick spacing, hooks; v4-core, types/PoolId.sol.
    pool_key_ = bytes.fromhex(topics[2][2:] + topics[3][2:] + data[2 : 2 + 64 * 3])
    if keccak(pool_key_).hex() != topics[1][2:].lower():
        return None
    return Pool(token0="" if token0[0] == ZERO else token0[0], token1=token1[0])


def _of_wallets(block: Block, rules: Rules) -> set[str]:
    """The transactions that wallets sent, as far as the block has them."""
    wallets = rules.wallets
    return {told.hash for told in block.transactions if told.from_.lower() in wallets} if wallets else set()


def _touches(swap: Swap, log: RpcLog, rules: Rules, of_wallets: set[str]) -> bool:
    """Whether a wallet swaps: by itself, or through a router in a transaction of its own, or gets what comes out."""
    wallets = rules.wallets
    return (
        swap.sender[0] in wallets
        or (swap.recipient is not None and swap.recipient[0] in wallets)
        or log.transaction_hash in of_wallets
    )


def _moved(block: Block, rules: Rules) -> set[tuple[str, str]]:
    """(transaction, address) wherever a listed token moved from or to the address."""
    found: set[tuple[str, str]] = set()
    for log in block.logs:
        topics = log.topics
        if len(topics) == 3 and topics[0] == TRANSFER and log.address.lower() in rules.tokens:
            found.update((log.transaction_hash, told[0]) for topic in topics[1:] if (told := party(topic)) is not None)
    return found


_UNKNOWN: Final = Pool()


def _describe(token: str | None, rules: Rules, known: Known) -> tuple[str | None, int | None]:
    """Symbol and decimals of one side of a pool."""
    if token is None:
        return None, None
    if not token:
        return rules.native, rules.decimals
    symbol, _, decimals = known.describe(token)
    return symbol, decimals


def _price(amount_in: int, decimals_in: int | None, amount_out: int, decimals_out: int | None) -> str | None:
    """Whole units out for one whole unit in."""
    if decimals_in is None or decimals_out is None:
        return None
    return plain(amount_out * 10**decimals_in, amount_in * 10**decimals_out)


# --- the logs -----------------------------------------------------------------------------------------------------

_MOST_128: Final = 1 << 127
_id = re.compile(r"0x[0-9a-fA-F]{64}").fullmatch


def _signed(word: str) -> int:
    number = int(word, 16)
    return number - (number >> 255 << 256)


def _v2(log: RpcLog) -> Swap | None:
    topics, data = log.topics, log.data
    if len(topics) != 3 or len(data) < 258:
        return None
    sender, recipient = party(topics[1]), party(topics[2])
    # What came in and what went out, of each token: a flash swap, or a fee on the transfer, has both.
    amount0 = int(data[2:66], 16) - int(data[130:194], 16)
    amount1 = int(data[66:130], 16) - int(data[194:258], 16)
    if sender is None or recipient is None or not _trades(amount0, amount1):
        return None
    return Swap("uniswap_v2", log.address.lower(), None, sender, recipient, amount0, amount1)


def _v3(log: RpcLog) -> Swap | None:
    return _like_v3(log, "uniswap_v3", 2 + 64 * 5)


def _pancake(log: RpcLog) -> Swap | None:
    return _like_v3(log, "pancakeswap_v3", 2 + 64 * 7)


def _like_v3(log: RpcLog, protocol: str, length: int) -> Swap | None:
    topics, data = log.topics, log.data
    if len(topics) != 3 or len(data) < length:
        return None
    sender, recipient = party(topics[1]), party(topics[2])
    amount0, amount1 = _signed(data[2:66]), _signed(data[66:130])
    if sender is None or recipient is None or not _trades(amount0, amount1):
        return None
    return Swap(protocol, log.address.lower(), None, sender, recipient, amount0, amount1)


def _v4(log: RpcLog) -> Swap | None:
    topics, data = log.topics, log.data
    if len(topics) != 3 or len(data) < 2 + 64 * 6 or not _id(topics[1]):
        return None
    sender = party(topics[2])
    # Seen from who swaps: negative is paid, to the pool.
    amount0, amount1 = -_signed(data[2:66]), -_signed(data[66:130])
    if sender is None or not _trades(amount0, amount1) or max(abs(amount0), abs(amount1)) > _MOST_128:
        return None
    pool_id = topics[1].lower()
    return Swap("uniswap_v4", pool_key(log.address.lower(), pool_id), pool_id, sender, None, amount0, amount1)


def _trades(amount0: int, amount1: int) -> bool:
    return amount0 > 0 > amount1 or amount1 > 0 > amount0


_READERS: Final[dict[str, Callable[[RpcLog], Swap | None]]] = {
    SWAP_V2: _v2,
    SWAP_V3: _v3,
    SWAP_V4: _v4,
    SWAP_PANCAKE_V3: _pancake,
}
