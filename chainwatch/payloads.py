"""
The catalogue: `data` of every type of event that chainwatch itself tells, each with its category and what it means.

This is the one registry. Filters, the JSON Schema, the AsyncAPI document and the manual page of the events are made
from it; a type that is not here does not exist. Amounts are decimal strings of base units; hashes are lower case;
addresses are EIP-55.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec


class Payload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`data` of an event."""

    TYPE: ClassVar[str]
    CATEGORY: ClassVar[str]
    DESCRIPTION: ClassVar[str]


# --- blocks -------------------------------------------------------------------------------------------------------


class BlockRef(msgspec.Struct, frozen=True, gc=False):
    block_number: int
    block_hash: str


class BlockNew(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "block_new"
    CATEGORY = "block"
    DESCRIPTION = "A block joined the canonical chain."

    block_number: int
    block_hash: str
    parent_hash: str
    transaction_count: int
    gas_used: str
    gas_limit: str
    base_fee_per_gas: str | None
    """Wei; null before EIP-1559."""


class BlockFinalized(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "block_finalized"
    CATEGORY = "block"
    DESCRIPTION = "The newest block that the chain calls safe, or finalized, moved."

    block_number: int
    block_hash: str
    tag: str
    """`safe` or `finalized`."""


class ChainReorg(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "chain_reorg"
    CATEGORY = "block"
    DESCRIPTION = "Blocks were orphaned. The retractions follow, newest block first, then the new blocks, oldest first."

    depth: int
    """How many blocks were orphaned."""
    common_ancestor: BlockRef
    old_blocks: list[BlockRef]
    """Oldest first."""
    new_blocks: list[BlockRef]
    """Oldest first: those that are told in the same step; empty when the chain only became shorter."""


# --- transactions -------------------------------------------------------------------------------------------------


class Transaction(Payload, frozen=True, kw_only=True, gc=False):
    """What every transaction event tells."""

    tx_hash: str
    from_: str = msgspec.field(name="from")
    to: str | None
    """Null where the transaction creates a contract."""
    amount: str
    token: str
    """The chain's native currency."""
    decimals: int
    nonce: int
    direction: str | None
    """`incoming`, `outgoing` or `self`, seen from the watched wallets; null where none takes part."""


class UnconfirmedTransaction(Transaction, frozen=True, kw_only=True, gc=False):
    """A transaction that waits, or waited, in the mempool."""

    max_fee_per_gas: str | None
    """Wei that the sender pays at most for a unit of gas; the gas price of transactions before EIP-1559."""
    max_priority_fee_per_gas: str | None
    """Wei of that for who makes the block; null before EIP-1559."""


class TransactionPending(UnconfirmedTransaction, frozen=True, kw_only=True, gc=False):
    TYPE = "transaction_pending"
    CATEGORY = "transaction"
    DESCRIPTION = "A transaction was seen in the mempool: it may be included, replaced, or dropped."


class TransactionReplaced(UnconfirmedTransaction, frozen=True, kw_only=True, gc=False):
    TYPE = "transaction_replaced"
    CATEGORY = "transaction"
    DESCRIPTION = "Another transaction of the same sender with the same nonce took the place of one that was pending."

    replaced_by: str
    """Hash of the other transaction."""
    kind: str
    """`cancel`: the other sends nothing, to its own sender. `speed_up`: any other."""
    block_number: int | None
    """The block that includes the other; null while that is pending itself."""
    block_hash: str | None


class TransactionDropped(UnconfirmedTransaction, frozen=True, kw_only=True, gc=False):
    TYPE = "transaction_dropped"
    CATEGORY = "transaction"
    DESCRIPTION = "A pending transaction is gone, and was not included."

    reason: str
    """`gone`: the node does not know it any more; `nonce_used`: the sender's nonce has moved past it; `expired`: it
    waited too long."""


class IncludedTransaction(Transaction, frozen=True, kw_only=True, gc=False):
    """A transaction in a block."""

    block_number: int
    block_hash: str
    transaction_index: int
    gas_used: str | None
    fee: str | None
    """Wei, the blob fee included; null where the node does not give the price paid."""


class TransactionConfirmed(IncludedTransaction, frozen=True, kw_only=True, gc=False):
    TYPE = "transaction_confirmed"
    CATEGORY = "transaction"
    DESCRIPTION = "A transaction reached one of the configured numbers of confirmations (its own block counts as 1)."

    confirmations: int


class TransactionFailed(IncludedTransaction, frozen=True, kw_only=True, gc=False):
    TYPE = "transaction_failed"
    CATEGORY = "transaction"
    DESCRIPTION = "A transaction was included and reverted. Told at inclusion, and never as confirmed."

    revert_reason: str | None
    """The text of the revert, the meaning of a panic, or the name or selector of a custom error; null where the node
    does not tell."""


# --- wallets ------------------------------------------------------------------------------------------------------


class Cause(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that moved a balance."""

    kind: str
    """`value`, `gas`, `blob_fee`, `withdrawal`, `tip`, `internal`, `transfer`, `wrap`, `unwrap`."""
    amount: str
    """Base units, signed."""
    tx_hash: str | None
    """Null for withdrawals of validators and tips."""


class BalanceChanged(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "balance_changed"
    CATEGORY = "wallet"
    DESCRIPTION = "The balance of a watched wallet, read at this block, is another than the one told before."

    address: str
    token: str
    token_address: str | None
    """Null for the native currency."""
    decimals: int
    balance: str
    previous_balance: str
    """The balance of the event before: of `balance_changed`, or of the first reading in `wallet_status`."""
    delta: str
    """Signed."""
    causes: list[Cause]
    unattributed: str
    """Signed: `delta` minus the sum of the causes. "0" when all is explained."""
    block_number: int
    block_hash: str


class WalletMovement(Payload, frozen=True, kw_only=True, gc=False):
    """Value that moved to or from a watched wallet."""

    address: str
    """The watched wallet."""
    counterparty: str | None
    """The other side; null where there is none (a withdrawal of the beacon chain)."""
    token: str | None
    token_address: str | None
    """Null for the native currency."""
    decimals: int | None
    amount: str
    token_id: str | None
    """ERC-721, ERC-1155; null otherwise."""
    kind: str
    """`native`, `internal`, `token` or `withdrawal`."""
    known_token: bool
    """False: the token is not a configured one. Anybody can make such a transfer up: it may be spam."""
    tx_hash: str | None
    """Null for a withdrawal."""
    transaction_index: int | None
    log_index: int | None
    """Tokens; null otherwise."""
    block_number: int
    block_hash: str


class WalletIncoming(WalletMovement, frozen=True, kw_only=True, gc=False):
    TYPE = "wallet_incoming"
    CATEGORY = "wallet"
    DESCRIPTION = "A watched wallet received value: native currency, by a transaction or inside one, or a token."


class WalletOutgoing(WalletMovement, frozen=True, kw_only=True, gc=False):
    TYPE = "wallet_outgoing"
    CATEGORY = "wallet"
    DESCRIPTION = "Value left a watched wallet: native currency, by a transaction or inside one, or a token."


# --- tokens -------------------------------------------------------------------------------------------------------


class TokenTransfer(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "token_transfer"
    CATEGORY = "token"
    DESCRIPTION = "A token moved: ERC-20, ERC-721 or ERC-1155; a batch of ERC-1155 is one event per id."

    standard: str
    """`erc20`, `erc721` or `erc1155`."""
    token: str | None
    """The configured symbol, else the one that the contract claims: anybody can call a token USDC."""
    token_name: str | None
    """As the contract claims; null where it claims none, and for configured tokens."""
    token_address: str
    decimals: int | None
    from_: str = msgspec.field(name="from")
    to: str
    amount: str
    """Base units; "1" for ERC-721."""
    token_id: str | None
    batch_index: int | None
    """Position in a batch of ERC-1155; null otherwise."""
    tx_hash: str
    transaction_index: int
    log_index: int
    block_number: int
    block_hash: str


class TokenApproval(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "token_approval"
    CATEGORY = "token"
    DESCRIPTION = "An owner let somebody else spend tokens, or took that back: ERC-20, ERC-721, ERC-1155, Permit2."

    standard: str | None
    """`erc20`, `erc721`, `erc1155`, `permit2`; null where an approval for all does not say which."""
    token: str | None
    token_address: str
    decimals: int | None
    owner: str
    spender: str
    amount: str | None
    """Base units; null for ERC-721 and approvals for all."""
    unlimited: bool
    """The amount is the largest that there is, or everything is approved (`approved_for_all`)."""
    revoked: bool
    """The spender may spend nothing from now on."""
    token_id: str | None
    """ERC-721: the token that is approved; null otherwise."""
    approved_for_all: bool | None
    """`setApprovalForAll`: true given, false taken back; null for other approvals."""
    expiration: str | None
    """Permit2: when the approval ends, RFC 3339; null where it does not."""
    tx_hash: str
    transaction_index: int
    log_index: int
    block_number: int
    block_hash: str


class TokenSwap(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "token_swap"
    CATEGORY = "token"
    DESCRIPTION = "A pool exchanged one token for another: Uniswap v2, v3, v4, PancakeSwap v3, and their forks."

    protocol: str
    """`uniswap_v2`, `uniswap_v3`, `uniswap_v4` or `pancakeswap_v3`: whose events the pool writes."""
    pool: str
    """Address of the pool; of Uniswap v4 the id of the pool, 32 bytes."""
    sender: str
    recipient: str | None
    """Null for Uniswap v4, which does not tell."""
    token_in: str | None
    token_in_address: str | None
    """What the pool took. Null for the native currency, and where the pool's tokens cannot be found out."""
    decimals_in: int | None
    amount_in: str
    token_out: str | None
    token_out_address: str | None
    """What the pool gave. Null as above."""
    decimals_out: int | None
    amount_out: str
    price: str | None
    """Whole units of `token_out` for one of `token_in`, as a decimal number of 18 significant digits; null without
    decimals."""
    tx_hash: str
    transaction_index: int
    log_index: int
    block_number: int
    block_hash: str


# --- prices -------------------------------------------------------------------------------------------------------


class PriceUpdate(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "price_update"
    CATEGORY = "price"
    DESCRIPTION = "A price changed: of a Chainlink feed on a chain, of CoinGecko, or of CoinMarketCap."

    symbol: str
    quote: str
    price: str
    """A decimal number, as exact as the source has it."""
    previous_price: str | None
    """The price told before; null the first time."""
    change_percent: str | None
    """Signed, four digits behind the point; null the first time."""
    source: str
    """`chainlink`, `coingecko` or `coinmarketcap`."""
    feed: str | None
    """Chainlink: the feed's proxy; null otherwise."""
    round_id: str | None
    """Chainlink: the round as the proxy counts it (phase << 64 | round); null otherwise."""
    updated_at: str
    """When the source says that this became the price. RFC 3339."""
    tx_hash: str | None
    """Chainlink: the transaction that brought it; null otherwise, and where the price was read."""
    log_index: int | None
    block_number: int | None
    """Chainlink: the block that brought it; null otherwise."""
    block_hash: str | None


# --- the health of it all -----------------------------------------------------------------------------------------


class ChainStatus(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "chain_status"
    CATEGORY = "system"
    DESCRIPTION = "The connection to a chain changed its state."

    state: str
    """`connecting`, `connected`, `syncing`, `degraded`, `stalled`, `disconnected` or `halted`."""
    endpoint: str | None
    """The endpoint in use, its path and query left out."""
    head: int | None
    """Number of the newest block in the log."""
    lag_seconds: float | None
    """Age of that block."""
    reason: str | None


class Balance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a wallet holds of one token."""

    token: str
    token_address: str | None
    """Null for the native currency."""
    decimals: int
    balance: str


class WalletStatus(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "wallet_status"
    CATEGORY = "system"
    DESCRIPTION = "A wallet is new on a chain, was read for the first time, or is watched no more."

    address: str
    name: str
    state: str
    """`syncing`: known, and not read yet; `watching`: `balances` are its first reading; `removed`."""
    balances: list[Balance]
    """What was read for the first time, native currency first; later changes are told by `balance_changed`."""
    block_number: int | None
    """The block at which it was read; null where nothing was."""
    block_hash: str | None


class SourceStatus(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "source_status"
    CATEGORY = "system"
    DESCRIPTION = "A source of prices changed its state."

    source: str
    """`coingecko`, `coinmarketcap`, or `chainlink:ETH/USD`."""
    state: str
    """`ok`, `limited` (too many requests, or the month's are used up) or `failing`."""
    reason: str | None


PAYLOADS: Final[dict[str, type[Payload]]] = {
    payload.TYPE: payload
    for payload in (
        BlockNew,
        BlockFinalized,
        ChainReorg,
        TransactionPending,
        TransactionConfirmed,
        TransactionFailed,
        TransactionReplaced,
        TransactionDropped,
        BalanceChanged,
        WalletIncoming,
        WalletOutgoing,
        TokenTransfer,
        TokenApproval,
        TokenSwap,
        PriceUpdate,
        ChainStatus,
        WalletStatus,
        SourceStatus,
    )
}
"""Every type that chainwatch itself tells, by name."""

CATEGORIES: Final[dict[str, frozenset[str]]] = {
    category: frozenset(name for name, payload in PAYLOADS.items() if category == payload.CATEGORY)
    for category in sorted({payload.CATEGORY for payload in PAYLOADS.values()})
}
