"""Wraps out of real mainnet logs, with web3's decoder as the witness, and of contracts that tell them twice."""

import pytest
from mainnet import WETH, Witness, block, block_of, log, place, raw_logs, word

from chainwatch.chain.evm.profile import WRAPPED
from chainwatch.derive.rules import Rules
from chainwatch.derive.transfers import TRANSFER
from chainwatch.derive.wraps import DEPOSIT, WITHDRAWAL, wraps

IN = Witness("Deposit(address indexed dst, uint256 wad)")
OUT = Witness("Withdrawal(address indexed src, uint256 wad)")
RULES = Rules(chain="ethereum", native="ETH", wrapped=frozenset({WETH}))

A, B, NOBODY = ("0x" + word(number) for number in (0xA, 0xB, 0))
WALLET = "0x" + "0" * 39 + "a"


def test_the_topics_are_those_of_the_declarations():
    assert (IN.topic, OUT.topic) == (DEPOSIT, WITHDRAWAL)


@pytest.mark.parametrize("name", ["helios", "shovel"])
def test_every_wrap_of_a_real_block_is_found_as_web3_decodes_it(name):
    logs = raw_logs(name)
    expected = {place(raw): ("wrap", args["dst"].lower(), args["wad"]) for raw, args in IN(logs, WETH)}
    expected |= {place(raw): ("unwrap", args["src"].lower(), args["wad"]) for raw, args in OUT(logs, WETH)}
    found = {(one.tx_hash, one.log_index): (one.kind, one.wallet, one.amount) for one in wraps(block(name), RULES)}
    assert found == expected
    assert {kind for kind, _, _ in found.values()} == {"wrap", "unwrap"}


def test_other_contracts_may_call_their_logs_as_they_like():
    assert list(IN(raw_logs("helios")))
    assert wraps(block("helios"), Rules(chain="ethereum", native="ETH")) == []
    other = [log([DEPOSIT, A], "0x" + word(5), address="0x" + "11" * 20)]
    assert wraps(block_of(*other), RULES) == []


def weth(topics, amount, index=0, tx="22"):
    return log(topics, "0x" + word(amount), address=WETH, index=index, tx=tx)


def test_what_a_transfer_from_nobody_tells_already_is_no_second_movement():
    block = block_of(
        weth([TRANSFER, NOBODY, A], 5, 0), weth([DEPOSIT, A], 5, 1),
        weth([WITHDRAWAL, A], 3, 2), weth([TRANSFER, A, NOBODY], 3, 3),
    )  # fmt: skip
    assert wraps(block, RULES) == []


def test_each_transfer_speaks_for_one_log_of_the_same_transaction_wallet_and_amount():
    block = block_of(
        weth([TRANSFER, NOBODY, A], 5, 0), weth([DEPOSIT, A], 5, 1), weth([DEPOSIT, A], 5, 2),
        weth([TRANSFER, NOBODY, A], 7, 3, tx="23"), weth([DEPOSIT, A], 7, 4),
        weth([TRANSFER, NOBODY, B], 8, 5), weth([DEPOSIT, A], 8, 6),
        weth([TRANSFER, A, B], 9, 7), weth([DEPOSIT, A], 9, 8),
        weth([TRANSFER, NOBODY, A], 10, 9), weth([WITHDRAWAL, A], 10, 10),
    )  # fmt: skip
    assert [(one.log_index, one.kind, one.amount, one.wallet) for one in wraps(block, RULES)] == [
        (2, "wrap", 5, WALLET),
        (4, "wrap", 7, WALLET),
        (6, "wrap", 8, WALLET),
        (8, "wrap", 9, WALLET),
        (10, "unwrap", 10, WALLET),
    ]


@pytest.mark.parametrize(
    ("topics", "data"),
    [
        ([DEPOSIT], "0x" + word(5)),
        ([DEPOSIT, A], "0x"),
        ([DEPOSIT, A], "0x" + "00" * 31),
        ([DEPOSIT, "0x" + "ff" * 32], "0x" + word(5)),
        ([DEPOSIT, A, B], "0x" + word(5)),
        ([], "0x"),
    ],
)
def test_what_only_looks_like_a_wrap_is_none(topics, data):
    assert wraps(block_of(log(topics, data, address=WETH)), RULES) == []


def test_the_table_of_contracts_is_in_lower_case_and_has_mainnets():
    assert WRAPPED[1] == WETH
    assert all(address == address.lower() and len(address) == 42 for address in WRAPPED.values())
