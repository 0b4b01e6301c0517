"""Questions about events, and their exact answers."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, strategies as st

from chainwatch.event import Event, decode, encode
from chainwatch.examples import EXAMPLES
from chainwatch.payloads import PAYLOADS, Cause
from chainwatch.text import printable
from chainwatch.where import View, Where, both, compile_where, quoted
from chainwatch.where.shapes import data_of

MANUAL = (Path(__file__).parent.parent.parent / "man" / "chainwatch-events.7").read_text("utf-8")
MAX = 2**256 - 1
ETH = 10**18
VITALIK = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"


def event(kind: str = "note", **data: object) -> Event:
    moment = "2025-06-24T07:00:00.000Z"
    return Event(
        id="evt_1", type=kind, timestamp=moment, observed_at="2025-06-24T07:00:01.312Z", chain="ethereum", data=data
    )


def told(kind: str, **changed: object) -> Event:
    """The catalogue's example of a type, with other values."""
    example = EXAMPLES[kind]
    return msgspec.structs.replace(example, data=msgspec.structs.replace(example.data, **changed))


def asks(text: str, about: Event) -> bool:
    """The answer, which is the same for the event as it was made and as it is read back."""
    where = compile_where(text)
    fresh, back = View(about).answer(where), View(decode(encode(about))).answer(where)
    assert fresh is back
    return fresh


def balance(**changed: object) -> Event:
    return told("balance_changed", **changed)


@pytest.mark.parametrize(
    ("text", "amount", "answer"),
    [
        ("data.amount > 1e18", ETH, False),
        ("data.amount > 1e18", ETH + 1, True),
        ("data.amount >= 1e18", ETH, True),
        ("data.amount >= 1e18", ETH - 1, False),
        ("data.amount == 1e18", ETH, True),
        ("data.amount == 1e18", ETH + 1, False),
        ("data.amount < 1000000000000000000.5", ETH, True),
        ("data.amount < 1000000000000000000.5", ETH + 1, False),
        (f"data.amount == {MAX}", MAX, True),
        (f"data.amount == {MAX}", MAX - 1, False),
        (f"data.amount > {MAX - 1}", MAX, True),
        (f"data.amount >= {MAX}", MAX - 1, False),
        ("data.amount > 1e77", MAX, True),
        ("data.amount < 1.2e77", MAX, True),
        ("data.amount == 0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", MAX, True),
        ("data.amount + 1 == 0x10000000000000000000000000000000000000000000000000000000000000000", MAX, True),
        ("data.amount * data.amount > 1e154", MAX, True),
        (f"data.amount == '{MAX}'", MAX, True),
        ("data.amount / 1e18 == 1.000000000000000001", ETH + 1, True),
        ("data.amount / 1e18 == 1", ETH + 1, False),
        ("data.amount / 1000000000000000000 == 1", ETH + 1, True),
        ("data.amount / 3e18 * 3 == 1", ETH, True),
        ("data.amount % 1e18 == 1", ETH + 1, True),
        ("data.amount % 10 == 5", MAX, True),
        ("data.amount in [1, 1e18]", ETH, True),
        ("data.amount in ['1', '1000000000000000000']", ETH, True),
        ("int(data.amount) > 9223372036854775807", 2**63, True),
        ("string(data.amount) == '1000000000000000000'", ETH, True),
        ("size(data.amount) == 78", MAX, True),
    ],
)
def test_amounts_are_exact_to_the_last_unit(text, amount, answer):
    assert asks(text, told("transaction_confirmed", amount=str(amount))) is answer
    assert asks(text, event(amount=str(amount))) is answer
    if "'" not in text and "string" not in text and "size" not in text:
        assert asks(text, event(amount=amount)) is answer  # a stranger's number of JSON


@pytest.mark.parametrize(
    ("text", "delta", "answer"),
    [
        ("data.delta < 0", "-1", True),
        ("data.delta < 0", "0", False),
        ("data.delta <= -1e18", str(-ETH), True),
        ("data.delta <= -1e18", str(-ETH + 1), False),
        ("-data.delta > 1e18", str(-ETH - 1), True),
        ("data.delta == data.balance - data.previous_balance", "-5", True),
        ("data.balance < data.previous_balance", "-5", True),
        (f"data.delta > -{MAX} - 1", str(-MAX), True),
        ("data.delta / 2 == -2", "-5", True),
        ("data.delta % 2 == -1", "-5", True),
        ("data.delta / 2.0 == -2.5", "-5", True),
    ],
)
def test_negative_amounts_are_exact_too(text, delta, answer):
    # As texts 95 would be less than 100.
    about = balance(delta=delta, balance=str(100 + int(delta)), previous_balance="100")
    assert asks(text, about) is answer


@pytest.mark.parametrize(
    ("text", "price", "answer"),
    [
        ("data.price > 3000.5", "3000.5", False),
        ("data.price > 3000.5", "3000.50000000000000000001", True),
        ("data.price > 3000.5", "3000.49999999999999999999", False),
        ("data.price == 3000.5", "3000.50", True),
        ("data.price == '3000.5'", "3000.50", False),
        ("data.price >= 0.1 + 0.2", "0.3", True),
        ("data.price == 0.1 + 0.2", "0.3", True),
        ("data.price < 1e-17", "0.000000000000000009", True),
        ("data.price < 10000", "9999.99", True),
        ("data.price / 2 == 1500.5", "3001", True),
        ("data.price > data.previous_price", "10", True),
        ("(data.price - data.previous_price) / data.previous_price * 100 > 11", "10", True),
        ("(data.price - data.previous_price) / data.previous_price * 100 > 11.2", "10", False),
    ],
)
def test_prices_are_decimal_numbers(text, price, answer):
    assert asks(text, told("price_update", price=price, previous_price="9")) is answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("has(data.fee)", False),
        ("data.fee > 5", False),
        ("data.fee != 5", False),
        ("!(data.fee == 5)", False),
        ("data.fee == null", False),
        ("data.fee > 5 || data.amount == 7", True),
        ("data.amount == 7 || data.fee > 5", True),
        ("data.fee > 5 && data.amount == 8 || removed == false", True),
        ("data.fee > 5 && data.amount == 7", False),
        ("!(data.fee > 5 && data.amount == 8)", True),
        ("!(data.fee > 5 || data.amount == 8)", False),
        ("!data.list.exists(x, data.fee > x)", False),
        ("data.list.all(x, x > 0 && data.fee > x)", False),
        ("data.list.exists_one(x, x == 1 || data.fee > x)", False),
        ("data.fee > 5 ? true : true", False),
        ("!has(data.fee)", True),
        ("!has(data.fee) && data.amount == 7", True),
        ("has(data.to)", True),
        ("data.to == null", True),
        ("data.to != null", False),
        ("data.to > 5", False),
        ("has(data.fee.paid)", False),
        ("!has(data.fee.paid)", False),
        ("data.list[1] == 2", True),
        ("data.list[2] == 2 || true", True),
        ("data.list[2] == 2", False),
        ("data.list[-1] == 2", False),
        ("data['odd name'] == 1", True),
        ("data.deep.er == 'x'", True),
        ("data.words == 5", False),
        ("data.words != 5", True),
        ("data.words > 5", False),
        ("data.words < 5", False),
        ("data.words", False),
        ("data.amount / data.zero > 1", False),
        ("data.amount / data.zero > 1 || true", True),
    ],
)
def test_what_is_not_there_is_neither_true_nor_false(text, answer):
    about = event(amount="7", to=None, list=[1, 2], deep={"er": "x"}, words="seven", zero="0", **{"odd name": 1})
    assert asks(text, about) is answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('type == "note"', True),
        ('id == "evt_1"', True),
        ('chain == "ethereum"', True),
        ("chain == null", False),
        ("removed", False),
        ("retracts == null", True),
        ('timestamp == "2025-06-24T07:00:00.000Z"', True),
        ('timestamp >= "2025-06-24"', True),
        ('timestamp < timestamp("2025-06-24T09:00:00.001+02:00")', True),
        ("timestamp == timestamp(1750748400)", True),
        ('observed_at - timestamp == duration("1.312s")', True),
        ('observed_at - timestamp > duration("1s312ms")', False),
        ('timestamp + duration("1h") > observed_at', True),
        ("observed_at > timestamp", True),
        ("data.at < timestamp", True),
        ('timestamp(data.at) < timestamp("2025-06-24T07:00:00Z")', True),
        ('timestamp(data.to) < timestamp("2025-06-24T07:00:00Z")', False),
    ],
)
def test_the_envelope_can_be_asked_about(text, answer):
    assert asks(text, event(at="2025-06-24T06:59:59.999Z", to=VITALIK)) is answer


def test_a_retraction_says_so():
    about = msgspec.structs.replace(event(), removed=True, retracts="evt_0")
    assert asks('removed && retracts == "evt_0"', about)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f'data.to == "{VITALIK}"', True),
        (f'data.to == "{VITALIK.lower()}"', True),
        (f'data.to == "0X{VITALIK[2:].upper()}"', True),
        (f'data.to != "{VITALIK.lower()}"', False),
        (f'data.to in ["0x{"0" * 40}", "{VITALIK.lower()}"]', True),
        (f'"{VITALIK.lower()}" in data.all', True),
        (f'data.to.startsWith("{VITALIK[:10].lower()}")', False),
        (f'data.to.lowerAscii().startsWith("{VITALIK[:10].lower()}")', True),
        ('data.token == "usdc"', False),
        ('data.token == "USDC"', True),
        ('data.hash == "0xAB"', False),
        ("data.to == data.all[0]", True),
    ],
)
def test_addresses_are_equal_in_any_case_and_nothing_else_is(text, answer):
    about = event(to=VITALIK, token="USDC", hash="0xab", all=[VITALIK.upper().replace("X", "x"), 1])
    assert asks(text, about) is answer


def test_lists_are_asked_item_by_item():
    causes = [
        Cause(kind="value", amount=str(-2 * ETH), tx_hash=None),
        Cause(kind="gas", amount="-21000000000000", tx_hash=None),
    ]
    about = balance(causes=causes)
    for text, answer in (
        ('data.causes.exists(c, c.kind == "gas")', True),
        ('data.causes.exists(c, c.kind == "gas" && c.amount < -1e18)', False),
        ("data.causes.exists(c, c.amount < -1e18)", True),
        ("data.causes.all(c, c.amount < 0)", True),
        ("data.causes.all(c, c.amount > 0)", False),
        ("data.causes.exists_one(c, c.amount == -2e18)", True),
        ("data.causes.exists_one(c, c.amount < 0)", False),
        ('size(data.causes) == 2 && data.causes[1].kind == "gas"', True),
        ("data.causes.exists(c, data.causes.all(d, d.amount <= c.amount))", True),
        ("data.causes.exists(data, data.amount == data.amount)", True),  # the inner name hides the outer one
        ("data.causes.exists(c, c.nothing == 1 || c.amount == -2e18)", True),
    ):
        assert asks(text, about) is answer, text
    assert not asks("data.causes.exists(c, true)", balance(causes=[]))
    assert asks("data.causes.all(c, false)", balance(causes=[]))


@pytest.mark.parametrize(
    ("text", "value", "answer"),
    [
        ("data.x == 0.1", 0.1, True),
        ("data.x * 3 == 0.3", 0.1, True),
        ("data.x == 1e18", 1e18, True),
        ("data.x == 1", 1.0, True),
        ("data.x < 1e-300", 5e-324, True),
        (f"data.x == {2**70}", 2**70, True),
        ("data.x == 1", True, False),
        ("data.x == true", 1, False),
        ("data.x == 1", "1.0", True),
        ("data.x == 1", "01", True),
        ("data.x == 1", " 1", False),
        ("data.x == 1", "+1", False),
        ("data.x == 1000", "1_000", False),
        ("data.x == 1", "١", False),
        ("data.x == 1000", "1e3", False),
        ("data.x > 0", "9" * 128, True),
        ("data.x > 0", "9" * 129, False),
        ("data.x > 0", "9" * 60_000, False),
        ("data.x > 1e308", 10**700, True),
        ("data.x > 0", "Infinity", False),
        ("data.x == '\\u202e'", "\u202e", True),
        ("data.x == data.x", [1, [2, {"a": None}]], True),
        ("data.x == [1.0, '2']", ["1", "2"], True),
        ("data.x == [1, 2]", [1], False),
        ("'a' in data.x", {"a": 1}, True),
        ("data.x.exists(k, k == 'a')", {"a": 1}, True),
    ],
)
def test_what_strangers_send_is_only_data(text, value, answer):
    assert asks(text, event(x=value)) is answer


@given(st.integers(-(2**260), 2**260), st.integers(-(2**260), 2**260))
def test_whole_numbers_are_those_of_mathematics(a, b):
    about = View(event(a=str(a), b=b))
    for operator, holds in (("<", a < b), ("<=", a <= b), ("==", a == b), (">=", a >= b), (">", a > b)):
        assert about.answer(compile_where(f"data.a {operator} data.b")) is holds
    assert about.answer(compile_where(f"data.a + data.b == {a + b} && data.a * data.b == {a * b}"))
    assert about.answer(compile_where(f"data.a - data.b == {a - b}"))
    if b:
        assert about.answer(compile_where("data.a / data.b * data.b + data.a % data.b == data.a"))
        assert about.answer(compile_where("double(data.a) / data.b * data.b == data.a"))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=18), st.decimals(-9, 9, places=9))
def test_decimal_numbers_are_those_of_mathematics(a, b):
    about = View(told("price_update", price=f"{a:f}", previous_price=f"{b:f}"))
    assert about.answer(compile_where("data.price > data.previous_price")) is (a > b)
    assert about.answer(compile_where(f"data.price <= {b:f}")) is (a <= b)
    assert about.answer(compile_where("data.price - data.previous_price + data.previous_price == data.price"))


def test_the_examples_of_the_manual_are_expressions_and_say_what_they_seem_to():
    section = re.search(r"^\.Sh EXPRESSIONS\n.*?^\.Bd .*?\n(.*?)^\.Ed", MANUAL, re.MULTILINE | re.DOTALL)[1]
    amount, price, gas, permit, late = section.splitlines()
    assert asks(amount, told("transaction_confirmed", amount=str(ETH), token="ETH"))
    assert not asks(amount, told("transaction_confirmed", amount=str(ETH), token="USDC"))
    assert asks(price, told("price_update", price="3000.4999"))
    assert asks(gas, balance(causes=[Cause(kind="gas", amount=str(-(10**16) - 1), tx_hash=None)]))
    assert not asks(gas, balance(causes=[Cause(kind="gas", amount=str(-(10**16)), tx_hash=None)]))
    assert asks(permit, told("token_approval", unlimited=True, spender=VITALIK))
    permit2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
    assert not asks(permit, told("token_approval", unlimited=True, spender=permit2.lower()))
    assert asks(late, msgspec.structs.replace(event(), observed_at="2025-06-24T07:00:30.001Z"))
    assert not asks(late, msgspec.structs.replace(event(), observed_at="2025-06-24T07:00:30.000Z"))


# --- one text for equal questions, and what is shared ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data.amount>1e18", " ( data.amount  >  1000000000000000000.0 ) // ether"),
        ("data.token == 'USDC'", 'data.token == "\\u0055SDC"'),
        ("data.from == data.to", 'data["from"] == data["to"]'),
        ("data.a == 1 && data.b == 2 && data.c == 3", "((data.a == 1 && data.b == 2) && data.c == 3)"),
        ("!(data.a == 1)", "! ((data.a == (1)))"),
        ("data.a in ['x', 'y']", 'data.a in ["x","y",]'),
        ("data.a == 0x10", "data.a == 16u"),
        ("data.a < -5", "data.a < - (5)"),
        ("data.a < -5", "data.a < ---5"),
        ("data.a < 5.0", "data.a < -(-5.0)"),
    ],
)
def test_ways_to_write_the_same_are_equal(one, other):
    a, b = compile_where(one), compile_where(other)
    assert (a, hash(a), a.text) == (b, hash(b), b.text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data.a == 1", "data.a == 2"),
        ("data.a / 2 == 1", "data.a / 2.0 == 1"),
        ("data.a == '1'", "data.a == 1"),
        ("data.a - (data.b - 1) == 0", "data.a - data.b - 1 == 0"),
        ("(data.a || data.b) && data.c", "data.a || data.b && data.c"),
        ("(data.a ? data.b : data.c) ? data.d : data.e", "data.a ? data.b : (data.c ? data.d : data.e)"),
        ("-(data.a) == 1", "-data.a.b == 1"),
    ],
)
def test_what_differs_in_meaning_is_not_equal(one, other):
    assert compile_where(one) != compile_where(other)


def test_a_view_is_made_once_and_asks_each_question_once(monkeypatch):
    decided: list[str] = []
    decide = Where.decide
    monkeypatch.setattr(Where, "decide", lambda self, *given: decided.append(self.text) or decide(self, *given))
    view = View(told("price_update", price="5"))
    same = [compile_where("data.price>4"), compile_where("data.price > 4"), compile_where("(data.price > 4)")]
    assert all(view.answer(where) for where in same)
    assert decided == ["data.price > 4"]
    first = view.environment
    assert view.environment is first
    assert view.steps == same[0].size


def test_two_expressions_are_joined_without_a_change_of_what_they_mean():
    one, other = compile_where("data.a == 1 || data.b == 2"), compile_where("data.c == 3 && data.d == 4")
    joined = both(one, other)
    assert joined.text == "(data.a == 1 || data.b == 2) && data.c == 3 && data.d == 4"
    assert joined == compile_where(joined.text)
    assert both(one, one) is one
    assert View(event(a=1, c=3, d=4)).answer(joined)
    assert not View(event(a=1, c=3, d=5)).answer(joined)


@given(st.text())
def test_any_text_can_be_quoted(text):
    about = event(x=text)
    where = compile_where(f"data.x == {quoted(text)}")
    assert View(about).answer(where)
    assert printable(where.text, 1000) == where.text


def test_a_field_that_stands_for_a_number_does_so_in_every_type():
    """The meaning of an expression does not hang on the types that are asked for: only what is refused does."""
    roles: dict[str, set[str]] = {}
    for kind in PAYLOADS:
        for name, shape in data_of(frozenset({kind})).fields.items():
            roles.setdefault(name, set()).add(shape.role)
    assert {name: found for name, found in roles.items() if len(found) > 1} == {}
    assert {name for name, found in roles.items() if found == {"decimal"}} == {
        "price", "previous_price", "change_percent",
    }  # fmt: skip
    assert roles["amount"] == roles["delta"] == roles["fee"] == {"whole"}
