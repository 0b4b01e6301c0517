"""What `tail` tells people of the newer types; the lines of blocks and transfers are in test_tail.py."""

from __future__ import annotations

import msgspec
import pytest

from chainwatch.examples import EXAMPLES
from chainwatch.lines import line_of

HASH = "0x" + "ab" * 32
MAX = str(2**256 - 1)


def told(kind, /, **changes):
    """The word and the line of the example, some of its fields changed."""
    line = line_of(kind)
    return f"{line.word}: {line.tell(msgspec.to_builtins(EXAMPLES[kind].data) | changes)}"


SENT = "0xd8dA…6045 → 0x28C6…1d60  0x5c50…2060  1 ETH"
APPROVED = "approval: 0xd8dA…6045 → 0x0000…8BA3  0xe9c8…4c5d"
SWAPPED = "swap: 0x7a25…488D → 0xd8dA…6045  0xe9c8…4c5d"


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("transaction_pending", {}, f"pending: {SENT}, nonce 1182, at most 40 gwei"),
        ("transaction_pending", {"max_fee_per_gas": None}, f"pending: {SENT}, nonce 1182"),
        ("transaction_replaced", {}, f"replaced: {SENT}, sped up by 0xe9c8…4c5d"),
        (
            "transaction_replaced",
            {"kind": "cancel", "block_number": 7},
            f"replaced: {SENT}, cancelled by 0xe9c8…4c5d, in #7",
        ),
        ("transaction_dropped", {}, f"dropped: {SENT}, gone from the mempool"),
        ("transaction_dropped", {"reason": "nonce_used"}, f"dropped: {SENT}, its nonce was used by another"),
        ("transaction_dropped", {"reason": "expired"}, f"dropped: {SENT}, waited too long"),
        ("transaction_dropped", {"reason": "of\x1b[2J"}, f"dropped: {SENT}, of\\u001b[2J"),
    ],
)
def test_what_became_of_a_transaction_in_the_mempool(kind, changes, said):
    assert told(kind, **changes) == said


def cause(kind, amount):
    return {"kind": kind, "amount": amount, "tx_hash": None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "-1.000543302599119 ETH, now 3.999456697400881 ETH (value -1, gas -0.000543302599119)"),
        ({"delta": "5", "balance": "7", "decimals": 1, "causes": []}, "+0.5 ETH, now 0.7 ETH"),
        (
            {"delta": MAX, "balance": MAX, "decimals": 0, "causes": [], "unattributed": MAX},
            f"+{MAX} ETH, now {MAX} ETH (unattributed +{MAX})",
        ),
        (
            {"delta": "0", "balance": "0", "causes": [cause("tip", "1")] * 6, "unattributed": "-6", "decimals": 0},
            "+0 ETH, now 0 ETH (tip +1, tip +1, tip +1, tip +1, 2 more, unattributed -6)",
        ),
        ({"delta": "lots", "balance": None, "causes": "x"}, "+lots ETH, now ? ETH"),
    ],
)
def test_a_balance_says_how_much_it_moved_to_what_and_why(changes, said):
    assert told("balance_changed", **changes) == f"balance: 0xd8dA…6045  {said}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "2500 USDC"),
        ({"known_token": False}, "2500 USDC, UNKNOWN TOKEN 0xA0b8…eB48"),
        ({"known_token": "yes"}, "2500 USDC, UNKNOWN TOKEN 0xA0b8…eB48"),
        (
            {"known_token": False, "token": None, "decimals": None},
            "2500000000 base units of 0xA0b8…eB48, UNKNOWN TOKEN 0xA0b8…eB48",
        ),
        (
            {"known_token": False, "token": "APES", "token_id": "9", "amount": "1"},
            "APES no. 9, UNKNOWN TOKEN 0xA0b8…eB48",
        ),
        ({"token": "ETH", "token_address": None, "decimals": 9, "kind": "withdrawal"}, "2.5 ETH, withdrawal"),
        ({"token": "ETH", "token_address": None, "decimals": 9, "kind": "internal"}, "2.5 ETH, internal"),
    ],
)
def test_what_came_in_says_whether_its_token_is_known(changes, said):
    assert told("wallet_incoming", **changes) == f"incoming: 0xd8dA…6045 ← 0x28C6…1d60  0xe9c8…4c5d  {said}"


def test_what_went_out_goes_the_other_way():
    assert told("wallet_outgoing") == f"outgoing: {SENT}"
    nobody = told("wallet_outgoing", counterparty=None, tx_hash=None)
    assert nobody == "outgoing: 0xd8dA…6045 → -            -            1 ETH"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "may spend UNLIMITED USDC"),
        ({"unlimited": False, "amount": "1500000"}, "may spend 1.5 USDC"),
        ({"unlimited": False, "revoked": True, "amount": "0"}, "revoked: USDC"),
        ({"approved_for_all": True, "amount": None}, "may spend ALL USDC"),
        ({"approved_for_all": False, "amount": None, "unlimited": False, "revoked": True}, "revoked: ALL USDC"),
        ({"token_id": "9", "amount": None, "unlimited": False, "token": "APES"}, "may spend APES no. 9"),
        (
            {"standard": "permit2", "expiration": "2025-06-24T07:00:00.000Z"},
            "may spend UNLIMITED USDC, until 2025-06-24T07:00:00.000Z, Permit2",
        ),
    ],
)
def test_an_approval_shows_how_far_it_goes_and_whether_it_is_over(changes, said):
    assert told("token_approval", **changes) == f"{APPROVED}  {said}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "0.5 WETH for 924.563811 USDC at 1849.12, uniswap_v3"),
        (
            {"token_in": None, "token_in_address": None, "decimals_in": None, "price": None, "protocol": "uniswap_v4"},
            "500000000000000000 base units of - for 924.563811 USDC, uniswap_v4",
        ),
    ],
)
def test_a_swap_says_what_was_given_for_what(changes, said):
    assert told("token_swap", **changes) == f"{SWAPPED}  {said}"


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ("2987.07782042520881", "2987.07"),
        ("0.000332930268088046949", "0.00033293"),
        ("0.000332935268088046949", "0.000332935"),
        ("123456789.5", "123456789"),
        ("1.50", "1.5"),
        ("12", "12"),
        ("0.0", "0"),
        (MAX, MAX),
        ("-1.23456789", "-1.23456789"),
        ("lots", "lots"),
    ],
)
def test_the_price_of_a_swap_is_for_a_glance(price, said):
    assert told("token_swap", price=price).endswith(f" USDC at {said}, uniswap_v3")


def test_a_transfer_of_a_token_that_is_not_configured_says_whose_word_its_symbol_is():
    known, unknown = told("token_transfer"), told("token_transfer", token_name="USD Coin")
    assert unknown == f"{known}, says 0xA0b8…eB48"


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind.startswith("transaction_")])
def test_a_transaction_without_a_recipient_creates_a_contract(kind):
    line, created = told(kind), told(kind, to=None)
    assert line.split(" → ")[1][11:] == created.split(" → ")[1][11:], "columns stay where they are"
    assert created.split(" → ")[1].startswith("(creation) ")


def test_a_price_says_what_it_was_and_how_it_moved():
    assert told("price_update") == "price: ETH/USD 1847.31, +0.5054%, chainlink"
    assert told("price_update", change_percent="-12.0000") == "price: ETH/USD 1847.31, -12.0000%, chainlink"
    assert told("price_update", change_percent=None, source="coingecko") == "price: ETH/USD 1847.31, coingecko"


def test_the_state_of_a_wallet_and_of_a_source():
    assert told("wallet_status") == "wallet: 0xd8dA…6045  treasury, watching, 5 ETH, 0 USDC"
    assert told("wallet_status", state="removed", balances=[]) == "wallet: 0xd8dA…6045  treasury, removed"
    many = [{"token": "A", "token_address": None, "decimals": 0, "balance": "1"}] * 6
    assert told("wallet_status", balances=many).endswith("watching, 1 A, 1 A, 1 A, 1 A, 2 more")
    assert told("source_status") == "source: coingecko, limited, 429 Too Many Requests, for another 60 s"
    assert told("source_status", state="ok", reason=None) == "source: coingecko, ok"


HOSTILE = "\x1b]0;owned\x07\u202eUSDC\n\u200b"


@pytest.mark.parametrize("kind", EXAMPLES)
def test_what_strangers_chose_is_harmless_wherever_it_stands(kind):
    data = msgspec.to_builtins(EXAMPLES[kind].data)
    for name, value in data.items():
        for wrong in (HOSTILE, [HOSTILE], {"kind": HOSTILE}, [{"kind": HOSTILE, "amount": HOSTILE}], [None], -1, 1.5):
            line = told(kind, **{name: wrong})
            assert line.isprintable(), (name, value)
            assert len(line) < 2000
