"""What contracts answer, and what hostile ones do. The codec of web3 is the witness."""

import pytest
from eth_abi import encode

from chainwatch.chain.evm.abi import address_of, decimals_of, flag_of, int_of, text_of, uint_of


def word(value: int) -> str:
    return f"{value:064x}"


def abi(kind: str, value: object) -> str:
    return "0x" + encode([kind], [value]).hex()


@pytest.mark.parametrize("text", ["USDC", "x" * 31, "x" * 32, "x" * 33, "Ünïcödé Cøin", "🦄"])
def test_a_symbol_is_a_string(text):
    assert text_of(abi("string", text), 64) == text


def test_a_symbol_of_the_first_tokens_is_32_bytes():
    assert text_of("0x4d4b520000000000000000000000000000000000000000000000000000000000", 64) == "MKR"
    assert text_of("0x" + b"x".hex() * 32, 64) == "x" * 32


def test_long_text_is_cut_at_characters_and_not_at_bytes():
    assert text_of(abi("string", "🦄" * 100), 64) == "🦄" * 63 + "…"
    assert text_of(abi("string", "🦄" * 64), 64) == "🦄" * 64
    assert text_of(abi("string", "x" * 100_000), 256) == "x" * 255 + "…"


def test_what_could_move_a_cursor_or_turn_a_line_is_written_out():
    assert text_of(abi("string", "US\x1b[2JDC\u202e"), 64) == "US\\u001b[2JDC\\u202e"


def test_bytes_that_are_no_text_are_shown_as_such():
    assert text_of("0x" + word(32) + word(2) + "ff41".ljust(64, "0"), 64) == "\ufffdA"
    assert text_of("0x" + "ff" * 32, 64) == "\ufffd" * 32


@pytest.mark.parametrize(
    "data",
    [
        "",
        "0x",
        "0x00",
        "0x" + word(0),
        "0x" + word(32),
        "0x" + word(32) + word(0),
        "0x" + word(32) + word(1),
        "0x" + word(32) + word(2**256 - 1) + word(0),
        "0x" + word(2**256 - 1) + word(1) + word(0),
        "0x" + word(2**63) + word(1) + word(0),
        "0x" + word(64) + word(1),
        "0x" + word(32) + word(33) + "41" * 32,
        "0x" + word(32) + word(3) + b"   ".hex().ljust(64, "0"),
        "0x" + word(32) + word(3) + "zz" * 32,
        "0x" + " " * 64,
        "0x" + "_1" * 32,
        word(32) + word(1) + "41" * 32,
    ],
)
def test_what_is_no_text_is_none(data):
    assert text_of(data, 64) is None


@pytest.mark.parametrize(
    ("answer", "decimals"),
    [
        (abi("uint8", 18), 18),
        (abi("uint8", 0), 0),
        (abi("uint256", 255), 255),
        (abi("uint256", 256), None),
        (abi("uint256", 2**256 - 1), None),
        ("0x", None),
        ("0x12", None),
        ("0x" + "+" + word(18)[1:], None),
        (abi("uint8", 18) + "00" * 64, 18),
    ],
)
def test_decimals_are_a_number_up_to_255_or_none(answer, decimals):
    assert decimals_of(answer) == decimals


def test_only_a_plain_yes_is_a_yes():
    assert flag_of(abi("bool", True))
    assert not any(map(flag_of, (abi("bool", False), "0x", "0x01", "0x" + word(2), "0x" + "ff" * 32)))


def test_numbers_are_exact_and_signed_where_they_are():
    for number in (0, 1, 2**255 - 1, -(2**255), -1):
        assert int_of(abi("int256", number)) == number
    assert uint_of(abi("uint256", 2**256 - 1)) == 2**256 - 1
    assert uint_of("0x" + word(1) + word(7), 1) == 7
    assert (uint_of("0x"), int_of("0x" + "0" * 63), uint_of("0x" + word(1), 1)) == (None, None, None)


def test_an_address_has_zeros_before_it():
    address = "0x" + "aB" * 20
    assert address_of(abi("address", address)) == address.lower()
    assert address_of("0x" + "00" * 11 + "01" + "ab" * 20) is None
    assert address_of("0x") is None
