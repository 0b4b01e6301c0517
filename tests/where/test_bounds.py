"""Whatever is asked, of whatever event: an answer, or an error that names the place; and never much work."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from chainwatch.errors import UsageError
from chainwatch.event import Event
from chainwatch.examples import EXAMPLES
from chainwatch.payloads import PAYLOADS
from chainwatch.where import STEPS, View, Where, compile_where
from chainwatch.where.parser import LENGTH, NESTING, PARTS, parse
from chainwatch.where.syntax import written
from chainwatch.where.values import Meter, Undecided

json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["1", "-0.5", "2025-06-24T07:00:00.000Z", "0x" + "aB" * 20, str(2**256 - 1)]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=8,
)
fields = st.sampled_from(
    ["a", "b", "c", "amount", "delta", "causes", "token", "price", "old_blocks", "kind", "from", "updated_at"]
)
leaves = st.one_of(
    st.sampled_from(["type", "chain", "removed", "timestamp", "observed_at", "retracts", "data"]),
    fields.map(lambda name: f"data.{name}"),
    st.sampled_from(["1", "0", "-7", "1e18", "0.5", "1e-5", "5u", "0x1F", "true", "false", "null", "[]", "2e300"]),
    st.sampled_from(["'x'", '"USDC"', "'1'", f"'0x{'aB' * 20}'", r"r'\\'", "'\\u202e'", "duration('1h')"]),
    st.just("timestamp('2025-06-24T07:00:00Z')"),
)
OPERATORS = ["==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%", "&&", "||"]
FUNCTIONS = ["size", "int", "uint", "double", "string", "timestamp", "duration", "lowerAscii"]
METHODS = ["startsWith", "endsWith", "contains"]


def called(it: tuple[str, str]) -> str:
    return f"{it[1]}.lowerAscii()" if it[0] == "lowerAscii" else f"{it[0]}({it[1]})"


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    part = inner | inner.map(lambda it: f"dyn({it})")  # what is of any kind goes with everything
    some = st.tuples
    macro = st.sampled_from(["exists", "all", "exists_one"])
    return st.one_of(
        some(part, st.sampled_from(OPERATORS), part).map(lambda it: f"({' '.join(it)})"),
        some(st.sampled_from("!-"), part).map(lambda it: f"{it[0]}({it[1]})"),
        some(st.sampled_from(FUNCTIONS), part).map(called),
        some(part, fields).map(lambda it: f"has(dyn({it[0]}).{it[1]})"),
        some(part, st.sampled_from(METHODS), part).map(lambda it: f"{it[0]}.{it[1]}({it[2]})"),
        some(part, macro, part).map(lambda it: f"{it[0]}.{it[1]}(x, dyn({it[2]}))"),
        some(part, macro, fields, part).map(
            lambda it: f"dyn({it[0]}).{it[1]}(x, x.{it[2]} == {it[3]} || x == {it[3]})"
        ),
        some(part, part, part).map(lambda it: f"(dyn({it[0]}) ? {it[1]} : {it[2]})"),
        some(part, fields).map(lambda it: f"dyn({it[0]}).{it[1]}"),
        some(part, part).map(lambda it: f"dyn({it[0]})[{it[1]}]"),
        st.lists(part, max_size=3).map(lambda it: f"[{', '.join(it)}]"),
    )


grown_up = st.recursive(leaves, grown, max_leaves=8)
expressions = st.one_of(
    grown_up,
    grown_up.map(lambda it: f"dyn({it})"),
    st.tuples(grown_up, grown_up).map(lambda it: f"dyn({it[0]}) || !has(data.a) && dyn({it[1]}) == data.b"),
)
events = st.one_of(
    st.sampled_from([*EXAMPLES.values()]),
    st.dictionaries(fields, json, max_size=6).map(
        lambda data: Event(
            id="evt_1",
            type="note",
            timestamp="2025-06-24T07:00:00.000Z",
            observed_at="2025-06-24T07:00:01.000Z",
            chain=None,
            data=data,
        )
    ),
)


def compiled(text: str, types: frozenset[str]) -> Where | UsageError:
    try:
        return compile_where(text, types)
    except UsageError as error:
        return error


@settings(max_examples=300)
@given(expressions, events, st.sampled_from([frozenset(), frozenset({"token_transfer"}), frozenset(PAYLOADS)]))
def test_an_expression_is_refused_with_its_place_or_decided(text, about, types):
    where = compiled(text, types)
    if isinstance(where, UsageError):
        assert where.parameter == "where"
        assert where.what.startswith("where, column ")
        return
    meter = Meter(STEPS)
    with suppress(Undecided):  # nothing else: `decide` would hide it
        where.value(View(about).environment, meter)
    again = compile_where(where.text)
    assert again == where
    assert View(about).answer(again) is View(about).answer(where)


@given(st.text(max_size=40) | st.text(alphabet="ab.()[]'\"\\ 1e-+!&|?:<>=,{}ux/*%\n", max_size=40))
def test_any_text_is_an_expression_or_a_usage_error(text):
    with suppress(UsageError):
        assert written(parse(compile_where(text).text)) == compile_where(text).text


DEEP = "(" * 2000 + "true" + ")" * 2000


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        "!" * 4000 + "true",
        "-" * 4000 + "data.a == 1",
        "[" * 2000 + "]" * 2000 + " == 1",
        "data" + "[0]" * 1300 + " == 1",
        "data" + ".a" * 2000 + " == 1",
        "data" + ".a" * 100 + " == 1",
        "data.a" + " + 1" * 1000 + " == 1",
        "data.a" + " + 1" * 100 + " == 1",
        "true" + " ? true : true" * 280,
        "true" + " && true" * 500,
        "size(" * 800 + "data" + ")" * 800 + " == 1",
        "data.a.exists(x, " * 200 + "true" + ")" * 200,
        "1 in [" * 500 + "]" * 500,
        "true" + " " * LENGTH,
    ],
)
def test_what_is_too_large_or_too_deep_is_refused(text):
    with pytest.raises(UsageError):
        compile_where(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * (NESTING - 1) + "true" + ")" * (NESTING - 1),
        "true" + " && true" * (PARTS - 2),
        " || ".join(["data.a == 1"] * 32),
        "data.a" + " + 1" * 24 + " == 1",
        "data" + ".a" * 12 + " == 1",
        "data" + "[0]" * 12 + " == 1",
        "string(" * 12 + "data.a" + ")" * 12 + " == '1'",
        "true" + " ? true : true" * 24,
        "data.a in [" + ", ".join(map(str, range(32))) + "]",
        "data.a == " + "[" * 12 + "]" * 12,
    ],
)
def test_what_the_definition_of_the_language_asks_for_fits(text):
    assert compile_where(text).text


LONG = "a" * 30_000
STRANGER = Event(
    id="evt_1",
    type="note",
    timestamp="2025-06-24T07:00:00.000Z",
    observed_at="2025-06-24T07:00:00.000Z",
    chain=None,
    data={"many": [{"amount": "1"}] * 10_000, "text": LONG, "numbers": [0.1] * 10_000, "x": "2"},
)


@pytest.mark.parametrize(
    "text",
    [
        "data.many.all(c, c.amount == 1)",
        "data.many.exists(c, c.amount == 2)",
        "data.many.exists(c, c.nothing)",
        "data.many.exists(c, data.many.exists(d, d.amount == 2))",
        "data.many.exists_one(c, c.amount == 1) || true == false",
        "data.numbers.exists(c, c > 0.1)",
        "2 in data.numbers",
        "data.many == data.many",
        " || ".join(f'data.text.contains("{"a" * 90}b{number}")' for number in range(20)),
        " || ".join("data.text.lowerAscii() == data.x" for _ in range(20)),
        " || ".join("data.text + data.text == data.x" for _ in range(30)),
        " || ".join("timestamp(timestamp) > timestamp(observed_at)" for _ in range(36)),
    ],
)
def test_an_evaluation_takes_a_bounded_number_of_steps(text):
    where = compile_where(text)
    view = View(STRANGER)
    assert not view.answer(where)
    assert where.size <= 2 * PARTS
    assert view.steps <= where.size + STEPS


def test_work_beyond_the_bound_is_not_done(monkeypatch):
    """The steps that are counted are the items that are looked at."""
    looked = 0
    spend = Meter.spend

    def counted(meter: Meter, steps: int) -> None:
        nonlocal looked
        looked += 1
        spend(meter, steps)

    monkeypatch.setattr(Meter, "spend", counted)
    with pytest.raises(Undecided):
        compile_where("data.many.exists(c, c.amount == 2)").value(View(STRANGER).environment, Meter(STEPS))
    assert 100 < looked <= STEPS // 3
