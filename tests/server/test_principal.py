"""What a key that is limited finds out by asking: its own scope, and nothing of what else there is."""

from __future__ import annotations

import json

import pytest
from server.house import ALICE, BOB, USDC
from server.test_access import holding, key

from chainwatch.filter import Vocabulary
from chainwatch.keys import Keyring

SECRETS = ("hidden_chain", "HIDDEN", "hidden_type", "hidden_wallet", "0x" + "dd" * 20)
WORDS = Vocabulary(
    chains=("ethereum", "hidden_chain"),
    tokens={"USDC": (("ethereum", USDC),), "HIDDEN": (("hidden_chain", SECRETS[4]),)},
    wallets={"hidden_wallet": (BOB, ("hidden_chain",))},
    custom=frozenset({"hidden_type", "note"}),
)
LIMITED = {"chains": ("ethereum",), "types": ("transaction", "custom:note", "custom:later"), "addresses": (ALICE,)}
GUESSES = {
    "chains": ["chains=hidden_chan", "chains=x", "token=HIDDN", "token=x", "types=hidden_typ", "types=x"],
    "types": ["types=hidden_typ", "types=x", "filters=x"],
    "addresses": ["types=hidden_typ", "types=x", "token=x", "token=HIDDN"],
}
TRIED = [(limit, guess) for limit, guesses in GUESSES.items() for guess in guesses]


@pytest.fixture
async def house(serve):
    keys = [key(limit, can="read,send", **{limit: words}) for limit, words in LIMITED.items()]
    return await serve(ring=Keyring(keys), vocabulary=lambda: WORDS)


@pytest.mark.parametrize(("limit", "guess"), TRIED)
async def test_an_error_lists_nothing_beyond_the_scope(house, limit, guess):
    parameter, value = guess.split("=")
    headers = holding(key(limit))
    answers = [await house.ask(f"{path}?{guess}", headers) for path in ("/events", "/events/history")]
    if parameter != "chains":
        answers.append(await house.ask(f"/v1/chain/ethereum?{guess}", headers))
    content = json.dumps({parameter: value})
    more = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    answers.append(await house.ask("/agents/mine", {**headers, **more}, method="PUT", after=content.encode()))
    for answer in answers:
        assert answer.status in (400, 403)
        told = (await answer.body()).decode().replace(value, "…")
        assert not [secret for secret in SECRETS if secret in told], told


@pytest.mark.parametrize(
    ("limit", "there", "not_there"),
    [
        ("chains", "chains=hidden_chain", "chains=no_chain"),
        ("chains", "token=HIDDEN", "token=NOTHING"),
        ("chains", "types=hidden_type", "types=hidden_kind"),
        ("types", "types=hidden_type", "types=hidden_kind"),
        ("types", "types=custom:hidden_type", "types=custom:no_type"),
    ],
)
async def test_what_is_beyond_the_scope_is_answered_as_what_is_not_there(house, limit, there, not_there):
    told = []
    for guess in (there, not_there):
        answer = await house.ask(f"/events?{guess}", holding(key(limit)))
        assert answer.status in (400, 403)
        word = guess.rpartition("=")[2].removeprefix("custom:")
        told.append((answer.status, (await answer.body()).decode().replace(word, "…")))
    assert told[0] == told[1]


async def test_what_a_limited_key_may_see_it_may_name(house):
    for limit, query in (
        ("chains", "chains=ethereum&token=usdc&types=block"),
        ("types", "types=later"),
        ("types", "types=note&chains=hidden_chain&token=HIDDEN"),
        ("addresses", "types=note&chains=hidden_chain&token=USDC"),
    ):
        assert (await house.ask(f"/events?{query}", holding(key(limit)))).status == 200


async def test_more_than_the_scope_is_403_with_what_there_is(house):
    answer = await house.ask("/events?chains=hidden_chain", holding(key("chains")))
    problem = await answer.json()
    assert (answer.status, problem["parameter"], problem["value"]) == (403, "chains", "hidden_chain")
    assert "ethereum" in problem["hint"]
