"""Whether answers of a node are really one whole block, on real blocks of mainnet and on what nodes do to them."""

import gzip
import json
from pathlib import Path

import msgspec
import pytest

from chainwatch.chain.evm.block import RpcBlock, RpcLog, RpcReceipt, quantity
from chainwatch.chain.evm.verify import bloom_fits, logs_problem, receipts_problem

DATA = Path(__file__).parent.parent / "data" / "mainnet"


def load(name, kind):
    return msgspec.json.decode(gzip.decompress((DATA / name).read_bytes()), type=kind)


@pytest.fixture
def block() -> RpcBlock:
    return load("header_21925176.json.gz", RpcBlock)


@pytest.fixture
def receipts() -> list[RpcReceipt]:
    return load("receipts_21925176.json.gz", list[RpcReceipt])


def test_a_real_block_with_its_receipts_is_whole(block, receipts):
    assert receipts_problem(block, receipts, bloom=True) is None


def test_a_real_block_with_its_logs_is_whole():
    block, logs = load("block_18000000.json.gz", RpcBlock), load("logs_18000000.json.gz", list[RpcLog])
    assert len(logs) == 291
    assert logs_problem(block, logs, bloom=True) is None


def test_a_missing_receipt_is_noticed(block, receipts):
    del receipts[100]
    assert receipts_problem(block, receipts, bloom=True) == "201 receipts for 202 transactions"


def test_receipts_in_another_order_are_noticed(block, receipts):
    receipts[3], receipts[4] = receipts[4], receipts[3]
    assert "belongs" in receipts_problem(block, receipts, bloom=True)


def test_the_receipts_of_another_block_are_noticed(block, receipts):
    receipts[7].block_hash = "0x" + "00" * 32
    assert "another block" in receipts_problem(block, receipts, bloom=True)


def test_a_log_of_another_block_is_noticed(block, receipts):
    next(receipt for receipt in receipts if receipt.logs).logs[0].block_hash = "0x" + "00" * 32
    assert "a log of another block" in receipts_problem(block, receipts, bloom=True)


def test_a_missing_log_in_the_middle_is_noticed_by_the_indices(block, receipts):
    next(receipt for receipt in receipts if len(receipt.logs) > 2).logs.pop(1)
    assert "belongs" in receipts_problem(block, receipts, bloom=False)


def test_missing_last_logs_are_noticed_by_the_bloom_alone(block, receipts):
    for receipt in receipts[150:]:
        receipt.logs.clear()
    assert receipts_problem(block, receipts, bloom=False) is None
    assert "bloom" in receipts_problem(block, receipts, bloom=True)


def test_no_logs_for_a_block_whose_bloom_says_otherwise_are_a_lie(block):
    assert logs_problem(block, [], bloom=True) == "the bloom of the 0 logs is not the header's"


def test_a_log_too_many_is_noticed_by_the_bloom(block, receipts):
    logs = [log for receipt in receipts for log in receipt.logs]
    extra = json.loads(msgspec.json.encode(logs[0]))
    extra["address"], extra["logIndex"] = "0x" + "12" * 20, hex(len(logs))
    assert logs_problem(block, [*logs, msgspec.convert(extra, RpcLog)], bloom=True) is not None


def test_an_empty_bloom_fits_no_logs_and_nothing_else(receipts):
    assert bloom_fits("0x" + "00" * 256, [])
    assert not bloom_fits("0x" + "00" * 256, receipts[0].logs)
    assert not bloom_fits("0x", [])


@pytest.mark.parametrize("data", ["0x-1", "0x0_1", "0x +1", "0x\u0661", "0x1\n"])
def test_a_log_whose_data_is_no_hexadecimal_number_is_no_log(block, receipts, data):
    with_logs = next(receipt for receipt in receipts if receipt.logs)
    with_logs.logs[0].data = data
    problem = receipts_problem(block, receipts, bloom=False)
    assert problem is not None
    assert "hexadecimal" in problem


@pytest.mark.parametrize("text", ["-0x1", "0x_1", " 0x1", "0x1 ", "+1", "0x\u0661"])
def test_a_quantity_is_plain_hexadecimal(text):
    with pytest.raises(ValueError, match="no number"):
        quantity(text)
