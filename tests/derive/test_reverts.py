"""Why transactions fail, in words. web3's codec encodes what contracts return; selectors are the published ones."""

import pytest
from eth_abi import encode

from chainwatch.chain.evm.reads import Revert
from chainwatch.derive.errors import SIGNATURES
from chainwatch.derive.reverts import explain, explain_told

ALICE = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"
ALICE_SHOWN = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def returned(selector: str, kinds: list[str], values: list) -> str:
    return "0x" + selector + encode(kinds, values).hex()


def error(text: str) -> str:
    return returned("08c379a0", ["string"], [text])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (error("not enough"), "not enough"),
        (error("ÜBER 🦄"), "ÜBER 🦄"),
        (error("x" * 1000), "x" * 255 + "…"),
        (error("\x1b]0;owned\x07\u202e"), "\\u001b]0;owned\\u0007\\u202e"),
        (error("GS026"), "GS026: a signature is not an owner's, or out of order"),
        (returned("4e487b71", ["uint256"], [0x11]), "panic 0x11: arithmetic overflow or underflow"),
        (returned("4e487b71", ["uint256"], [0x01]), "panic 0x01: assertion failed"),
        (returned("4e487b71", ["uint256"], [0x99]), "panic 0x99"),
        (returned("e450d38c", ["address", "uint256", "uint256"], [ALICE, 5, 10]),
         f"ERC20InsufficientBalance({ALICE_SHOWN}, 5, 10)"),
        (returned("fb8f41b2", ["address", "uint256", "uint256"], [ALICE, 0, 2**256 - 1]),
         f"ERC20InsufficientAllowance({ALICE_SHOWN}, 0, {2**256 - 1})"),
        (returned("118cdaa7", ["address"], [ALICE]), f"OwnableUnauthorizedAccount({ALICE_SHOWN})"),
        (returned("e2517d3f", ["address", "bytes32"], [ALICE, b"\xab" * 32]),
         f"AccessControlUnauthorizedAccount({ALICE_SHOWN}, 0x{'ab' * 32})"),
        (returned("d93c0665", [], []), "EnforcedPause()"),
        (returned("39d35496", [], []), "V3TooLittleReceived()"),
        (returned("d81b2f2e", ["uint256"], [1_700_000_000]), "AllowanceExpired(1700000000)"),
        (returned("220266b6", ["uint256", "string"], [0, "AA23 reverted\n"]), 'FailedOp(0, "AA23 reverted\\u000a")'),
        (returned("12345678", ["uint256"], [7]), "custom error 0x12345678"),
        ("0xDEADBEEF", "custom error 0xdeadbeef"),
    ],
)  # fmt: skip
def test_what_was_returned_is_told_in_words(data, reason):
    assert explain(Revert(data=data, error="execution reverted")) == reason
    assert explain_told(data) == reason


def test_an_error_inside_an_error_is_followed():
    inner = bytes.fromhex(returned("39d35496", [], [])[2:])
    data = returned("2c4029e9", ["uint256", "bytes"], [3, inner])
    assert explain(Revert(data=data)) == "ExecutionFailed(3, V3TooLittleReceived())"


def test_errors_inside_errors_without_end_do_end():
    data = b""
    for _ in range(50):
        data = bytes.fromhex("2c4029e9") + encode(["uint256", "bytes"], [0, data])
    shown = explain(Revert(data="0x" + data.hex()))
    assert shown == "ExecutionFailed(0, " * 5 + "0x" + ")" * 5


@pytest.mark.parametrize(
    "data",
    [
        "0x08c379a0",
        "0x08c379a0" + f"{32:064x}" + "f" * 64,
        "0x08c379a0" + "f" * 128,
        "0x4e487b71",
        "0x4e487b71" + "00" * 31,
        "0xe450d38c" + "ff" * 96,
        "0xe450d38c" + "00" * 95,
        "0x220266b6" + "00" * 31 + "01" + "ff" * 32,
    ],
)
def test_data_that_does_not_fit_its_selector_is_an_unknown_error(data):
    assert explain(Revert(data=data)) == f"custom error {data[:10]}"


@pytest.mark.parametrize(
    ("revert", "reason"),
    [
        (Revert(), None),
        (Revert(data="0x"), None),
        (Revert(data="0x", error="out of gas"), "out of gas"),
        (Revert(error="invalid opcode: INVALID\x1b[2J"), "invalid opcode: INVALID\\u001b[2J"),
        (Revert(error="execution reverted: too late"), "too late"),
        (Revert(data=error(""), error="execution reverted"), "execution reverted"),
        (Revert(data="0x01"), "data 0x01"),
        (Revert(data="no data at all\x00"), "no data at all\\u0000"),
        (Revert(data="0xabc", error="x"), "0xabc"),
        (Revert(data="0x08c379a0" + "ab" * 10**6), "0x08c379a0" + "ab" * 26 + "a…"),
    ],
)
def test_where_nothing_was_returned_the_machine_has_the_word(revert, reason):
    assert explain(revert) == reason


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (None, None),
        ("", None),
        ("0x", None),
        ("too late\r\n", "too late\\u000d\\u000a"),
        ("Reverted " + error("too late"), "too late"),
        ("Reverted", "Reverted"),
    ],
)
def test_receipts_tell_data_or_text(told, reason):
    assert explain_told(told) == reason


def test_every_error_of_the_table_is_shown_by_its_name():
    """Each type in the table is one that can be shown: zeros fit all of them."""
    from eth_utils import keccak

    assert len(set(SIGNATURES)) == len(SIGNATURES)
    for signature in SIGNATURES:
        name, kinds = signature[:-1].split("(")
        types = kinds.split(",") if kinds else []
        zeros = [_zero(kind) for kind in types]
        shown = explain(Revert(data=returned(keccak(text=signature)[:4].hex(), types, zeros)))
        assert shown.startswith(f"{name}("), signature
        assert shown.count(", ") == max(len(types) - 1, 0)


def _zero(kind: str) -> object:
    if kind == "address":
        return ALICE
    if kind == "string":
        return ""
    return b"" if kind.startswith("bytes") else 0
