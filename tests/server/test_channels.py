"""`GET /v1/{channel}/{resource}`: the stream of one wallet, token, chain, type, price."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

import pytest
from server.house import ALICE, BOB, USDC, block, transfer
from server.test_access import holding, key

from chainwatch.errors import UsageError
from chainwatch.event import Event, interest
from chainwatch.filter import Vocabulary
from chainwatch.keys import Key, Keyring
from chainwatch.server import channels
from chainwatch.server.parameters import Asked
from chainwatch.server.principal import Principal
from chainwatch.server.problem import Problem
from chainwatch.where import View

CAROL = "0x" + "ca" * 20
NOW = "2025-06-24T07:00:00.000Z"
WORDS = Vocabulary(
    chains=("ethereum", "base"),
    tokens={
        "USDC": (("ethereum", USDC),),
        "ETH": (("ethereum", "native"), ("base", "native")),
        "AERO": (("base", CAROL),),
    },
    wallets={"Treasury": (BOB, ("ethereum",)), "hot": (ALICE, ()), "carol": (CAROL, ("base",))},
    prices=(("ETH", "USD", "ethereum"), ("ETH", "EUR", None), ('a"b', "USD", None), ("BTC", "USD", None)),
    custom=frozenset({"note"}),
)


def price(number: int, symbol: str, quote: str = "USD", chain: str | None = None) -> Event:
    data = {"symbol": symbol, "quote": quote, "price": "1", "number": number}
    return Event(id=f"evt_p{number}", type="price_update", timestamp=NOW, observed_at=NOW, chain=chain, data=data)


def note(number: int) -> Event:
    return Event(id=f"evt_n{number}", type="note", timestamp=NOW, observed_at=NOW, chain=None, data={"number": number})


EVENTS = (
    block(1),
    block(2, chain="base"),
    transfer(3),  # Alice to Bob, USDC
    transfer(4, chain="base"),
    transfer(5, to=CAROL),
    price(6, "ETH", chain="ethereum"),
    price(7, "ETH", "EUR"),
    price(8, "BTC"),
    price(9, 'a"b'),
    note(10),
)


def parsed(path: str, holder: Key | None = None, words: Vocabulary = WORDS) -> Asked:
    target, _, query = path.partition("?")
    channel, resource = (unquote(part) for part in target.split("/"))
    return channels.parse(channel, resource, parse_qsl(query), words, Principal(holder))


def numbers(path: str, holder: Key | None = None) -> list[int]:
    """What the channel holds of the events that there are."""
    wanted = parsed(path, holder).wanted
    return [event.data["number"] for event in EVENTS if wanted.matches(interest(event), View(event))]


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        (f"wallet/{BOB}", [3, 4]),
        (f"wallet/{CAROL.upper().replace('X', 'x')}", [5]),
        ("wallet/Treasury", [3]),
        ("wallet/TREASURY", [3]),
        ("wallet/hot", [3, 4, 5]),
        ("wallet/carol", []),
        ("token/USDC", [3, 5]),
        ("token/usdc", [3, 5]),
        (f"token/{USDC}", [3, 4, 5]),
        ("token/AERO", []),
        ("chain/ethereum", [1, 3, 5, 6]),
        ("chain/base", [2, 4]),
        ("type/block_new", [1, 2]),
        ("type/blocks", [1, 2]),
        ("type/token", [3, 4, 5]),
        ("type/note", [10]),
        ("type/custom:note", [10]),
        ("price/ETH", [6, 7]),
        ("price/eth-usd", [6]),
        ("price/ETH%2FEUR", [7]),
        ("price/btc", [8]),
        ("price/a%22b", [9]),
    ],
)
def test_a_channel_holds_what_it_is_about(path, seen):
    assert numbers(path) == seen


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        (f"wallet/{BOB}?chains=base", [4]),
        (f"wallet/{BOB}?address={BOB},{CAROL}", [3, 4]),
        ("wallet/Treasury?chains=ethereum,base", [3]),
        (f"token/USDC?address={CAROL}", [5]),
        (f"token/{USDC}?token=USDC", [3, 5]),
        (f"token/USDC?token={USDC}", [3, 5]),
        ("chain/base?types=block", [2]),
        ("type/token?chains=base", [4]),
        ("type/token?types=token_transfer,block_new", [3, 4, 5]),
        ("price/ETH?chains=ethereum", [6]),
        ("price/ETH?where=data.quote%20%3D%3D%20%27EUR%27", [7]),
        ("chain/ethereum?where=data.number%20%25%202%20%3D%3D%201%20%7C%7C%20false", [1, 3, 5]),
    ],
)
def test_parameters_narrow_a_channel(path, seen):
    assert numbers(path) == seen


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        (f"wallet/{BOB}?address={CAROL}", "address"),
        ("wallet/Treasury?chains=base", "chains"),
        (f"token/USDC?token={CAROL}", "token"),
        ("token/USDC?token=ETH", "token"),
        ("chain/ethereum?chains=base", "chains"),
        ("type/block?types=token_transfer", "types"),
        ("price/ETH?types=block_new", "types"),
        ("wallet/hot?tokn=USDC", "tokn"),
        ("wallet/hot?where=data.", "where"),
    ],
)
def test_a_parameter_that_contradicts_the_channel_or_means_nothing_is_named(path, parameter):
    with pytest.raises(UsageError) as wrong:
        parsed(path)
    assert wrong.value.parameter == parameter


@pytest.mark.parametrize(
    ("channel", "nearest"), [("walet", "wallet"), ("Wallets", "wallet"), ("zzz", ""), ("stat", ""), ("\x1b", "")]
)
def test_an_unknown_channel_is_404_with_the_nearest(channel, nearest):
    with pytest.raises(Problem) as wrong:
        parsed(f"{channel}/x")
    assert (wrong.value.status, wrong.value.more["nearest"]) == (404, nearest)
    assert "wallet" in (wrong.value.more["hint"] or "")


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("wallet/Tresury", "Treasury"),
        ("wallet/0x12", None),
        ("token/USDT", "USDC"),
        ("token/0x12", None),
        ("chain/etherum", "ethereum"),
        ("type/block_nw", "block_new"),
        ("price/ETC", "ETH"),
        ("price/ETH-USX", "ETH-USD"),
        ("wallet/%0a", None),
    ],
)
def test_an_unknown_resource_is_named_with_the_nearest(path, nearest):
    with pytest.raises(UsageError) as wrong:
        parsed(path)
    assert (wrong.value.value, wrong.value.nearest) == (unquote(path.partition("/")[2]), nearest or "")


LIMITED = {
    "chains": ("base",),
    "types": ("block",),
    "addresses": (CAROL,),
}


@pytest.mark.parametrize(
    ("limit", "path", "seen"),
    [
        ("chains", f"wallet/{BOB}", [4]),
        ("chains", "wallet/hot", [4]),
        ("chains", "chain/base", [2, 4]),
        ("chains", "type/block", [2]),
        ("types", "chain/ethereum", [1]),
        ("types", "type/block_new", [1, 2]),
        ("addresses", f"wallet/{CAROL}", [5]),
        ("addresses", "wallet/carol", []),
        ("addresses", "token/USDC", [5]),
        ("addresses", "price/ETH", []),
    ],
)
def test_a_scope_narrows_a_channel(limit, path, seen):
    assert numbers(path, key("limited", **{limit: LIMITED[limit]})) == seen


@pytest.mark.parametrize(
    ("limit", "there", "not_there"),
    [
        ("chains", "chain/ethereum", "chain/nowhere"),
        ("chains", "wallet/Treasury", "wallet/nobody"),
        ("chains", "token/USDC", "token/NONE"),
        ("chains", "price/ETH", "price/NONE"),
        ("chains", "price/BTC", "price/XX-YY"),
        ("types", "type/token_transfer", "type/nothing"),
        ("types", "type/note", "type/nonote"),
        ("types", "price/ETH", "price/NONE"),
        ("addresses", "wallet/Treasury", "wallet/nobody"),
        ("addresses", f"wallet/{BOB}", "wallet/0x" + "99" * 20),
    ],
)
def test_a_key_does_not_learn_what_there_is_beyond_its_scope(limit, there, not_there):
    told = []
    for path in (there, not_there):
        with pytest.raises(Problem) as wrong:
            parsed(path, key("limited", **{limit: LIMITED[limit]}))
        resource = path.partition("/")[2]
        about = {name: (text or "").replace(resource, "?") for name, text in wrong.value.more.items()}
        told.append((wrong.value.status, wrong.value.detail.replace(resource, "?"), about))
    assert told[0] == told[1]
    assert told[0][0] == 403


def test_what_is_no_address_is_said_to_any_key():
    with pytest.raises(UsageError):
        parsed("wallet/0x12", key("limited", addresses=(CAROL,)))


# --- through the server -------------------------------------------------------------------------------------------


@pytest.fixture
async def house(serve):
    house = await serve(vocabulary=lambda: WORDS)
    await house.tell(*EVENTS)
    return house


async def test_a_channel_is_a_stream(house):
    for path, seen in ((f"wallet/{BOB}", [3, 4]), ("type/custom:note", [10]), ("price/ETH%2FEUR", [7])):
        answer = await house.stream(f"/v1/{path}?since=earliest")
        assert await answer.numbers(len(seen)) == seen


async def test_what_cannot_be_meant_is_a_problem(house):
    for path, status, nearest in (("walet/x", 404, "wallet"), ("chain/bas", 400, "base"), ("wallet/%0a", 400, None)):
        answer = await house.ask(f"/v1/{path}")
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
        assert (await answer.json()).get("nearest") == nearest


async def test_events_are_named_and_resume_as_everywhere(house):
    answer = await house.stream(f"/v1/wallet/{BOB}?since=earliest")
    first = await answer.next()
    assert (first.event, first.id) == ("token_transfer", f"{house.log.identity}-3")
    answer = await house.stream(f"/v1/wallet/{BOB}", {"Last-Event-ID": first.id})
    assert await answer.numbers(1) == [4]
    await house.tell(transfer(11), block(12))
    assert await answer.numbers(1) == [11]
    answer = await house.stream("/v1/chain/base?named=false&last=1")
    assert (await answer.next()).event == "message"


async def test_a_channel_takes_a_key_and_a_seat(serve):
    reader, sender = key("reader"), key("sender", can="send")
    house = await serve(ring=Keyring([reader, sender]))
    assert (await house.ask("/v1/chain/base")).status == 401
    assert (await house.ask("/v1/chain/base", holding(sender))).status == 403
    await house.stream("/v1/chain/base", holding(reader))
    assert house.context.gate.taken == 1
    assert (await house.ask("/v1/chain/base", holding(reader), method="HEAD")).status == 405
