"""Text for people: what strangers chose made harmless, exact amounts, and URLs without their secrets."""

import unicodedata

import pytest
from hypothesis import given, strategies as st

from chainwatch.text import NAME_LENGTH, age, amount, glance, printable, redact, redact_url, short, wide


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("1234567.8901", "1,234,567.8901"), ("0.123456", "0.1234…"), ("-0.5", "-0.5"), ("-1234.00001", "-1,234.0000…"),
        ("7", "7"), ("-", "-"), ("no number", "no number"),
    ],
)  # fmt: skip
def test_a_number_is_cut_for_a_glance_and_says_so(number, shown):
    assert glance(number) == shown


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("名前", 4), ("e\u0301", 1), ("ｱ", 1), ("👍", 2)])
def test_a_text_is_as_wide_as_a_terminal_makes_it(text, columns):
    assert wide(text) == columns


@given(st.text())
def test_nothing_hostile_is_left_and_nothing_harmless_is_changed(text):
    shown = printable(text, 10_000)
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Zl", "Zp", "Cs"}
    if not {unicodedata.category(char) for char in text} & {"Cc", "Cf", "Zl", "Zp", "Cs"}:
        assert shown == text


@given(st.text(), st.integers(1, 40))
def test_text_is_cut_and_what_was_made_harmless_stays_as_it_is(text, length):
    """It is escaped where it enters, and again where it is drawn."""
    shown = printable(text, length)
    assert len(shown) <= length
    assert printable(shown, length) == shown


def test_every_hostile_character_there_is_becomes_visible():
    hostile = [
        chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zl", "Zp", "Cs")
    ]
    assert len(hostile) > 2000
    assert all(printable(char).isascii() and printable(char).startswith("\\") for char in hostile)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("USDC", "USDC"),
        ("\x1b]0;owned\x07", "\\u001b]0;owned\\u0007"),
        ("safe\u202eexe.txt", "safe\\u202eexe.txt"),
        ("US\u200bDC", "US\\u200bDC"),
        ("a\nb\u2028c", "a\\u000ab\\u2028c"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("Ünï → 😀", "Ünï → 😀"),
        ("x" * 300, "x" * 255 + "…"),
        ("x" * 256, "x" * 256),
        ("", ""),
    ],
)
def test_hostile_text_is_written_out(text, shown):
    assert printable(text) == shown


def test_a_cut_costs_no_more_than_what_is_kept():
    assert len(printable("\x1b" * 10_000_000)) == NAME_LENGTH


@given(st.integers(-(2**256), 2**256), st.integers(0, 255))
def test_an_amount_is_exact_to_the_last_digit(units, decimals):
    shown = amount(str(units), decimals)
    whole, _, fraction = shown.removeprefix("-").partition(".")
    assert len(fraction) <= decimals
    assert not fraction.endswith("0")
    back = int(whole + fraction.ljust(decimals, "0"))
    assert (-back if shown.startswith("-") else back) == units


@pytest.mark.parametrize(
    ("units", "decimals", "shown"),
    [
        (1500, 3, "1.5"),
        ("1000000000000000000", 18, "1"),
        ("-1", 18, "-0.000000000000000001"),
        (0, 18, "0"),
        (2**256 - 1, 18, "115792089237316195423570985008687907853269984665640564039457.584007913129639935"),
        (1500, None, "1500"),
        (1500, 0, "1500"),
        (1500, 2**256 - 1, "1500"),
        (1500, -1, "1500"),
    ],
)
def test_amounts_as_people_read_them(units, decimals, shown):
    assert amount(units, decimals) == shown


def test_what_is_no_whole_number_is_an_error():
    for nonsense in ("", "1.5", "0x10", "1e18", "9" * 5000):
        with pytest.raises(ValueError, match=r"invalid literal|limit"):
            amount(nonsense, 18)


def test_long_hashes_are_short():
    assert short("0x" + "ab" * 20) == "0xabab…abab"
    assert short("0x12345678", lead=4, tail=2) == "0x12…78"
    assert short("0x123456789") == "0x123456789"
    assert short("") == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0.0s"),
        (0.44, "0.4s"),
        (12.9, "12s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (10**9, "11574d"),
    ],
)
def test_ages_have_one_unit(seconds, shown):
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://node.example", "wss://node.example"),
        ("wss://node.example/", "wss://node.example"),
        ("https://eth.example/v2/SECRET", "https://eth.example/…"),
        ("https://eth.example:8545/?key=SECRET", "https://eth.example:8545/…"),
        ("https://user:SECRET@eth.example", "https://eth.example/…"),
        ("https://eth.example#SECRET", "https://eth.example"),
        ("ws://[::1]:8545/SECRET", "ws://[::1]:8545/…"),
        ("https://eth.example:SECRET/", "<url>"),
        ("https://[SECRET", "<url>"),
        ("SECRET", "<url>"),
        ("", "<url>"),
    ],
)
def test_a_url_shows_where_and_no_secret(url, shown):
    assert redact_url(url) == shown
    if shown != "<url>":
        assert redact_url(shown) == shown


def test_urls_in_a_text_are_redacted():
    text = "GET HTTPS://a.example/SECRET failed (see 'wss://u:SECRET@b.example/x?y'), <ws://c.example:1/SECRET>"
    assert redact(text) == "GET https://a.example/… failed (see 'wss://b.example/…'), <ws://c.example:1/…>"
    assert redact("no url: at all") == "no url: at all"


def test_a_url_ends_before_the_punctuation_behind_it():
    assert redact("ws://127.0.0.1:8545: no answer, see https://a.example/v3/KEY.") == (
        "ws://127.0.0.1:8545: no answer, see https://a.example/…."
    )
