"""
What has to be read of the state before a block can be told: balances, unknown tokens and pools, price feeds, traces,
reasons of failures.

Asked in two rounds: the second asks for what the answers of the first bring up (the tokens of a pool, the wallets that
a trace names).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chainwatch.chain.evm.block import Block, RpcLog
from chainwatch.chain.evm.reads import Reads
from chainwatch.derive.approvals import APPROVAL, APPROVAL_FOR_ALL, PERMIT2, token_of
from chainwatch.derive.balances import PLAIN_GAS, Holdings
from chainwatch.derive.feeds import Feeds
from chainwatch.derive.flows import flows, succeeded
from chainwatch.derive.known import Known
from chainwatch.derive.rules import Rules
from chainwatch.derive.swaps import candidates
from chainwatch.derive.transfers import TRANSFER, TRANSFER_BATCH, TRANSFER_SINGLE

ROUNDS = 2

_TOKEN_EVENTS = frozenset({TRANSFER, TRANSFER_SINGLE, TRANSFER_BATCH, APPROVAL, APPROVAL_FOR_ALL})


def questions(
    block: Block,
    rules: Rules,
    known: Known,
    holdings: Holdings,
    feeds: Feeds,
    *,
    again: bool,
) -> Reads:
    """
    What to read; `again`: the block has the answers of the first round. Where that asked for nothing, there is no
    second one.
    """
    pools = candidates(block, rules)
    of_pools = _of_pools(pools, known) if pools else ()
    if again:
        return Reads(
            balances=holdings.touched(block, flows(block, rules)) if _traces(block, rules) else (),
            tokens=tuple(sorted(token for token in of_pools if not known.has_token(token))),
        )
    traces = _traces(block, rules)
    return Reads(
        balances=() if traces or not rules.wallets else holdings.touched(block, flows(block, rules)),
        moves=traces,
        reverts=tuple(_unexplained(block, rules)),
        tokens=tuple(sorted({token for token in (*_of_logs(block, rules), *of_pools) if not known.has_token(token)})),
        pools=tuple(sorted(pool for pool in pools if not known.has_pool(pool))) if pools else (),
        feeds=feeds.asks(block) if rules.feeds else (),
    )


def _traces(block: Block, rules: Rules) -> bool:
    """Whether something in the block may have moved value that only a trace shows."""
    return rules.internal and bool(rules.wallets) and block.gas_used != PLAIN_GAS * block.transaction_count


def _unexplained(block: Block, rules: Rules) -> Iterator[str]:
    """Failed transactions that are told, and whose receipt does not say why."""
    if not rules.tells_transactions:
        return
    parties = {transaction.hash: transaction for transaction in block.transactions}
    for receipt in block.receipts:
        if not succeeded(receipt) and not receipt.revert_reason:
            transaction = parties.get(receipt.transaction_hash)
            if transaction is not None and rules.tells_transaction(transaction.from_, transaction.to):
                yield transaction.hash


def _of_logs(block: Block, rules: Rules) -> Iterator[str]:
    """The contracts of the token events that are told, as far as a glance shows; a few more do no harm."""
    everything = rules.transfers == "all"
    if not everything and not rules.wallets:
        return  # only listed tokens are told, and these are known
    digits = {wallet[2:] for wallet in rules.wallets}
    for log in block.logs:
        if log.topics and log.topics[0] in _TOKEN_EVENTS and (everything or _names(log, digits)):
            yield log.address.lower()
        elif log.address.lower() == PERMIT2 and (everything or _names(log, digits)):
            token = token_of(log)
            if token is not None:
                yield token


def _names(log: RpcLog, digits: set[str]) -> bool:
    return any(topic[-40:].lower() in digits for topic in log.topics[1:])


def _of_pools(pools: Iterable[str], known: Known) -> set[str]:
    found = (known.pools.get(key) for key in pools)
    return {token for pool in found if pool is not None for token in (pool.token0, pool.token1) if token}
