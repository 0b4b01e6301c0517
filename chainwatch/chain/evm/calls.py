"""
What contracts say of themselves at a block: tokens, exchange pools, price feeds.

Plain calls, all at once, each with gas of its own: a contract that burns what it gets costs us no more than another.
One that reverts, has no code, or answers nonsense has said that too: None, and nothing goes wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from eth_hash.auto import keccak

from chainwatch.chain.evm.abi import address_of, decimals_of, flag_of, int_of, text_of, uint_of
from chainwatch.chain.evm.at import ZERO, At
from chainwatch.chain.evm.reads import Feed, Metadata, Pool
from chainwatch.text import NAME_LENGTH, SYMBOL_LENGTH

SYMBOL, NAME, DECIMALS = "0x95d89b41", "0x06fdde03", "0x313ce567"
SUPPORTS = "0x01ffc9a7"
"""supportsInterface(bytes4), EIP-165."""
ERC721, ERC1155 = f"{SUPPORTS}80ac58cd{'0' * 56}", f"{SUPPORTS}d9b67a26{'0' * 56}"
TOKEN0, TOKEN1 = "0x0dfe1681", "0xd21220a7"
AGGREGATOR, PHASE, LATEST = "0x245a7bfc", "0x58303b10", "0xfeaf968c"
POOL_KEYS = "0x86b6be7d"
"""poolKeys(bytes25) of Uniswap's v4 PositionManager."""
KEY_WORDS = 5
"""A v4 pool's key: currency0, currency1, fee, tickSpacing, hooks. Its Keccak-256 is the pool's id."""

_v4_pool = re.compile(r"0x[0-9a-f]{40}:(?:0x)?([0-9a-f]{64})").fullmatch


async def _said(at: At, contracts: Sequence[str], questions: Sequence[str]) -> list[list[str]]:
    """What each contract answers to each question, `0x` where it fails."""
    told = await at.answers([(contract, data) for contract in contracts for data in questions])
    width = len(questions)
    return [[data or "0x" for data in told[start : start + width]] for start in range(0, len(told), width)]


async def tokens(at: At, contracts: Sequence[str]) -> dict[str, Metadata]:
    said = await _said(at, contracts, (SYMBOL, NAME, DECIMALS, ERC721, ERC1155))
    return {contract: _metadata(*answers) for contract, answers in zip(contracts, said, strict=True)}


def _metadata(symbol: str, name: str, decimals: str, erc721: str, erc1155: str) -> Metadata:
    return Metadata(
        symbol=text_of(symbol, SYMBOL_LENGTH),
        name=text_of(name, NAME_LENGTH),
        decimals=decimals_of(decimals),
        standard="erc721" if flag_of(erc721) else "erc1155" if flag_of(erc1155) else None,
    )


async def pools(at: At, keys: Sequence[str]) -> dict[str, Pool]:
    """By their keys: contracts, or `manager:id` of Uniswap v4."""
    found = dict.fromkeys(keys, Pool())
    contracts = [key for key in keys if ":" not in key]
    for contract, (first, second) in zip(contracts, await _said(at, contracts, (TOKEN0, TOKEN1)), strict=True):
        token0, token1 = address_of(first), address_of(second)
        if token0 is not None and token1 is not None:
            found[contract] = Pool(token0=token0, token1=token1)
    positions = at.endpoint.profile.position_manager
    ids = {key: match[1] for key in keys if (match := _v4_pool(key))} if positions else {}
    told = await at.answers([(positions or "", f"{POOL_KEYS}{pool_id[:50]:0<64}") for pool_id in ids.values()])
    for (key, pool_id), data in zip(ids.items(), told, strict=True):
        found[key] = _proven(data or "0x", pool_id)
    return found


def _proven(key: str, pool_id: str) -> Pool:
    """The tokens of a v4 pool by its key. Its id is the key's hash: whoever told the key, it is the right one."""
    digits = key[2 : 2 + 64 * KEY_WORDS]
    if len(digits) != 64 * KEY_WORDS:
        return Pool()
    try:
        fits = keccak(bytes.fromhex(digits)).hex() == pool_id
    except ValueError:
        return Pool()
    token0, token1 = address_of(key), address_of(key, 1)
    if not fits or token0 is None or token1 is None:
        return Pool()
    return Pool(token0=_currency(token0), token1=_currency(token1))


def _currency(address: str) -> str:
    return "" if address == ZERO else address


async def feeds(at: At, proxies: Sequence[str]) -> dict[str, Feed | None]:
    said = await _said(at, proxies, (AGGREGATOR, DECIMALS, PHASE, LATEST))
    return {proxy: _feed(*answers) for proxy, answers in zip(proxies, said, strict=True)}


def _feed(aggregator: str, decimals: str, phase: str, latest: str) -> Feed | None:
    contract, places = address_of(aggregator), decimals_of(decimals)
    if contract is None or contract == ZERO or places is None:
        return None
    # roundId, answer, startedAt, updatedAt, answeredInRound
    round_id, answer, updated_at = uint_of(latest), int_of(latest, 1), uint_of(latest, 3)
    known = round_id is not None and answer is not None and updated_at is not None
    return Feed(
        aggregator=contract,
        decimals=places,
        phase=uint_of(phase) or 0,
        answer=answer if known else None,
        round_id=round_id if known else None,
        updated_at=updated_at if known else None,
    )
