"""What a configuration that was read again changes: what is exchanged, what needs a restart, and how it is said."""

from __future__ import annotations

from typing import Any

import pytest
from anvil import ACCOUNTS

from chainwatch.config import Settings
from chainwatch.reload import SERVER, compare

ALICE, BOB, CAROL = ACCOUNTS[1:4]
COIN = "0x00000000000000000000000000000000000000c0"
FEED = "0x00000000000000000000000000000000000000fe"

BEFORE: dict[str, Any] = {
    "log": {"path": "/tmp/events.db"},
    "chains": [
        {"name": "one", "chain_id": 1, "endpoints": ["wss://one.example"]},
        {"name": "two", "chain_id": 2, "endpoints": ["wss://two.example"]},
    ],
    "wallets": [
        {"name": "alice", "address": ALICE, "chains": ["one"]},
        {"name": "bob", "address": BOB},
    ],
    "tokens": [{"chain": "one", "symbol": "COIN", "address": COIN, "decimals": 6}],
    "prices": [
        {"symbol": "ETH", "source": "chainlink", "chain": "one", "feed": FEED},
        {"symbol": "ETH", "source": "coingecko", "id": "ethereum", "api_key_file": "/keys/gecko"},
    ],
}


def settings(**tables: Any) -> Settings:
    return Settings.model_validate(BEFORE | tables)


def with_(table: str, index: int, /, **more: Any) -> dict[str, Any]:
    """Those tables, with one of them changed."""
    given = [dict(one) for one in BEFORE[table]]
    given[index] |= more
    return {table: given}


CHANGES: list[tuple[dict[str, Any], dict[str, list[str]], list[str], bool]] = [
    # tables, what is said, the chains that are exchanged, whether the prices over HTTP are
    ({}, {}, [], False),
    ({"wallets": BEFORE["wallets"][::-1], "tokens": [dict(BEFORE["tokens"][0])]}, {}, [], False),
    ({"wallets": BEFORE["wallets"][:1]}, {"removed": ["wallet bob"]}, ["one", "two"], False),
    (
        {"wallets": [*BEFORE["wallets"], {"name": "carol", "address": CAROL, "chains": ["two"]}]},
        {"added": ["wallet carol"]}, ["two"], False,
    ),
    (with_("wallets", 0, name="alicia"), {"changed": ["wallet alicia"]}, ["one"], False),
    (with_("wallets", 0, address=CAROL), {"changed": ["wallet alice"]}, ["one"], False),
    (with_("wallets", 0, chains=["two"]), {"changed": ["wallet alice"]}, ["one", "two"], False),
    (
        with_("wallets", 0, name="carol", address=CAROL),
        {"added": ["wallet carol"], "removed": ["wallet alice"]}, ["one"], False,
    ),
    ({"tokens": []}, {"removed": ["token COIN of one"]}, ["one"], False),
    (with_("tokens", 0, symbol="GOLD"), {"changed": ["token GOLD of one"]}, ["one"], False),
    (with_("tokens", 0, chain="two"), {"added": ["token COIN of two"], "removed": ["token COIN of one"]},
     ["one", "two"], False),
    ({"prices": BEFORE["prices"][:1]}, {"removed": ["price ETH/USD by coingecko"]}, [], True),
    (with_("prices", 1, interval=5), {"changed": ["price ETH/USD by coingecko"]}, [], True),
    ({"prices": BEFORE["prices"][1:]}, {"removed": ["price ETH/USD by chainlink of one"]}, ["one"], False),
    # Each round is told unless it is set, so the default is another thing when it is written down.
    (with_("prices", 0, min_change="0.1%"), {"changed": ["price ETH/USD by chainlink of one"]}, ["one"], False),
    (with_("chains", 1, confirmations=[1, 12]), {"changed": ["chain two"]}, ["two"], False),
    (with_("chains", 1, endpoints=["wss://else.example"]), {"changed": ["chain two"]}, ["two"], False),
    (with_("chains", 1, endpoints_file="/where/it/is"), {}, [], False),
    ({"server": {"heartbeat": "5s", "max_connections": 7}},
     {"changed": ["server heartbeat", "server max_connections"]}, [], False),
]  # fmt: skip


@pytest.mark.parametrize(("tables", "said", "exchanged", "quotes"), CHANGES)
def test_what_changes_is_named_and_only_the_chains_that_tell_something_else_are_exchanged(
    tables, said, exchanged, quotes
):
    plan = compare(settings(), settings(**tables))
    assert (plan.summary(), [chain.name for chain in plan.replaced], plan.quotes) == (said, exchanged, quotes)
    assert (plan.added, plan.removed, plan.restart) == ((), (), ())
    assert plan.empty == (not said)
    assert plan.settings == settings(**tables)
    back = compare(plan.settings, settings())
    assert [chain.name for chain in back.replaced] == exchanged, "and all the way back"


def test_a_whole_chain_comes_and_goes_with_what_is_watched_on_it():
    alone = settings(chains=BEFORE["chains"][:1])
    plan = compare(alone, settings())
    assert ([chain.name for chain in plan.added], plan.removed, plan.replaced) == (["two"], (), ())
    assert plan.summary() == {"added": ["chain two"]}
    plan = compare(settings(), alone)
    assert (plan.added, plan.removed, plan.replaced) == ((), ("two",), ())
    assert plan.summary() == {"removed": ["chain two"]}


@pytest.mark.parametrize(
    ("tables", "keys"),
    [
        ({"server": {"port": 9000}}, ["server.port"]),
        ({"server": {"host": "::1", "keys_file": "/keys"}}, ["server.host", "server.keys_file"]),
        ({"log": {"path": "/tmp/other.db", "ttl": "1d"}}, ["log.path", "log.ttl"]),
        (
            with_("chains", 0, chain_id=5, endpoints=["wss://five.example"]),
            ["chains.one.chain_id", "chains.one.endpoints"],
        ),
    ],
)
def test_what_cannot_change_needs_a_restart_and_stays_as_it_is(tables, keys):
    plan = compare(settings(), settings(**tables))
    assert [waiting.key for waiting in plan.restart] == keys
    assert plan.summary() == {"needs_restart": keys}
    assert (plan.settings, plan.replaced, plan.empty) == (settings(), (), False)


def test_every_key_of_the_server_applies_at_once_or_needs_a_restart_and_somebody_decided_which():
    assert set(type(settings().server).model_fields) - SERVER == {"host", "port", "keys_file"}
    assert set(type(settings().server).model_fields) >= SERVER


def test_another_key_in_the_same_file_is_a_change_that_shows_no_key():
    keys = {"/keys/gecko": "old-and-secret"}, {"/keys/gecko": "new-and-secret"}
    plan = compare(settings(), settings(), api_keys=keys)
    assert (plan.quotes, plan.replaced) == (True, ())
    assert [(change.name, change.keys) for change in plan.changes] == [("ETH/USD by coingecko", ("api_key",))]
    assert "secret" not in repr(plan)
    assert compare(settings(), settings(), api_keys=(keys[0], keys[0])).empty


def test_a_chain_that_could_not_be_taken_up_is_tried_again():
    plan = compare(settings(), settings(), stale={"two"}, stale_quotes=True)
    assert ([chain.name for chain in plan.replaced], plan.quotes, plan.empty) == (["two"], True, False)
