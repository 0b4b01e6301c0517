"""Transfers out of real mainnet logs and out of hostile ones."""

import gzip
import time
from collections import Counter
from pathlib import Path

import mainnet
import msgspec
import pytest

from chainwatch.chain.evm.block import Block, Header, RpcBlock, RpcLog, RpcReceipt
from chainwatch.chain.evm.fetch import assemble
from chainwatch.chain.evm.reads import Metadata
from chainwatch.derive.known import Known
from chainwatch.derive.rules import Rules, Token
from chainwatch.derive.transfers import TRANSFER, TRANSFER_BATCH, TRANSFER_SINGLE, transfers

DATA = Path(__file__).parent.parent / "data" / "mainnet"
USDC = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
ALL = Rules(chain="ethereum", native="ETH", transfers="all", tokens={USDC: Token("USDC", 6)})


def load(name, kind):
    return msgspec.json.decode(gzip.decompress((DATA / name).read_bytes()), type=kind)


@pytest.fixture(scope="module")
def helios() -> Block:
    receipts = load("receipts_21925176.json.gz", list[RpcReceipt])
    return assemble(
        load("header_21925176.json.gz", RpcBlock), receipts, [log for receipt in receipts for log in receipt.logs]
    )


@pytest.fixture(scope="module")
def shovel() -> Block:
    return assemble(load("block_18000000.json.gz", RpcBlock), [], load("logs_18000000.json.gz", list[RpcLog]))


def expected(block: Block) -> Counter:
    """Counted over the raw topics, another way than the decoder goes."""
    found = Counter()
    for log in block.logs:
        first = log.topics[0] if log.topics else ""
        if first == TRANSFER and len(log.topics) == 3:
            found["erc20"] += 1
        elif first == TRANSFER and len(log.topics) == 4:
            found["erc721"] += 1
        elif first == TRANSFER_SINGLE:
            found["erc1155"] += 1
        elif first == TRANSFER_BATCH:
            found["erc1155"] += int(log.data[2 + 128 : 2 + 192], 16)  # the length of the first array
    return found


@pytest.mark.parametrize("name", ["helios", "shovel"])
def test_every_transfer_of_a_real_block_is_told_once(name, request):
    block = request.getfixturevalue(name)
    events = list(transfers(block, ALL, 0))
    assert Counter(event.data.standard for event in events) == expected(block)
    assert len({event.id for event in events}) == len(events)
    assert [event.data.log_index for event in events] == sorted(event.data.log_index for event in events)


@pytest.mark.parametrize("name", ["helios", "shovel"])
def test_every_part_of_a_transfer_is_what_web3_decodes(name, request):
    logs, expected_parts = mainnet.raw_logs(name), {}
    for raw, args in mainnet.Witness("Transfer(address indexed from, address indexed to, uint256 value)")(logs):
        expected_parts[(*mainnet.place(raw), None)] = ("erc20", args["from"], args["to"], args["value"], None)
    for raw, args in mainnet.Witness("Transfer(address indexed from, address indexed to, uint256 indexed id)")(logs):
        expected_parts[(*mainnet.place(raw), None)] = ("erc721", args["from"], args["to"], 1, args["id"])
    three = "address indexed operator, address indexed from, address indexed to"
    for raw, args in mainnet.Witness(f"TransferSingle({three}, uint256 id, uint256 value)")(logs):
        expected_parts[(*mainnet.place(raw), None)] = ("erc1155", args["from"], args["to"], args["value"], args["id"])
    for raw, args in mainnet.Witness(f"TransferBatch({three}, uint256[] ids, uint256[] values)")(logs):
        for index, (token_id, value) in enumerate(zip(args["ids"], args["values"], strict=True)):
            expected_parts[(*mainnet.place(raw), index)] = ("erc1155", args["from"], args["to"], value, token_id)
    told = {
        (one.tx_hash, one.log_index, one.batch_index): (
            one.standard, one.from_, one.to, int(one.amount), None if one.token_id is None else int(one.token_id),
        )
        for one in (event.data for event in transfers(request.getfixturevalue(name), ALL, 0))
    }  # fmt: skip
    assert told == expected_parts


def test_what_is_known_of_a_token_is_told_with_its_transfers(helios):
    contracts = {event.data.token_address.lower(): event.data.standard for event in transfers(helios, ALL, 0)}
    read = {contract: Metadata(symbol="S", name="N", decimals=9) for contract in contracts}
    told = [event.data for event in transfers(helios, ALL, 0, Known(ALL.tokens, read))]
    assert {(one.standard, one.token, one.token_name, one.decimals) for one in told} == {
        ("erc20", "USDC", None, 6),
        ("erc20", "S", "N", 9),
        ("erc721", "S", "N", None),
        ("erc1155", "S", "N", None),
    }


def test_the_blocks_hold_every_standard(helios, shovel):
    assert set(expected(helios) + expected(shovel)) == {"erc20", "erc721", "erc1155"}


def test_a_known_transfer_is_told_to_the_last_digit(shovel):
    event = next(event for event in transfers(shovel, ALL, 0) if event.data.token == "USDC")
    log = shovel.logs[event.data.log_index]
    assert log.address == USDC
    assert event.data.amount == str(int(log.data, 16))
    assert event.data.from_.lower() == "0x" + log.topics[1][26:]
    assert event.data.to.lower() == "0x" + log.topics[2][26:]
    assert event.data.token_address == "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
    assert event.data.decimals == 6
    assert event.data.block_number == 18_000_000


def test_only_watched_wallets_and_listed_tokens_are_told_by_default(helios):
    everything = list(transfers(helios, ALL, 0))
    wallet = everything[0].data.to.lower()
    rules = Rules(chain="ethereum", native="ETH", wallets=frozenset({wallet}), tokens=ALL.tokens)
    told = [event.id for event in transfers(helios, rules, 0)]
    wanted = [
        event.id
        for event in everything
        if wallet in (event.data.from_.lower(), event.data.to.lower()) or event.data.token == "USDC"
    ]
    assert told == wanted
    assert 0 < len(told) < len(everything)


def test_without_wallets_and_tokens_nothing_is_told(helios):
    assert list(transfers(helios, Rules(chain="ethereum", native="ETH"), 0)) == []


def test_an_id_says_which_time_a_block_is_told(helios):
    first = [event.id for event in transfers(helios, ALL, 0)]
    again = [event.id for event in transfers(helios, ALL, 1)]
    assert not set(first) & set(again)


def word(value: int) -> str:
    return f"{value:064x}"


def log(topics: list[str], data: str) -> RpcLog:
    return RpcLog(
        address="0x" + "11" * 20,
        topics=topics,
        data=data,
        log_index="0x0",
        transaction_hash="0x" + "22" * 32,
        transaction_index="0x0",
        block_hash="0x" + "33" * 32,
    )


def told(one: RpcLog) -> list:
    block = Block(
        header=Header(1, "0x" + "33" * 32, "0x" + "44" * 32, 1_700_000_000),
        transaction_count=1,
        gas_used=1,
        gas_limit=1,
        base_fee_per_gas=None,
        transactions=[],
        receipts=[],
        logs=[one],
        arrived=int(time.time() * 1000),
    )
    return [event.data for event in transfers(block, ALL, 0)]


A, B, OPERATOR = ("0x" + word(number) for number in (0xA, 0xB, 0xC))


def test_the_largest_amount_is_exact():
    (one,) = told(log([TRANSFER, A, B], "0x" + word(2**256 - 1)))
    assert one.amount == str(2**256 - 1)


def test_a_batch_is_one_event_for_each_id():
    data = "0x" + "".join(map(word, [64, 160, 2, 7, 8, 2, 70, 80]))
    assert [
        (one.token_id, one.amount, one.batch_index) for one in told(log([TRANSFER_BATCH, OPERATOR, A, B], data))
    ] == [
        ("7", "70", 0),
        ("8", "80", 1),
    ]


@pytest.mark.parametrize(
    ("topics", "data"),
    [
        ([TRANSFER], "0x" + word(1) * 3),
        ([TRANSFER, A], "0x" + word(1)),
        ([TRANSFER, A, B], "0x"),
        ([TRANSFER, A, B], "0x" + "00" * 31),
        ([TRANSFER, "0x" + "ff" * 32, B], "0x" + word(1)),
        ([TRANSFER, A, B, A], "0x" + word(1)),
        ([TRANSFER_SINGLE, OPERATOR, A, B], "0x" + word(1)),
        ([TRANSFER_SINGLE, A, B], "0x" + word(1) * 2),
        ([TRANSFER_BATCH, OPERATOR, A, B], "0x" + word(64) + word(2**255)),
        ([TRANSFER_BATCH, OPERATOR, A, B], "0x" + "".join(map(word, [64, 160, 2, 7, 8, 1, 70, 80]))),
        ([TRANSFER_BATCH, OPERATOR, A, B], "0x" + "".join(map(word, [64, 96, 2**200, 1]))),
        ([TRANSFER_BATCH, OPERATOR, A, B], "0x" + "".join(map(word, [64, 2**64, 1, 7]))),
        ([], "0x"),
    ],
)
def test_what_only_looks_like_a_transfer_is_none(topics, data):
    assert told(log(topics, data)) == []
