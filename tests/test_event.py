"""The event: its id, its JSON both ways, its retraction, and what a filter can ask of it."""

import json
import re

import msgspec
import pytest
from hypothesis import given, strategies as st

from chainwatch import event as events
from chainwatch.event import (
    NATIVE,
    PART,
    Event,
    Interest,
    address_key,
    decode,
    encode,
    event_id,
    identify,
    interest,
    keys,
    pair_key,
    retraction,
    rfc3339,
)
from chainwatch.payloads import CATEGORIES, PAYLOADS

HASH = "0x" + "ab" * 32
FROM, TO, TOKEN = "0x" + "aA" * 20, "0x" + "bB" * 20, "0x" + "cC" * 20

BLOCK = {"block_number": 7, "block_hash": HASH}
TRANSACTION = BLOCK | {
    "tx_hash": HASH,
    "from": FROM,
    "to": TO,
    "amount": str(2**256 - 1),
    "token": "ETH",
    "decimals": 18,
    "nonce": 3,
    "direction": None,
    "transaction_index": 1,
    "gas_used": "21000",
    "fee": "1",
}
DATA = {
    "block_new": BLOCK
    | {
        "parent_hash": HASH,
        "transaction_count": 0,
        "gas_used": "0",
        "gas_limit": "30000000",
        "base_fee_per_gas": None,
    },
    "block_finalized": BLOCK | {"tag": "safe"},
    "chain_reorg": {"depth": 1, "common_ancestor": BLOCK, "old_blocks": [BLOCK], "new_blocks": []},
    "transaction_confirmed": TRANSACTION | {"confirmations": 6},
    "transaction_failed": TRANSACTION | {"to": None, "revert_reason": "no\u202e"},
    "token_transfer": BLOCK
    | {
        "standard": "erc20",
        "token": None,
        "token_address": TOKEN,
        "decimals": None,
        "from": FROM,
        "to": TO,
        "amount": "1",
        "token_id": None,
        "batch_index": None,
        "tx_hash": HASH,
        "transaction_index": 1,
        "log_index": 2,
    },
    "chain_status": {"state": "halted", "endpoint": None, "head": 7, "lag_seconds": 1.5, "reason": "deep"},
}


def made(kind, data=None, **more):
    told = data if data is not None else msgspec.convert(DATA[kind], PAYLOADS[kind])
    return Event(
        id=event_id(kind),
        type=kind,
        timestamp="2025-06-24T07:00:00.000Z",
        observed_at="2025-06-24T07:00:01.312Z",
        chain="ethereum",
        data=told,
        **more,
    )


def test_every_type_is_tried_here():
    assert set(DATA) == set(PAYLOADS)
    assert set().union(*CATEGORIES.values()) == set(PAYLOADS)


@pytest.mark.parametrize("kind", PAYLOADS)
def test_an_event_is_one_line_of_json_and_comes_back(kind):
    line = encode(made(kind))
    assert b"\n" not in line
    told = json.loads(line)
    assert list(told) == ["id", "type", "timestamp", "observed_at", "chain", "data"]
    assert told["data"] == DATA[kind]
    back = decode(line)
    assert back.data == DATA[kind]
    assert encode(back) == line


def test_an_event_of_no_chain_says_null():
    assert json.loads(encode(msgspec.structs.replace(made("chain_status"), chain=None)))["chain"] is None


def test_what_is_no_event_is_not_decoded():
    for text in (b"", b"[]", b"{}", b'{"id":"evt_1"}', b"\xff", encode(made("block_new"))[:-1]):
        with pytest.raises(msgspec.DecodeError):
            decode(text)


@given(st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=20)), max_size=8))
def test_an_id_is_evt_and_26_characters(parts):
    assert re.fullmatch(r"evt_[0-9a-hjkmnp-tv-z]{26}", event_id(*parts))
    assert event_id(*parts) == event_id(*parts)


def test_an_id_is_the_same_on_every_machine_and_after_every_release():
    """This value is in logs out there. A change of it tells every event of every log again."""
    assert event_id("ethereum", HASH, "token_transfer", HASH, 7, None, "", 0) == "evt_y467z207nkcq62m6g5qjwz34mc"


def test_parts_do_not_run_into_one_another():
    assert len({event_id("ab", "c"), event_id("a", "bc"), event_id("abc"), event_id("ab", "c", "")}) == 4
    assert event_id("a", None) == event_id("a", "")


def test_a_retraction_is_the_same_fact_undone_with_an_id_of_its_own():
    event = made("token_transfer")
    undone = retraction(event, "2025-06-24T08:00:00.000Z")
    assert (undone.removed, undone.retracts) == (True, event.id)
    assert undone.id not in (event.id, retraction(undone, "").id)
    assert (undone.type, undone.timestamp, undone.chain, undone.data) == (
        event.type,
        event.timestamp,
        event.chain,
        event.data,
    )
    told = json.loads(encode(undone))
    assert (told["removed"], told["retracts"]) == (True, event.id)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (1_750_748_400_000, "2025-06-24T07:00:00.000Z"),
        (1_750_748_400_007, "2025-06-24T07:00:00.007Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1970-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ((2**64 - 1) * 1000, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_rfc_3339_in_utc_with_milliseconds(milliseconds, text):
    assert rfc3339(milliseconds) == text


@pytest.mark.parametrize("kind", PAYLOADS)
def test_a_fresh_event_and_one_read_back_are_of_the_same_interest(kind):
    event = made(kind)
    assert interest(event) == interest(decode(encode(event)))


def test_the_interest_of_a_transfer_and_of_a_transaction():
    a, b, c = FROM.lower(), TO.lower(), TOKEN.lower()
    assert interest(made("token_transfer")) == Interest("token_transfer", "ethereum", (a, b, c), (c,), "1")
    told = interest(made("transaction_confirmed"))
    assert told == Interest("transaction_confirmed", "ethereum", (a, b), (NATIVE,), str(2**256 - 1))
    assert interest(made("transaction_failed")).addresses == (a,)


def test_the_interest_of_a_custom_event_is_what_it_calls_addresses():
    data = {"owner": FROM, "spender": "0xshort", "from_": TO, "address": 7, "amount": 5, "x" * 42: "0x" + "z" * 40}
    event = made("approved", dict(data))
    assert interest(event) == Interest("approved", "ethereum", (FROM.lower(),), (), None)
    assert event.data == data


def test_index_keys_are_63_bits_and_an_address_has_one_in_any_case():
    about = interest(made("token_transfer"))
    found = keys(about)
    assert found[0] == pair_key("ethereum", "token_transfer")
    assert set(found[1:]) == {address_key(FROM.lower()), address_key(TO.lower()), address_key(TOKEN.lower())}
    assert all(0 <= key < 2**63 for key in found)
    assert address_key(FROM) == address_key(FROM.lower())
    assert address_key("0x" + "z" * 40) == 0
    assert pair_key(None, "x") == pair_key("", "x") != pair_key("ethereum", "x")


@given(st.text(max_size=50), st.binary(max_size=50))
def test_hostile_text_does_not_break_the_line(text, raw):
    event = made("deploy", {"text": text, "raw": raw.decode("latin-1")})
    assert events.decode(encode(event)).data == event.data
    assert b"\n" not in encode(event)
    assert b"\r" not in encode(event)


def test_joined_parts_have_the_id_of_the_parts():
    parts = ("ethereum", "0xab", "token_transfer", "0xcd", "7.1", None, None, 0)
    assert identify(PART.join("" if part is None else str(part) for part in parts)) == event_id(*parts)
