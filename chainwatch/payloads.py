"""
The catalogue: `data` of every type of event that chainwatch itself tells, each with its category and what it means.

This is the one registry. Filters, the JSON Schema, the AsyncAPI document and the manual page of the events are made
from it; a type that is not here does not exist. Amounts are decimal strings of base units; hashes are lower case;
addresses are EIP-55.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

import msgspec

# --- what values look like: told by the JSON Schema; chainwatch makes them so, and does not look at them again --------

Address = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{40}$")]
"""EIP-55."""
Hash = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-f]{64}$")]
Digits = Annotated[str, msgspec.Meta(pattern="^(0|[1-9][0-9]*)$")]
"""A whole number, of any size."""
Signed = Annotated[str, msgspec.Meta(pattern="^(0|-?[1-9][0-9]*)$")]
Decimal = Annotated[str, msgspec.Meta(pattern="^-?(0|[1-9][0-9]*)(\\.[0-9]+)?$")]
Moment = Annotated[str, msgspec.Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$")]
"""RFC 3339, UTC, milliseconds."""
Count = Annotated[int, msgspec.Meta(ge=0)]


def _one_of(*words: str) -> msgspec.Meta:
    return msgspec.Meta(extra_json_schema={"enum": list(words)})


class Payload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`data` of an event."""

    TYPE: ClassVar[str]
    CATEGORY: ClassVar[str]
    DESCRIPTION: ClassVar[str]


# --- blocks -------------------------------------------------------------------------------------------------------


class BlockRef(msgspec.Struct, frozen=True, gc=False):
    """One block."""

    block_number: Count
    block_hash: Hash


class BlockNew(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "block_new"
    CATEGORY = "block"
    DESCRIPTION = "A block joined the canonical chain."

    block_number: Count
    block_hash: Hash
    parent_hash: Hash
    transaction_count: Count
    gas_used: Digits
    gas_limit: Digits
    base_fee_per_gas: Digits | None
    """Wei; null before EIP-1559."""


class BlockFinalized(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "block_finalized"
    CATEGORY = "block"
    DESCRIPTION = "The newest block that the chain calls safe, or finalized, moved."

    block_number: Count
    block_hash: Hash
    tag: Annotated[str, _one_of("safe", "finalized")]
    """`safe` or `finalized`."""


class ChainReorg(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "chain_reorg"
    CATEGORY = "block"
    DESCRIPTION = "Blocks were orphaned. The retractions follow, newest block first, then the new blocks, oldest first."

    depth: Count
    """How many blocks were orphaned."""
    common_ancestor: BlockRef
    old_blocks: list[BlockRef]
    """Oldest first."""
    new_blocks: list[BlockRef]
    """Oldest first: those that are told in the same step; empty when the chain only became shorter."""


# --- transactions -------------------------------------------------------------------------------------------------


class Transaction(Payload, frozen=True, kw_only=True, gc=False):
    """What every transaction event tells."""

    tx_hash: Hash
    from_: Address = msgspec.field(name="from")
    to: Address | None
    """Null where the transaction creates a contract."""
    amount: Digits
    token: str
    """The chain's native currency."""
    decimals: Count
    nonce: Count
    direction: Annotated[str, _one_of("incoming", "outgoing", "self")] | None
    """Seen from the watched wallets: `incoming`, `outgoing`, or `self` (from one to itself or to another); null where
    neither party is one."""


class UnconfirmedTransaction(Transaction, frozen=True, kw_only=True, gc=False):
    """A transaction that waits, or waited, in the mempool."""

    max_fee_per_gas: Digits | None
    """Wei that the sender pays at most for a unit of gas; the gas price of a transaction of before EIP-1559."""
    max_priority_fee_per_gas: Digits | None
    """Wei of that at most for who makes the block; null for a transaction of before EIP-1559."""


class TransactionPending(UnconfirmedTransaction, frozen=True, kw_only=True, gc=False):
    TYPE = "transaction_pending"
    CATEGORY = "transaction"
    DESCRIPTION = (
        "A transaction was seen in the mempool: it may be included, replaced, or dropped. Told once for each hash; its "
        "`timestamp` is when it was seen."
    )


class TransactionReplaced(UnconfirmedTransaction, frozen=True, kw_only=True, gc=False):
    TYPE = "transaction_replaced"
    CATEGORY = "transaction"
    DESCRIPTION = (
        "Another transaction of the same sender with the same nonce took the place of one that was told as pending. "
        "Blocks have the last word: where the other was only seen in a mempool, this one may be included after all, "
        "and is then told as confirmed."
    )

    replaced_by: Hash
    """Hash of the other transaction."""
    kind: Annotated[str, _one_of("cancel", "speed_up")]
    """`cancel`: the other sends nothing, to its own sender. `speed_up`: any other, whatever it does."""
    block_number: Count | None
    """The block that includes the other; null where that was seen in a mempool, and is pending itself. With a block,
    the event is retracted when that block is orphaned."""
    block_hash: Hash | None
    """The hash of that block."""


class TransactionDropped(UnconfirmedTransaction, frozen=True, kw_only=True, gc=False):
    TYPE = "transaction_dropped"
    CATEGORY = "transaction"
    DESCRIPTION = (
        "A transaction that was told as pending is gone from the mempool, and was not included. Somebody may still "
        "have it and send it again: it is then told as confirmed, and this was true in its time."
    )

    reason: Annotated[str, _one_of("gone", "nonce_used", "expired")]
    """`gone`: no endpoint has known it for `dropped_after`. `nonce_used`: its sender's nonce has moved past it, by a
    transaction that was not seen. `expired`: it has waited for three hours."""


class IncludedTransaction(Transaction, frozen=True, kw_only=True, gc=False):
    """A transaction in a block."""

    block_number: Count
    block_hash: Hash
    transaction_index: Count
    gas_used: Digits | None
    fee: Digits | None
    """Wei, the blob fee included; null where the node does not give the price paid."""


class TransactionConfirmed(IncludedTransaction, frozen=True, kw_only=True, gc=False):
    TYPE = "transaction_confirmed"
    CATEGORY = "transaction"
    DESCRIPTION = "A transaction reached one of the configured numbers of confirmations (its own block counts as 1)."

    confirmations: Count


class TransactionFailed(IncludedTransaction, frozen=True, kw_only=True, gc=False):
    TYPE = "transaction_failed"
    CATEGORY = "transaction"
    DESCRIPTION = "A transaction was included and reverted. Told at inclusion, and never as confirmed."

    revert_reason: str | None
    """The text of the revert, the meaning of a panic, or the name or selector of a custom error: by a trace where the
    node has that, else by calling the same at the parent block. The contract's own words, which may lie. Null where the
    node does not tell."""


# --- wallets ------------------------------------------------------------------------------------------------------


class Cause(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that moved a balance."""

    kind: Annotated[
        str, _one_of("value", "gas", "blob_fee", "withdrawal", "tip", "internal", "transfer", "wrap", "unwrap")
    ]
    """`value`: of a transaction. `gas`: what the sender paid for it, the part of a rollup's layer below included.
    `blob_fee`: EIP-4844. `withdrawal`: of a validator's stake. `tip`: what transactions paid to the wallet for making
    the block. `internal`: native currency that a contract passed on. `transfer`: of the token. `wrap`, `unwrap`: native
    currency that became the token, or became itself again."""
    amount: Signed
    """Base units."""
    tx_hash: Hash | None
    """Null for `withdrawal` and `tip`."""


class BalanceChanged(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "balance_changed"
    CATEGORY = "wallet"
    DESCRIPTION = (
        "The balance of a watched wallet, of the native currency or a listed token, read from the state at this block, "
        "is another than the one told before."
    )

    address: Address
    token: str
    token_address: Address | None
    """Null for the native currency."""
    decimals: Count
    balance: Digits
    previous_balance: Digits
    """The balance of the event before: of `balance_changed`, or of the first reading in `wallet_status`."""
    delta: Signed
    """`balance` minus `previous_balance`."""
    causes: list[Cause]
    """What is known to have moved it; empty where nothing is."""
    unattributed: Signed
    """`delta` minus the sum of the causes, signed; "0" when all is explained. Else something that no log and no
    transaction shows: native currency from a contract (see `internal_transfers`), a rebase, a fee on the transfer."""
    block_number: Count
    block_hash: Hash


class WalletMovement(Payload, frozen=True, kw_only=True, gc=False):
    """Value that moved to or from a watched wallet."""

    address: Address
    """The watched wallet."""
    counterparty: Address | None
    """The other side; null where there is none (a withdrawal of the beacon chain)."""
    token: str | None
    token_address: Address | None
    """Null for the native currency."""
    decimals: Count | None
    amount: Digits
    token_id: Digits | None
    """ERC-721, ERC-1155; null otherwise."""
    kind: Annotated[str, _one_of("native", "internal", "token", "withdrawal")]
    """`native`: the value of a transaction. `internal`: native currency that a contract passed on. `token`: a token, or
    native currency that was wrapped. `withdrawal`: of a validator's stake."""
    known_token: bool
    """True for the native currency, listed tokens, and the contract that wraps the native currency. False: anybody can
    make such a token and such a transfer up; it may be spam, whatever `token` says."""
    tx_hash: Hash | None
    """Null for a withdrawal."""
    transaction_index: Count | None
    log_index: Count | None
    """Tokens; null otherwise."""
    block_number: Count
    block_hash: Hash


class WalletIncoming(WalletMovement, frozen=True, kw_only=True, gc=False):
    TYPE = "wallet_incoming"
    CATEGORY = "wallet"
    DESCRIPTION = (
        "A watched wallet received value: native currency, by a transaction or inside one, or a token. An amount of 0 "
        "moves nothing, and is not told."
    )


class WalletOutgoing(WalletMovement, frozen=True, kw_only=True, gc=False):
    TYPE = "wallet_outgoing"
    CATEGORY = "wallet"
    DESCRIPTION = (
        "Value left a watched wallet: native currency, by a transaction or inside one, or a token. Gas is no value: "
        "that is among the causes of `balance_changed`."
    )


# --- tokens -------------------------------------------------------------------------------------------------------


class TokenTransfer(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "token_transfer"
    CATEGORY = "token"
    DESCRIPTION = "A token moved: ERC-20, ERC-721 or ERC-1155; a batch of ERC-1155 is one event per id."

    standard: Annotated[str, _one_of("erc20", "erc721", "erc1155")]
    """`erc20`, `erc721` or `erc1155`."""
    token: str | None
    """The configured symbol, else the one that the contract claims: anybody can call a token USDC."""
    token_name: str | None
    """What the contract claims to be called; null where it claims nothing, and for configured tokens."""
    token_address: Address
    decimals: Count | None
    from_: Address = msgspec.field(name="from")
    to: Address
    amount: Digits
    """Base units; "1" for ERC-721."""
    token_id: Digits | None
    batch_index: Count | None
    """Position in a batch of ERC-1155; null otherwise."""
    tx_hash: Hash
    transaction_index: Count
    log_index: Count
    block_number: Count
    block_hash: Hash


class TokenApproval(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "token_approval"
    CATEGORY = "token"
    DESCRIPTION = "An owner let somebody else spend tokens, or took that back: ERC-20, ERC-721, ERC-1155, Permit2."

    standard: Annotated[str, _one_of("erc20", "erc721", "erc1155", "permit2")] | None
    """`erc20`, `erc721`, `erc1155`, `permit2`; null where an approval for all does not say which."""
    token: str | None
    token_address: Address
    decimals: Count | None
    owner: Address
    spender: Address
    amount: Digits | None
    """Base units; null for ERC-721 and approvals for all."""
    unlimited: bool
    """The amount is more than anybody owns (2^255 and up, or the largest that the contract can count), or everything is
    approved (`approved_for_all`)."""
    revoked: bool
    """The spender may spend nothing from now on."""
    token_id: Digits | None
    """ERC-721: the token that is approved; null otherwise."""
    approved_for_all: bool | None
    """`setApprovalForAll`: true given, false taken back; null for other approvals."""
    expiration: Moment | None
    """Permit2: when the approval ends, RFC 3339; null where it does not."""
    tx_hash: Hash
    transaction_index: Count
    log_index: Count
    block_number: Count
    block_hash: Hash


class TokenSwap(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "token_swap"
    CATEGORY = "token"
    DESCRIPTION = (
        "A pool exchanged one token for another: Uniswap v2, v3, v4, PancakeSwap v3, and their forks, which write the "
        "same logs. Anybody can write such a log with any amounts: know your pools."
    )

    protocol: Annotated[str, _one_of("uniswap_v2", "uniswap_v3", "uniswap_v4", "pancakeswap_v3")]
    """`uniswap_v2`, `uniswap_v3`, `uniswap_v4` or `pancakeswap_v3`: in whose form the pool writes its logs, not who
    runs it. SushiSwap writes as `uniswap_v2`."""
    pool: Annotated[str, msgspec.Meta(pattern="^0x([0-9a-fA-F]{40}|[0-9a-f]{64})$")]
    """Address of the pool; of Uniswap v4 the id of the pool, 32 bytes."""
    manager: Address | None = None
    """Uniswap v4: the contract that holds the pool, and wrote this; null otherwise. Check that it is Uniswap's
    PoolManager: any contract can write any id."""
    sender: Address
    recipient: Address | None
    """Null for Uniswap v4, which does not tell."""
    token_in: str | None
    token_in_address: Address | None
    """What the pool took. Null for the native currency, and where the pool's tokens cannot be found out."""
    decimals_in: Count | None
    amount_in: Digits
    token_out: str | None
    token_out_address: Address | None
    """What the pool gave. Null as above."""
    decimals_out: Count | None
    amount_out: Digits
    price: Decimal | None
    """Whole units of `token_out` for one of `token_in`, as a decimal number of 18 significant digits; null without
    decimals."""
    tx_hash: Hash
    transaction_index: Count
    log_index: Count
    block_number: Count
    block_hash: Hash


# --- prices -------------------------------------------------------------------------------------------------------


class PriceUpdate(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "price_update"
    CATEGORY = "price"
    DESCRIPTION = (
        "A price changed: of a Chainlink feed on a chain, of CoinGecko, or of CoinMarketCap. That of a chain is "
        "retracted with its block; the others belong to no block, and `chain` is null."
    )

    symbol: str
    quote: str
    price: Decimal
    """A decimal number, as exact as the source has it."""
    previous_price: Decimal | None
    """The price told before; null the first time."""
    change_percent: Decimal | None
    """Signed, four digits behind the point; null the first time."""
    source: Annotated[str, _one_of("chainlink", "coingecko", "coinmarketcap")]
    """`chainlink`, `coingecko` or `coinmarketcap`."""
    feed: Address | None
    """Chainlink: the feed's proxy; null otherwise."""
    round_id: Digits | None
    """Chainlink: the round as the proxy counts it (phase << 64 | round); null otherwise."""
    updated_at: Moment
    """When the source says that this became the price, RFC 3339; the event's `timestamp` too."""
    tx_hash: Hash | None
    """Chainlink: the transaction that brought it; null otherwise, and where the price was read from the feed: the first
    one, and after a change of the aggregator."""
    log_index: Count | None
    block_number: Count | None
    """Chainlink: the block that brought it; null otherwise."""
    block_hash: Hash | None
    """The hash of that block."""


# --- the health of it all -----------------------------------------------------------------------------------------


class ChainStatus(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "chain_status"
    CATEGORY = "system"
    DESCRIPTION = "The connection to a chain changed its state."

    state: Annotated[
        str, _one_of("connecting", "connected", "syncing", "degraded", "stalled", "disconnected", "halted")
    ]
    """`connecting`: no endpoint has answered yet, or no block was told. `connected`: all is well. `syncing`: blocks
    behind the node, or the node behind what was told. `degraded`: it works, but not by the preferred endpoint, or with
    failures. `stalled`: no new block for `stall_after`. `disconnected`: no endpoint answers. `halted`: nothing more is
    told, after a reorganisation beyond `max_reorg_depth` or finality until somebody looks, or for want of room on the
    disk."""
    endpoint: str | None
    """The endpoint in use, its path and query left out."""
    head: Count | None
    """Number of the newest block in the log."""
    lag_seconds: float | None
    """Age of that block when this was told."""
    reason: str | None


class Balance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a wallet holds of one token."""

    token: str
    token_address: Address | None
    """Null for the native currency."""
    decimals: Count
    balance: Digits


class WalletStatus(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "wallet_status"
    CATEGORY = "system"
    DESCRIPTION = (
        "A wallet is new on a chain, its balances were read for the first time (all, or that of a token that was newly "
        "listed), or it is watched no more."
    )

    address: Address
    name: str
    state: Annotated[str, _one_of("syncing", "watching", "removed")]
    """`syncing`: known, and not read yet. `watching`: `balances` are its first reading, at a block. `removed`: the
    daemon was started without it."""
    balances: list[Balance]
    """What was read for the first time, native currency first; what changes from then on is told by `balance_changed`.
    """
    block_number: Count | None
    """The block at which it was read; null where nothing was."""
    block_hash: Hash | None


class SourceStatus(Payload, frozen=True, kw_only=True, gc=False):
    TYPE = "source_status"
    CATEGORY = "system"
    DESCRIPTION = "A source of prices changed its state."

    source: str
    """`coingecko`, `coinmarketcap`, or `chainlink:ETH/USD`; `coingecko:2` where there are several of one kind, which
    differ in their address or key."""
    state: Annotated[str, _one_of("ok", "limited", "failing")]
    """`ok`: all of its prices were told. `limited`: too many requests, or the month's are used up, or nearly.
    `failing`: no answer, one that lacks a price, or a feed that is silent for longer than its heartbeat."""
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
"""Types by category."""

_ALIASES: Final = {"balance": "wallet"}


def meant_by(word: str) -> frozenset[str] | None:
    """The types that the name of a type or category means: singular or plural, in any case, with - or _; or None."""
    lower = word.lower().replace("-", "_")
    for singular in (lower, lower.removesuffix("s"), lower.removesuffix("es")):
        name = _ALIASES.get(singular, singular)
        if name in CATEGORIES:
            return CATEGORIES[name]
        if name in PAYLOADS:
            return frozenset({name})
    return None


NAMES: Final = (*PAYLOADS, *CATEGORIES, *_ALIASES)
"""Every word that `meant_by` knows, in the singular."""
