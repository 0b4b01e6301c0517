"""
An example of every type of event: in the JSON Schema, the AsyncAPI document and the manual page.

The values are of one kind with those of mainnet: two wallets, USDC, WETH, a pool, blocks 18,500,000 and on.
"""

from __future__ import annotations

from typing import Final

from chainwatch.event import Event, event_id, rfc3339
from chainwatch.payloads import (
    Balance,
    BalanceChanged,
    BlockFinalized,
    BlockNew,
    BlockRef,
    Cause,
    ChainReorg,
    ChainStatus,
    Payload,
    PriceUpdate,
    SourceStatus,
    TokenApproval,
    TokenSwap,
    TokenTransfer,
    TransactionConfirmed,
    TransactionDropped,
    TransactionFailed,
    TransactionPending,
    TransactionReplaced,
    WalletIncoming,
    WalletOutgoing,
    WalletStatus,
)

_TREASURY: Final = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
_EXCHANGE: Final = "0x28C6c06298d514Db089934071355E5743bf21d60"
_ROUTER: Final = "0x7a250d5630B4cF539739dF2C5dAcb4c659F2488D"
_PERMIT2: Final = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
_USDC: Final = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
_WETH: Final = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"
_POOL: Final = "0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640"
_FEED: Final = "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419"

_BLOCK: Final = 18_500_000
_HASH: Final = "0x9b83c12c69edb74f6c8dd5d052765c1adf940e320bd1291696e6fa07829eee71"
_PARENT: Final = "0x1d4b0a2e6f5c8371902bd4f6a8c3e5e7f90d1b2a3c4d5e6f708192a3b4c5d6e7"
_GRANDPARENT: Final = "0x4e3a3754410177e6937ef1f84bba68ea139e8d1a2258c5f85db9f1cd715a1bdd"
_ORPHAN: Final = "0x73e1dd9a1b2f4c6d8e0a1c3b5d7f9e2a4c6b8d0f1e3a5c7b9d2f4e6a8c0b1d35"
_TRANSACTION: Final = "0x5c504ed432cb51138bcf09aa5e8a410dd4a1e204ef84bfed1be16dfba1b22060"
_OTHER_TRANSACTION: Final = "0xe9c8d1f0a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d"
_TIME: Final = 1_698_886_811_000
"""Unix milliseconds of the block."""

_DATA: Final[tuple[Payload, ...]] = (
    BlockNew(
        block_number=_BLOCK,
        block_hash=_HASH,
        parent_hash=_PARENT,
        transaction_count=143,
        gas_used="12582741",
        gas_limit="30000000",
        base_fee_per_gas="24871552339",
    ),
    BlockFinalized(block_number=_BLOCK - 64, block_hash=_GRANDPARENT, tag="finalized"),
    ChainReorg(
        depth=1,
        common_ancestor=BlockRef(_BLOCK - 1, _PARENT),
        old_blocks=[BlockRef(_BLOCK, _ORPHAN)],
        new_blocks=[BlockRef(_BLOCK, _HASH)],
    ),
    TransactionPending(
        tx_hash=_TRANSACTION,
        from_=_TREASURY,
        to=_EXCHANGE,
        amount="1000000000000000000",
        token="ETH",
        decimals=18,
        nonce=1182,
        direction="outgoing",
        max_fee_per_gas="40000000000",
        max_priority_fee_per_gas="1000000000",
    ),
    TransactionConfirmed(
        tx_hash=_TRANSACTION,
        from_=_TREASURY,
        to=_EXCHANGE,
        amount="1000000000000000000",
        token="ETH",
        decimals=18,
        nonce=1182,
        direction="outgoing",
        block_number=_BLOCK,
        block_hash=_HASH,
        transaction_index=17,
        gas_used="21000",
        fee="543302599119000",
        confirmations=6,
    ),
    TransactionFailed(
        tx_hash=_TRANSACTION,
        from_=_TREASURY,
        to=_ROUTER,
        amount="0",
        token="ETH",
        decimals=18,
        nonce=1182,
        direction="outgoing",
        block_number=_BLOCK,
        block_hash=_HASH,
        transaction_index=17,
        gas_used="31442",
        fee="813453348642838",
        revert_reason="UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT",
    ),
    TransactionReplaced(
        tx_hash=_TRANSACTION,
        from_=_TREASURY,
        to=_EXCHANGE,
        amount="1000000000000000000",
        token="ETH",
        decimals=18,
        nonce=1182,
        direction="outgoing",
        max_fee_per_gas="40000000000",
        max_priority_fee_per_gas="1000000000",
        replaced_by=_OTHER_TRANSACTION,
        kind="speed_up",
        block_number=None,
        block_hash=None,
    ),
    TransactionDropped(
        tx_hash=_TRANSACTION,
        from_=_TREASURY,
        to=_EXCHANGE,
        amount="1000000000000000000",
        token="ETH",
        decimals=18,
        nonce=1182,
        direction="outgoing",
        max_fee_per_gas="40000000000",
        max_priority_fee_per_gas="1000000000",
        reason="gone",
    ),
    BalanceChanged(
        address=_TREASURY,
        token="ETH",
        token_address=None,
        decimals=18,
        balance="3999456697400881000",
        previous_balance="5000000000000000000",
        delta="-1000543302599119000",
        causes=[
            Cause(kind="value", amount="-1000000000000000000", tx_hash=_TRANSACTION),
            Cause(kind="gas", amount="-543302599119000", tx_hash=_TRANSACTION),
        ],
        unattributed="0",
        block_number=_BLOCK,
        block_hash=_HASH,
    ),
    WalletIncoming(
        address=_TREASURY,
        counterparty=_EXCHANGE,
        token="USDC",
        token_address=_USDC,
        decimals=6,
        amount="2500000000",
        token_id=None,
        kind="token",
        known_token=True,
        tx_hash=_OTHER_TRANSACTION,
        transaction_index=41,
        log_index=96,
        block_number=_BLOCK,
        block_hash=_HASH,
    ),
    WalletOutgoing(
        address=_TREASURY,
        counterparty=_EXCHANGE,
        token="ETH",
        token_address=None,
        decimals=18,
        amount="1000000000000000000",
        token_id=None,
        kind="native",
        known_token=True,
        tx_hash=_TRANSACTION,
        transaction_index=17,
        log_index=None,
        block_number=_BLOCK,
        block_hash=_HASH,
    ),
    TokenTransfer(
        standard="erc20",
        token="USDC",
        token_name=None,
        token_address=_USDC,
        decimals=6,
        from_=_EXCHANGE,
        to=_TREASURY,
        amount="2500000000",
        token_id=None,
        batch_index=None,
        tx_hash=_OTHER_TRANSACTION,
        transaction_index=41,
        log_index=96,
        block_number=_BLOCK,
        block_hash=_HASH,
    ),
    TokenApproval(
        standard="erc20",
        token="USDC",
        token_address=_USDC,
        decimals=6,
        owner=_TREASURY,
        spender=_PERMIT2,
        amount="115792089237316195423570985008687907853269984665640564039457584007913129639935",
        unlimited=True,
        revoked=False,
        token_id=None,
        approved_for_all=None,
        expiration=None,
        tx_hash=_OTHER_TRANSACTION,
        transaction_index=41,
        log_index=97,
        block_number=_BLOCK,
        block_hash=_HASH,
    ),
    TokenSwap(
        protocol="uniswap_v3",
        pool=_POOL,
        sender=_ROUTER,
        recipient=_TREASURY,
        token_in="WETH",
        token_in_address=_WETH,
        decimals_in=18,
        amount_in="500000000000000000",
        token_out="USDC",
        token_out_address=_USDC,
        decimals_out=6,
        amount_out="924563811",
        price="1849.127622",
        tx_hash=_OTHER_TRANSACTION,
        transaction_index=41,
        log_index=99,
        block_number=_BLOCK,
        block_hash=_HASH,
    ),
    PriceUpdate(
        symbol="ETH",
        quote="USD",
        price="1847.31",
        previous_price="1838.02",
        change_percent="0.5054",
        source="chainlink",
        feed=_FEED,
        round_id="110680464442257320031",
        updated_at=rfc3339(_TIME),
        tx_hash=_TRANSACTION,
        log_index=12,
        block_number=_BLOCK,
        block_hash=_HASH,
    ),
    ChainStatus(
        state="stalled",
        endpoint="wss://ethereum-rpc.publicnode.com",
        head=_BLOCK,
        lag_seconds=61.4,
        reason="no new head for a minute",
    ),
    WalletStatus(
        address=_TREASURY,
        name="treasury",
        state="watching",
        balances=[
            Balance(token="ETH", token_address=None, decimals=18, balance="5000000000000000000"),
            Balance(token="USDC", token_address=_USDC, decimals=6, balance="0"),
        ],
        block_number=_BLOCK - 1,
        block_hash=_PARENT,
    ),
    SourceStatus(source="coingecko", state="limited", reason="429 Too Many Requests, for another 60 s"),
)

CUSTOM: Final = Event(
    id=event_id("example", "custom"),
    type="deploy",
    timestamp=rfc3339(_TIME),
    observed_at=rfc3339(_TIME),
    chain=None,
    data={"app": "web", "version": "1.4.2", "ok": True},
)
"""What a client may publish: any other type, any object."""


def _example(data: Payload) -> Event:
    return Event(
        id=event_id("example", data.TYPE),
        type=data.TYPE,
        timestamp=rfc3339(_TIME),
        observed_at=rfc3339(_TIME + 1312),
        chain=None if isinstance(data, SourceStatus) else "ethereum",
        data=data,
    )


EXAMPLES: Final[dict[str, Event]] = {data.TYPE: _example(data) for data in _DATA}
"""By type, in the order of the catalogue."""
