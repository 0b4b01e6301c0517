"""
Balances of many wallets at a block, native and of tokens, in as few requests as the node allows.

The first way that works is kept for the connection: the reader by a state override, the reader as a creation, a
question for each balance. A way is left where it fails while a plain question about the same block is answered: then
the fault is the way's. The first answer of a reader is compared with a plain one, so a node that takes overrides and
ignores what they say is found out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import structlog

from chainwatch.chain.evm import reader
from chainwatch.chain.evm.abi import uint_of
from chainwatch.chain.evm.at import IN_FLIGHT, ZERO, At, amount, text
from chainwatch.chain.evm.endpoint import CallFailed
from chainwatch.chain.evm.reads import Holding
from chainwatch.chain.evm.ways import CHUNK, Reader

FEW = 2
"""Balances that are asked for one by one in any case: that is no dearer, and every node can do it."""
LEAST = 16
"""Pairs below which a smaller call would not help."""
SAMPLE = 4
"""Of how many of the wallets the first answer of a reader is compared with plain ones."""
STUMBLES = 3
"""How often a reader that once worked may fail before it is left."""

BALANCE_OF = "0x70a08231"
NEXT: Final[dict[Reader, Reader]] = {"override": "deployless", "deployless": "plain"}
_TOO_MUCH: Final = re.compile(r"gas|413|too large|too big|size|time|limit|exceed")
_logger = structlog.get_logger()


async def balances(at: At, holdings: Sequence[Holding]) -> dict[Holding, int | None]:
    """Base units; None where a contract has no answer. `CallFailed` where the state cannot be read now, or at all."""
    found: dict[Holding, int | None] = dict.fromkeys(holdings)
    wanted = [
        holding for holding in found if holding[0] != ZERO
    ]  # zero is no contract; to the reader it is the currency
    if len(wanted) <= FEW:
        return {**found, **await _plain(at, wanted)}
    while wanted:
        pairs = wanted[: _most(at)]
        told = await _read(at, pairs)
        found.update(zip(pairs, told, strict=False))  # the gas may not have reached for all
        wanted = wanted[len(told) :]
    return found


def _most(at: At) -> int:
    ways = at.endpoint.ways
    if ways.reader == "plain":
        return IN_FLIGHT
    return ways.chunk if ways.reader == "override" else min(ways.chunk, reader.MOST_OF_CREATION)


async def _read(at: At, pairs: list[Holding]) -> list[int | None]:
    """The balances of the first of these pairs; of none where they have to be asked for in another way, or fewer."""
    ways = at.endpoint.ways
    used = ways.reader
    if used == "plain":
        return list((await _plain(at, pairs)).values())
    told: list[int | None] | None = None
    problem: str | None = "it is answered with something else"
    try:
        told = await _by_reader(at, used, pairs)
    except CallFailed as failed:
        if failed.kind in ("lost", "limited"):
            raise
        problem = failed.reason
        if len(pairs) > LEAST and (failed.kind == "too_large" or _TOO_MUCH.search(problem.lower())):
            ways.chunk = min(ways.chunk, max(LEAST, len(pairs) // 2))
            return []
    if told and ways.proven and ways.reader == used:
        ways.stumbles = 0
        return told
    sample = _sample(at, pairs, told or [])
    asked = [at.balance(wallet) for wallet in sample]
    plain = [amount(await future) for future in asked]  # an error here is the state's own, and says what is wrong
    if told:
        read = await _by_reader(at, used, [("", wallet) for wallet in sample])
        problem = None if read == plain else f"it reads {read} where eth_getBalance says {plain}"
    if ways.reader != used:  # another block found out meanwhile
        return []
    if told and problem is None:
        ways.proven = any(plain)  # nothing is proven by nothing
        return told
    ways.stumbles += 1
    if ways.proven and ways.stumbles < STUMBLES:
        raise CallFailed("eth_call", "failed", f"the reader of balances: {problem}")
    _leave(at, used, problem)
    return []


def _sample(at: At, pairs: list[Holding], told: list[int | None]) -> list[str]:
    """Wallets to compare by; among them, where there are any, such that have something."""
    busy = [transaction.from_.lower() for transaction in at.block.transactions[:2]]
    rich = [wallet for (token, wallet), balance in zip(pairs, told, strict=False) if balance and not token]
    return list(dict.fromkeys([*busy, *rich[:SAMPLE], *[wallet for _, wallet in pairs[:SAMPLE]]]))


async def _by_reader(at: At, used: Reader, pairs: list[Holding]) -> list[int | None] | None:
    """What the reader answers; None where that is no answer of it. No gas is named: nodes give what they allow."""
    asked = reader.question(pairs)
    if used == "override":
        call: list[Any] = [{"to": reader.ADDRESS, "data": f"0x{asked}"}, at.where]
        call.append({reader.ADDRESS: {"code": f"0x{reader.code()}"}})
    else:
        call = [{"data": f"0x{reader.code()}{asked}"}, at.where]
    return reader.answers(text(await at.endpoint.start("eth_call", call)), len(pairs))


def _leave(at: At, used: Reader, problem: str | None) -> None:
    ways = at.endpoint.ways
    ways.reader, ways.proven, ways.stumbles, ways.chunk = NEXT[used], False, 0, CHUNK
    _logger.debug(
        "balances are read in another way", endpoint=at.endpoint.name, way=ways.reader, instead_of=used, reason=problem
    )


async def _plain(at: At, holdings: list[Holding]) -> dict[Holding, int | None]:
    native = {wallet: at.balance(wallet) for token, wallet in holdings if not token}
    tokens = [(token, wallet) for token, wallet in holdings if token]
    said = await at.answers([(token, f"{BALANCE_OF}{wallet[2:]:0>64}") for token, wallet in tokens])
    told = {holding: uint_of(data) if data else None for holding, data in zip(tokens, said, strict=True)}
    return {holding: told[holding] if holding[0] else amount(await native[holding[1]]) for holding in holdings}
