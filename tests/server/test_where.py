"""`where=` on every channel: the same events live, in replay, in history, and in a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from urllib.parse import quote

import msgspec
import pytest
from server.house import BOB, block, transfer

from chainwatch.event import Event
from chainwatch.examples import EXAMPLES

MAX = 2**256 - 1
ETH = 10**18


def events() -> list[Event]:
    """Fresh ones are structs, and those of the house dicts; some have what is asked for and some have not."""
    amounts = [1, ETH - 1, ETH, ETH + 1, MAX]
    made = [transfer(number, amount=amount) for number, amount in enumerate(amounts, 1)]
    made += [block(6), transfer(7, to=BOB.upper().replace("X", "x")), *EXAMPLES.values()]
    hostile = {"token": '" || true || "', "amount": "1e18", "number": 8}
    return [*made, msgspec.structs.replace(block(8), id="evt_hostile", type="note", data=hostile)]


def number_of(data: dict) -> object:
    return data.get("number", "example")


QUESTIONS = [
    ("data.amount >= 1e18 && has(data.number)", [3, 4, 5]),
    (f"data.number > 0 && data.amount == {MAX}", [5]),
    ("data.amount > 1e18 && data.number != 5", [4]),
    ("!(data.amount > 1e18) && data.number > 0", [1, 2, 3, 7]),  # 6 has no amount, the amount of 8 is no number
    ("data.number == 6 || data.amount == 1000000000000000001", [4, 6]),
    (f'data.to == "{BOB}" && data.number > 4', [5, 7]),
    ('type == "note"', [8]),
    ('data.token == "x" || data.number == 8', [8]),
    ('type == "price_update" && data.price > 0', ["example"]),
    ("data.causes.exists(c, c.amount != 0) && data.delta != 0", ["example"]),
]


@pytest.mark.parametrize(("where", "numbers"), QUESTIONS)
async def test_live_replay_and_history_hold_the_same_events(house, where, numbers):
    query = f"where={quote(where)}"
    live = await house.stream(f"/events?{query}&limit={len(numbers)}")
    await house.tell(*events())
    replayed = await house.stream(f"/events?{query}&since=earliest&limit={len(numbers)}")
    newest = await house.stream(f"/events?{query}&last=1000&limit={len(numbers)}")
    told = []
    for answer in (live, replayed, newest):
        rest = await answer.rest()
        assert rest[-1].event == "complete"
        told.append([message.data for message in rest[:-1]])
    page = await (await house.ask(f"/events/history?{query}")).json()
    assert [number_of(event["data"]) for event in page["events"]] == numbers
    assert told[0] == told[1] == told[2]
    assert [json.loads(data) for data in told[0]] == page["events"]


@pytest.mark.parametrize(("memory", "more"), [(0, ["-n", "9"]), (2**24, ["--since", "earliest"]), (0, ["--no-follow"])])
async def test_tail_prints_the_same(serve, memory, more):
    """With and without the log's memory."""
    house = await serve(memory=memory)
    await house.tell(*events())
    where, numbers = QUESTIONS[0]
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chainwatch", "tail", "--json", "--url", f"http://127.0.0.1:{house.port}"),
        *("--where", where, *more),
        env={**os.environ, "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE,
    )
    lines = [json.loads(await run.stdout.readline()) for _ in numbers]
    assert [line["data"]["number"] for line in lines] == numbers
    if more == ["--no-follow"]:
        assert await run.stdout.read() == b""
    else:
        run.terminate()
    await run.wait()


async def test_tail_shows_where_an_expression_is_wrong(house):
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chainwatch", "tail", "--url", f"http://127.0.0.1:{house.port}"),
        *("--type", "token_transfer", "--where", "data.amuont > 1e18"),
        env={**os.environ, "NO_PROXY": "*"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await run.communicate()
    assert run.returncode == 2
    assert said.decode().splitlines() == [
        "chainwatch: where, column 6: unknown field 'amuont' of data",
        "did you mean 'amount'?",
        "  data.amuont > 1e18",
        "       ^",
    ]


@pytest.mark.parametrize("path", ["/events", "/events/stream", "/events/history", "/events/token_transfer"])
async def test_a_wrong_expression_is_a_problem_that_points_at_the_character(house, path):
    answer = await house.ask(f"{path}?where={quote('data.amount >= 1e18 && dta.x == 5')}")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    problem = await answer.json()
    assert problem["detail"] == "where, column 24: unknown name 'dta'"
    assert (problem["parameter"], problem["nearest"]) == ("where", "data")
    assert problem["value"] == "data.amount >= 1e18 && dta.x == 5"
    assert problem["hint"].split("\n") == [
        "did you mean 'data'?",
        "  data.amount >= 1e18 && dta.x == 5",
        "  " + " " * 23 + "^",
    ]


async def test_a_route_of_a_type_knows_its_fields(house):
    where = quote("data.prise > 5")
    problem = await (await house.ask(f"/events/price_update?where={where}")).json()
    assert problem["nearest"] == "price"
    assert (await house.ask(f"/events/custom:deploy?where={where}")).status == 200
    assert (await house.ask(f"/events?where={where}")).status == 200  # a custom event may have it


@pytest.mark.parametrize(
    "where",
    ["(" * 3000, "!" * 4096, "a.b" * 1000, "\x00\u202e'", "data.a == 1e99999", "1 in " * 400 + "[]", "data.x + " * 400],
)
async def test_hostile_expressions_are_refused_in_visible_text(house, where):
    answer = await house.ask(f"/events?where={quote(where)}")
    assert answer.status == 400
    problem = await answer.json()
    assert problem["parameter"] == "where"
    assert all(line.isprintable() for text in problem.values() for line in str(text).split("\n"))


async def test_equal_expressions_share_a_group_and_are_described_in_one_form(house):
    texts = ["data.amount>1e18", "(data.amount > 1000000000000000000.0)", "data.amount > 1e18 // an ether"]
    streams = [await house.ask(f"/events?where={quote(text)}") for text in texts]
    for stream in streams:
        assert (await stream.expect("connect"))["filters"] == {"where": ["data.amount > 1e18"]}
    await house.until(lambda: all(one.group for one in house.hub.streams.values()))
    assert len({one.group for one in house.hub.streams.values()}) == 1
    await house.tell(transfer(1, amount=ETH), transfer(2, amount=ETH + 1))
    assert [await stream.numbers(1) for stream in streams] == [[2], [2], [2]]


async def test_other_parameters_go_before_and_with_it(house):
    stream = await house.stream(f"/events?chains=base&min_amount=5&where={quote('data.amount < 10')}")
    made = [transfer(1, amount=7), transfer(2, amount=4, chain="base"), transfer(3, amount=12, chain="base")]
    await house.tell(*made, transfer(4, amount=7, chain="base"))
    assert await stream.numbers(1) == [4]


async def test_a_status_of_now_is_held_against_it_too(house):
    def status(state: str) -> Event:
        example = EXAMPLES["chain_status"]
        data = msgspec.structs.replace(example.data, state=state)
        return msgspec.structs.replace(example, id=f"evt_{state}", data=data)

    await house.tell(status("stalled"))
    connected = await house.stream("/events?types=chain_status&where=" + quote("data.state == 'connected'"))
    stalled = await house.stream("/events?types=chain_status&where=" + quote("data.state == 'stalled'"))
    await house.tell(status("connected"))
    assert json.loads((await stalled.next()).data)["id"] == "evt_stalled"
    assert json.loads((await connected.next()).data)["id"] == "evt_connected"


async def test_an_event_that_breaks_an_expression_breaks_no_stream(house):
    stream = await house.stream(f"/events?where={quote('data.x / data.y > 0 && data.z[data.x] == 1')}")
    other = await house.stream("/events?types=custom:note")
    odd = [
        {"x": 1, "y": 0},
        {"x": [], "y": {}},
        {"x": None},
        {},
        {"x": "9" * 5000, "y": "-"},
        {"x": 1, "y": 1, "z": []},
    ]
    good = {"x": 1, "y": 1, "z": [0, 1]}
    made = [
        msgspec.structs.replace(block(1), id=f"evt_{number}", type="note", data={**data, "number": number})
        for number, data in enumerate([*odd, good])
    ]
    await house.tell(*made)
    assert await stream.numbers(1) == [len(odd)]
    assert await other.numbers(len(made)) == list(range(len(made)))
