"""The filter as it is typed: what it asks for, what could stand there, what is wrong with it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from chainwatch.errors import UsageError
from chainwatch.tui.words import Known, completed, offers, parameters

KNOWN = Known(
    chains=("base", "ethereum"), tokens=("USDC", "WETH"), addresses=("0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045",)
)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", {}),
        ("token_transfer swap", {"filters": ["token_transfer", "swap"]}),
        ("types=block_new chain=base chains=ethereum", {"types": ["block_new"], "chains": ["base", "ethereum"]}),
        ("price min_amount=5 token=USDC", {"filters": ["price"], "min_amount": "5", "token": ["USDC"]}),
        ('where=data.token == "A B" && !removed', {"where": 'data.token == "A B" && !removed'}),
        ("swap  where= data.price > 1", {"filters": ["swap"], "where": "data.price > 1"}),
    ],
)
def test_words_are_parameters_of_a_stream(text, asked):
    assert parameters(text) == asked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chians=base", "no parameter 'chians'\ndid you mean 'chains='?"),
        ("xyzzyx=1", "no parameter 'xyzzyx'\nthere is: types, filters, address, token, chains, min_amount, where"),
        ("token=", "token= needs a value"),
        ("min_amount=1 min_amount=2", "min_amount= is given twice"),
        ("where=", "where= needs an expression\nsuch as data.amount > 1e18"),
    ],
)
def test_what_no_daemon_could_take_is_said_at_once(text, said):
    with pytest.raises(UsageError) as error:
        parameters(text)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("text", "begun", "first"),
    [
        ("tok", "tok", ["token_transfer", "token_approval", "token_swap", "token", "token="]),
        ("price cha", "cha", ["chain_reorg", "chain_status", "chains="]),
        ("chains=", "", ["base", "ethereum"]),
        ("chains=base,e", "e", ["ethereum", "base"]),
        ("token=w", "w", ["WETH"]),
        ("address=0xD8", "0xD8", list(KNOWN.addresses)),
        ("where=data.bal", "data.bal", ["data.balance", "data.balances"]),
        ("where=data.amount > 1 && rem", "rem", ["removed"]),
        ("where=", "", []),
        ("min_amount=1", "1", []),
    ],
)
def test_what_could_stand_there_is_offered(text, begun, first):
    found, words = offers(text, KNOWN)
    assert (found, words[: len(first)]) == (begun, first)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("tok", "token_transfer "),
        ("price cha", "price chain_reorg "),
        ("chain_s", "chain_status "),
        ("min", "min_amount="),
        ("chains=b", "chains=base "),
        ("where=data.bal", "where=data.balance"),
    ],
)
def test_a_word_is_made_whole(text, whole):
    begun, words = offers(text, KNOWN)
    assert completed(text, begun, words[0]) == whole


@given(st.text(max_size=60))
def test_anything_can_be_typed(text):
    begun, words = offers(text, KNOWN)
    assert text.endswith(begun)
    with suppress(UsageError):
        parameters(text)
    assert all(completed(text, begun, word) for word in words)
