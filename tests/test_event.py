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
from chainwatch.examples import EXAMPLES
from chainwatch.payloads import PAYLOADS

HASH = "0x" + "ab" * 32
FROM, TO, TOKEN = "0x" + "aA" * 20, "0x" + "bB" * 20, "0x" + "cC" * 20

DATA = {kind: msgspec.to_builtins(example.data) for kind, example in EXAMPLES.items()}
MORE = {
    "transaction_failed": {"to": None, "revert_reason": "no\u202e"},
    "token_transfer": {"from": FROM, "to": TO, "token_address": TOKEN, "amount": "1"},
}


def made(kind, data=None, **more):
    told = msgspec.convert(DATA[kind] | MORE.get(kind, {}), PAYLOADS[kind]) if data is None else data
    return Event(
        id=event_id(kind),
        type=kind,
        timestamp="2025-06-24T07:00:00.000Z",
        observed_at="2025-06-24T07:00:01.312Z",
        chain="ethereum",
        data=told,
        **more,
    )


def touched(kind, **changes):
    """The interest of the example, changed; fresh and read back it is the same."""
    event = made(kind, msgspec.structs.replace(EXAMPLES[kind].data, **changes))
    about = interest(event)
    assert interest(decode(encode(event))) == about
    return about


@pytest.mark.parametrize("kind", PAYLOADS)
def test_an_event_is_one_line_of_json_and_comes_back(kind):
    line = encode(made(kind))
    assert b"\n" not in line
    told = json.loads(line)
    assert list(told) == ["id", "type", "timestamp", "observed_at", "chain", "data"]
    assert told["data"] == DATA[kind] | MORE.get(kind, {})
    back = decode(line)
    assert back.data == told["data"]
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
    touched(kind)
    event = made(kind)
    assert interest(event) == interest(decode(encode(event)))


@pytest.mark.parametrize("kind", PAYLOADS)
def test_every_address_of_an_event_is_touched(kind):
    """Whatever looks like one at the top of the data; those of a list (a wallet's balances) are not asked for."""
    addresses = {value.lower() for value in DATA[kind].values() if re.fullmatch("0x[0-9a-fA-F]{40}", str(value))}
    assert set(touched(kind).addresses) == addresses


def test_the_interest_of_a_transfer_and_of_a_transaction():
    a, b, c = FROM.lower(), TO.lower(), TOKEN.lower()
    assert interest(made("token_transfer")) == Interest("token_transfer", "ethereum", (a, b, c), (c,), "1")
    for kind in ("pending", "confirmed", "failed", "replaced", "dropped"):
        told = touched(f"transaction_{kind}", from_=FROM, to=TO, amount=str(2**256 - 1))
        assert told == Interest(f"transaction_{kind}", "ethereum", (a, b), (NATIVE,), str(2**256 - 1))
    assert touched("transaction_failed", from_=FROM, to=None).addresses == (a,)


@pytest.mark.parametrize(("kind", "field"), [("balance_changed", "delta"), ("wallet_incoming", "amount")])
def test_a_wallet_holds_the_native_currency_or_a_token(kind, field):
    amount = {field: "7"}
    assert touched(kind, token_address=None, token="ETH", **amount)[3:] == ((NATIVE,), "7")
    assert touched(kind, token_address=TOKEN, **amount)[3:] == ((TOKEN.lower(),), "7")
    assert touched(kind, token_address=TOKEN, token="ETH").tokens == (TOKEN.lower(),)
    assert touched("balance_changed", delta="-7").amount == "-7"


def test_an_approval_of_everything_has_no_amount():
    about = touched("token_approval", owner=FROM, spender=TO, token_address=TOKEN, token="ETH", amount=None)
    assert about[2:] == ((FROM.lower(), TO.lower(), TOKEN.lower()), (TOKEN.lower(),), None)


def test_a_swap_touches_both_tokens_and_a_pool_that_has_an_address():
    sides = {"token_in_address": FROM, "token_out_address": TO, "amount_in": "7"}
    a, b = FROM.lower(), TO.lower()
    about = touched("token_swap", **sides, pool=TOKEN, sender=TO, recipient=None)
    assert about[2:] == ((b, TOKEN.lower(), a), (a, b), "7")
    assert HASH not in touched("token_swap", pool=HASH).addresses


def test_a_side_of_a_swap_is_native_where_it_has_a_symbol_and_no_contract():
    a, b = FROM.lower(), TO.lower()
    assert touched("token_swap", token_in="ETH", token_in_address=None, token_out_address=TO).tokens == (NATIVE, b)
    assert touched("token_swap", token_in_address=FROM, token_out="ETH", token_out_address=None).tokens == (a, NATIVE)
    unknown = dict.fromkeys(("token_in", "token_in_address", "token_out", "token_out_address"))
    assert touched("token_swap", **unknown).tokens == ()


def test_a_price_is_of_no_token_and_has_no_amount():
    assert touched("price_update", feed=FROM)[2:] == ((FROM.lower(),), (), None)
    assert touched("price_update", feed=None)[2:] == ((), (), None)


def test_a_status_touches_its_wallet():
    assert touched("wallet_status", address=FROM)[2:] == ((FROM.lower(),), (), None)
    for kind in ("source_status", "chain_status", "block_new"):
        assert touched(kind)[2:] == ((), (), None)


def test_the_interest_of_a_custom_event_is_what_it_calls_addresses():
    data = {"owner": FROM, "spender": "0xshort", "from_": TO, "address": 7, "amount": 5, "x" * 42: "0x" + "z" * 40}
    event = made("approved", dict(data))
    assert interest(event) == Interest("approved", "ethereum", (FROM.lower(),), (), None)
    assert event.data == data
    assert interest(made("paid", {"amount": "5", "token": "ETH"})).tokens == ()


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
