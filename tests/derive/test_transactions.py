"""Transactions out of blocks: what is told of them, to the wei."""

import gzip
from pathlib import Path

import msgspec
import pytest

from chainwatch.chain.evm.block import RpcBlock, RpcReceipt, RpcTransaction
from chainwatch.chain.evm.fetch import assemble
from chainwatch.chain.evm.reads import Readings, Revert
from chainwatch.derive.rules import Rules
from chainwatch.derive.transactions import confirmed, included

DATA = Path(__file__).parent.parent / "data" / "mainnet"


@pytest.fixture
def block():
    """Block 21925176 with its receipts; the transactions get values that the header does not tell."""
    told = msgspec.json.decode(gzip.decompress((DATA / "header_21925176.json.gz").read_bytes()), type=RpcBlock)
    raw = msgspec.json.decode(gzip.decompress((DATA / "receipts_21925176.json.gz").read_bytes()))
    told.transactions = [
        RpcTransaction(hash=one["transactionHash"], from_=one["from"], to=one["to"], value=hex(index), nonce="0x5")
        for index, one in enumerate(raw)
    ]
    return assemble(told, msgspec.convert(raw, list[RpcReceipt]), [])


def rules(**more) -> Rules:
    return Rules(chain="ethereum", native="ETH", confirmations=(1, 6), **more)


def test_each_transaction_of_a_real_block_succeeded_or_failed(block):
    succeeded, failed = included(block, rules(transactions="all"), 0)
    assert len(succeeded) + len(failed) == 202
    assert len(failed) == 3
    assert {event.type for event in failed} == {"transaction_failed"}


def test_the_fee_is_gas_times_the_price_paid(block):
    succeeded, _ = included(block, rules(transactions="all"), 0)
    payload, receipt = succeeded[0].payload, block.receipts[0]
    assert payload.fee == str(int(receipt.gas_used, 16) * int(receipt.effective_gas_price, 16))
    assert payload.gas_used == str(int(receipt.gas_used, 16))


def test_blobs_are_paid_for_too(block):
    receipt = block.receipts[0]
    receipt.blob_gas_used, receipt.blob_gas_price = "0x20000", "0x3"
    succeeded, _ = included(block, rules(transactions="all"), 0)
    gas = int(receipt.gas_used, 16) * int(receipt.effective_gas_price, 16)
    assert succeeded[0].payload.fee == str(gas + 0x20000 * 3)


def test_only_transactions_of_watched_wallets_are_told_with_their_direction(block):
    sender, to = block.transactions[10].from_.lower(), block.transactions[10].to.lower()
    for wallets, direction in (({sender}, "outgoing"), ({to}, "incoming"), ({sender, to}, "self")):
        succeeded, failed = included(block, rules(wallets=frozenset(wallets)), 0)
        told = [one.payload for one in succeeded] + [event.data for event in failed]
        assert next(one for one in told if one.transaction_index == 10).direction == direction
        assert all({one.from_.lower(), (one.to or "").lower()} & wallets for one in told)


def test_each_depth_has_an_id_of_its_own_and_the_same_time(block):
    succeeded, _ = included(block, rules(transactions="all"), 0)
    one = next(confirmed(succeeded, 1, "ethereum", "2026-01-01T00:00:00.000Z"))
    six = next(confirmed(succeeded, 6, "ethereum", "2026-01-01T00:01:00.000Z"))
    assert one.id != six.id
    assert one.timestamp == six.timestamp
    assert (one.data.confirmations, six.data.confirmations) == (1, 6)


def failing(block, revert_reason=None, **reverts):
    """The first failed transaction's event, its receipt and the readings as given."""
    receipt = next(one for one in block.receipts if one.status == "0x0")
    receipt.revert_reason = revert_reason
    read = Readings(reverts={receipt.transaction_hash: Revert(**reverts)} if reverts else {})
    _, failed = included(msgspec.structs.replace(block, readings=read), rules(transactions="all"), 0)
    return next(event.data for event in failed if event.data.tx_hash == receipt.transaction_hash)


def test_the_receipt_says_why_it_failed_where_the_node_writes_that(block):
    assert failing(block, "out of luck\x1b[2J").revert_reason == "out of luck\\u001b[2J"


def test_what_was_found_out_says_why_it_failed_where_the_receipt_does_not(block):
    panic = "0x4e487b71" + f"{0x11:064x}"
    assert failing(block, None, data=panic).revert_reason == "panic 0x11: arithmetic overflow or underflow"
    assert failing(block, "0x", error="out of gas").revert_reason == "out of gas"


def test_without_either_no_reason_is_told(block):
    assert failing(block).revert_reason is None
