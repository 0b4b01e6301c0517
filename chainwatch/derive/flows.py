"""
What moved to and from the watched wallets in a block: the facts behind `wallet_incoming`, `wallet_outgoing`, and the
causes of `balance_changed`.

Value of transactions, value inside them (by traces), withdrawals of the beacon chain, tokens, wrapped native currency.
Only what succeeded counts. An amount of 0 moves nothing: such transfers are made to put a stranger's address into a
wallet's history (address poisoning).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from chainwatch.chain.evm.block import Block, RpcReceipt, RpcTransaction, quantity
from chainwatch.derive.rules import Rules
from chainwatch.derive.transfers import moves_of
from chainwatch.derive.wraps import wraps

Kind = Literal["native", "internal", "token", "withdrawal"]


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Value that moved, seen from one watched wallet. Addresses are lower case."""

    wallet: str
    counterparty: str | None
    token: str
    """Contract; empty for the native currency."""
    amount: int
    """Base units; positive came in, negative went out."""
    kind: Kind
    cause: str
    """As `Cause.kind`."""
    standard: str | None = None
    """Of the token; null for the native currency."""
    token_id: int | None = None
    tx_hash: str | None = None
    transaction_index: int | None = None
    log_index: int | None = None
    position: str = ""
    """Tells flows of one transaction apart: place in a batch, path of a trace, index of a withdrawal."""


def flows(block: Block, rules: Rules) -> list[Flow]:
    """Everything that moved to or from a wallet, by transaction, then in the order of the logs; withdrawals last."""
    if not rules.wallets:
        return []
    found = [*_values(block, rules), *_moves(block, rules), *_tokens(block, rules), *_wraps(block, rules)]
    found.sort(key=_place)
    found.extend(_withdrawals(block, rules))
    return found


def succeeded(receipt: RpcReceipt) -> bool:
    """Whether its transaction did what it was to do. Before Byzantium no receipt says, and it is taken to have."""
    return receipt.status is None or int(receipt.status, 16) != 0


def receipts_of(block: Block, rules: Rules) -> Iterator[tuple[int, RpcTransaction, RpcReceipt]]:
    """The transactions that wallets sent or received, with their receipts and places."""
    wallets = rules.wallets
    whole = len(block.receipts) == len(block.transactions)
    by_hash = {} if whole else {receipt.transaction_hash: receipt for receipt in block.receipts}
    for index, transaction in enumerate(block.transactions):
        to = transaction.to
        if transaction.from_.lower() not in wallets and (to is not None and to.lower() not in wallets):
            continue
        receipt = block.receipts[index] if whole else by_hash.get(transaction.hash)
        if receipt is not None:
            yield index, transaction, receipt


def _place(flow: Flow) -> tuple[int, int]:
    index = -1 if flow.transaction_index is None else flow.transaction_index
    return index, -1 if flow.log_index is None else flow.log_index


def _both(rules: Rules, sender: str, to: str, amount: int, base: Flow) -> Iterator[Flow]:
    """A movement between two addresses, once for each that is watched."""
    if amount == 0:
        return
    if sender in rules.wallets:
        yield msgspec.structs.replace(base, wallet=sender, counterparty=to, amount=-amount)
    if to in rules.wallets:
        yield msgspec.structs.replace(base, wallet=to, counterparty=sender, amount=amount)


def _values(block: Block, rules: Rules) -> Iterator[Flow]:
    for index, transaction, receipt in receipts_of(block, rules):
        to = transaction.to or receipt.contract_address
        if to is None or not succeeded(receipt):
            continue
        base = Flow(
            wallet="", counterparty=None, token="", amount=0, kind="native", cause="value",
            tx_hash=transaction.hash.lower(), transaction_index=index,
        )  # fmt: skip
        yield from _both(rules, transaction.from_.lower(), to.lower(), quantity(transaction.value, 256), base)


def _moves(block: Block, rules: Rules) -> Iterator[Flow]:
    if not block.readings.moves:
        return
    places = {transaction.hash.lower(): index for index, transaction in enumerate(block.transactions)}
    for move in block.readings.moves:
        base = Flow(
            wallet="", counterparty=None, token="", amount=0, kind="internal", cause="internal",
            tx_hash=move.tx_hash, transaction_index=places.get(move.tx_hash), position=move.path,
        )  # fmt: skip
        yield from _both(rules, move.sender, move.to, move.amount, base)


def _tokens(block: Block, rules: Rules) -> Iterator[Flow]:
    wallets = rules.wallets
    for log in block.logs:
        moved = moves_of(log)
        if moved is None:
            continue
        standard, (sender, _), (to, _), parts = moved
        if sender not in wallets and to not in wallets:
            continue
        for place, (token_id, amount) in enumerate(parts):
            base = Flow(
                wallet="", counterparty=None, token=log.address.lower(), amount=0, kind="token", cause="transfer",
                standard=standard, token_id=token_id, tx_hash=log.transaction_hash.lower(),
                transaction_index=int(log.transaction_index, 16), log_index=int(log.log_index, 16),
                position=str(place) if len(parts) > 1 else "",
            )  # fmt: skip
            yield from _both(rules, sender, to, amount, base)


def _wraps(block: Block, rules: Rules) -> Iterator[Flow]:
    traced = block.readings.moves is not None
    for wrap in wraps(block, rules):
        if wrap.wallet not in rules.wallets or wrap.amount == 0:
            continue
        into = wrap.kind == "wrap"
        flow = Flow(
            wallet=wrap.wallet, counterparty=wrap.contract, token=wrap.contract,
            amount=wrap.amount if into else -wrap.amount, kind="token", cause=wrap.kind, standard="erc20",
            tx_hash=wrap.tx_hash, transaction_index=wrap.transaction_index, log_index=wrap.log_index,
        )  # fmt: skip
        yield flow
        if not into and not traced:
            # The contract pays who unwraps, by a call that only a trace would show.
            paid = msgspec.structs.replace(flow, token="", standard=None, kind="internal", position="unwrap")
            yield msgspec.structs.replace(paid, amount=wrap.amount)


def _withdrawals(block: Block, rules: Rules) -> Iterator[Flow]:
    for withdrawal in block.withdrawals:
        wallet, amount = withdrawal.address.lower(), quantity(withdrawal.amount, 64) * 10**9
        if wallet in rules.wallets and amount:
            yield Flow(
                wallet=wallet, counterparty=None, token="", amount=amount, kind="withdrawal", cause="withdrawal",
                position=str(quantity(withdrawal.index, 64)),
            )  # fmt: skip
