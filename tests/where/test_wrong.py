"""What is wrong with an expression is said with its place, and the nearest thing that is right."""

from __future__ import annotations

import pytest

from chainwatch.errors import UsageError
from chainwatch.payloads import PAYLOADS
from chainwatch.where import compile_where
from chainwatch.where.errors import pointer

TRANSFER = frozenset({"token_transfer"})
ANY: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("text", "types", "column", "said", "nearest"),
    [
        # words
        ("", ANY, 1, "is empty", ""),
        ("data.amount >", ANY, 14, "ends here", ""),
        ("data.amount = 5", ANY, 13, "'=' means nothing", "=="),
        ("data.a & data.b", ANY, 8, "'&' means nothing", "&&"),
        ("data.a and data.b", ANY, 8, "not and", "&&"),
        ("not data.a", ANY, 5, "not data", ""),
        ("data.a == “x”", ANY, 11, "means nothing", '"'),
        ("data.a == 'x", ANY, 11, "has no end", ""),
        ("data.a == 'x\ny'", ANY, 11, "has no end", ""),
        (r"data.a == 'x\q'", ANY, 13, "no escape", ""),
        (r"data.a == '\ud800'", ANY, 12, "no character", ""),
        ("data.a == b'x'", ANY, 11, "bytes", ""),
        ("data.a == 5abc", ANY, 11, "'5abc' is no number", ""),
        ("data.a == 5.", ANY, 13, "name of a field", ""),
        ("data.a == 1.5u", ANY, 11, "u stands behind", ""),
        ("data.a == 1e999999999", ANY, 11, "bits", ""),
        ("data.a == 1e700", ANY, 11, "bits", ""),
        ("data.a == 0x" + "f" * 600, ANY, 11, "bits", ""),
        ("(data.a == 5", ANY, 13, "the parenthesis of column 1", ""),
        ("data.a == 5)", ANY, 12, "expected an operator", ""),
        ("data.a == {}", ANY, 11, "maps are not offered", ""),
        ("data.a in ['x' 'y']", ANY, 16, "expected ','", ""),
        ("data.a ? 5", ANY, 11, "expected ':'", ""),
        ("data.in == 5", ANY, 6, "name of a field", ""),
        ("while == 5", ANY, 1, "word of the language", ""),
        ("data.a == \ud800", ANY, 11, "means nothing", ""),
        # names
        ("amount > 5", ANY, 1, "unknown name 'amount'", "data.amount"),
        ("tpye == 'x'", ANY, 1, "unknown name 'tpye'", "type"),
        ("data.causes.exists(c, q.kind == 'gas')", ANY, 23, "unknown name 'q'", ""),
        ("siez(data.a) == 1", ANY, 1, "unknown function 'siez'", "size"),
        ("data.a.startswith('x')", ANY, 8, "unknown function", "startsWith"),
        ("data.a.matches('(a+)+$')", ANY, 8, "matches is not offered", ""),
        ("data.a.map(x, x)", ANY, 12, "unknown name 'x'", ""),
        ("data.a.size(1)", ANY, 8, "is written", ""),
        ("startsWith(data.a, 'x')", ANY, 1, "is written text.startsWith", ""),
        ("has(data)", ANY, 1, "one field", ""),
        ("data.causes.exists(5, true)", ANY, 20, "takes a name", ""),
        ("data.amuont > 5", TRANSFER, 6, "unknown field 'amuont'", "amount"),
        ("has(data.amuont)", TRANSFER, 10, "unknown field 'amuont'", "amount"),
        ("data['amuont'] > 5", TRANSFER, 6, "unknown field 'amuont'", "amount"),
        ("data.price > 5", TRANSFER, 6, "unknown field 'price'", ""),
        ("data.old_blocks.exists(b, b.number == 5)", frozenset({"chain_reorg"}), 29, "'number' of b", "block_number"),
        ("data.common_ancestor.hash == '0x'", frozenset({"chain_reorg"}), 22, "'hash'", "block_hash"),
        ('type == "price_update" && data.prise > 5', ANY, 32, "unknown field 'prise'", "price"),
        ('type in ["block_new", "price_update"] && data.prise > 5', ANY, 47, "unknown field 'prise'", "price"),
        # kinds
        ("data.amount", TRANSFER, 6, "not a question", ""),
        ("5", ANY, 1, "5 is a number, and not a question", ""),
        ("data.amount > '5'", ANY, 15, "compared with the text", "5"),
        ("data.amount > 'much'", ANY, 15, "compared with the text", ""),
        ("data.token > 5", TRANSFER, 12, "neither is less", ""),
        ("data.token == 5", TRANSFER, 12, "never equal", ""),
        ("data.amount && true", TRANSFER, 6, "&& needs what is true or false", ""),
        ("!data.amount", TRANSFER, 7, "! needs", ""),
        ("data.amount ? true : false", TRANSFER, 6, "? needs", ""),
        ("1 + 'a' == data.x", ANY, 3, "there is no +", ""),
        ("data.amount + 'a' == 'b'", ANY, 13, "there is no +", ""),
        ("data.amount / 0 == 1", ANY, 13, "division by zero", ""),
        ("data.amount % 0.0 == 1", ANY, 13, "division by zero", ""),
        ("-'a' == 1", ANY, 1, "no number", ""),
        ("1 < 2 < 3", ANY, 7, "neither is less", ""),
        ("removed == 1", ANY, 9, "never equal", ""),
        ("data.amount in 5", ANY, 13, "and no list", ""),
        ("data.token in ['USDC', 5]", TRANSFER, 24, "never equal", ""),
        ("data.token.exists(x, true)", TRANSFER, 12, "and no list", ""),
        ("data.causes.exists(c, c.amount)", frozenset({"balance_changed"}), 25, "exists needs", ""),
        ("data.token.name == 'x'", TRANSFER, 12, "has no fields", ""),
        ("size(5) == 1", ANY, 6, "does not take a number", ""),
        ("int('a') == 1", ANY, 5, "does not take text", ""),
        ("timestamp('yesterday') < timestamp", ANY, 11, "no time", ""),
        ("duration('1 hour') == duration('1h')", ANY, 10, "no duration", ""),
        ("timestamp + timestamp == timestamp", ANY, 11, "there is no +", ""),
        ("data.standard == 'erc21'", TRANSFER, 18, 'never "erc21"', "erc721"),
        ("data.standard in ['erc20', 'nft']", TRANSFER, 28, 'never "nft"', ""),
        ("data.causes.exists(c, c.kind == 'gaz')", frozenset({"balance_changed"}), 33, 'never "gaz"', "gas"),
    ],
)
def test_the_column_and_the_nearest_are_named(text, types, column, said, nearest):
    with pytest.raises(UsageError) as caught:
        compile_where(text, types)
    error = caught.value
    assert error.what.startswith(f"where, column {column}: ")
    assert said in error.what
    assert (error.parameter, error.value, error.nearest) == ("where", text, nearest)
    *_, shown, caret = error.hint.split("\n")
    assert caret.strip() == "^"
    assert not text or caret.index("^") <= len(shown)
    if text.isascii() and text.isprintable() and 0 < column <= len(text) <= 72:
        assert shown[caret.index("^")] == text[column - 1]


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("data.amuont > 5", ANY),  # a custom event may have it
        ("data.amuont > 5", frozenset({"token_transfer", "deploy"})),
        ("data.price > 5", TRANSFER | {"price_update"}),
        ('type == "deploy" && data.amuont > 5', ANY),
        ('type == "price_update" || data.prise > 5', ANY),
        ("data.amount == '5'", TRANSFER),
        ("data.token == null", TRANSFER),
        ("data.token > 'A'", TRANSFER),
        ("data.standard == 'erc721'", TRANSFER),
        ("dyn(data.token) == 5", TRANSFER),
        ("data.block_number > 5 && data.log_index in [1, 2]", TRANSFER),
    ],
)
def test_what_could_be_true_is_taken(text, types):
    assert compile_where(text, types).text


@pytest.mark.parametrize("kind", PAYLOADS)
def test_every_field_of_the_catalogue_is_known(kind):
    payload = PAYLOADS[kind]
    for name in payload.__struct_encode_fields__:
        assert compile_where(f"has(data.{name}) || data.{name} == null", frozenset({kind}))


def test_a_caret_stands_below_its_character_in_a_long_expression_too():
    text = "data.number == 1 || " * 20 + "data.token = 5"
    place = text.index("= 5")
    shown, caret = pointer(text, place).split("\n")
    assert shown[caret.index("^")] == "="
    assert len(shown) < 80
    assert shown.startswith("  …")


def test_what_cannot_be_shown_is_written_out_and_moves_no_caret():
    text = "data.a == '\u202e\x1b' = 5"
    shown, caret = pointer(text, text.rindex("=")).split("\n")
    assert shown.isprintable()
    assert "\\u202e\\u001b" in shown
    assert shown[caret.index("^")] == "="
