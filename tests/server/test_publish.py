"""What clients publish: durable before it is answered, exactly once where they ask for it, and exactly as it was."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import pytest
from hypothesis import given, strategies as st
from server.house import ALICE, BOB, USDC, VOCABULARY, block
from server.sending import post
from server.test_access import holding, key

from chainwatch import sse
from chainwatch.filter import OPEN
from chainwatch.keys import Keyring
from chainwatch.log.store import open_log
from chainwatch.payloads import CATEGORIES, PAYLOADS
from chainwatch.server import posted
from chainwatch.server.principal import Principal
from chainwatch.server.problem import Problem
from chainwatch.server.publish import _PREFIX, MOST_TYPES, PUBLISHER, REMEMBERED, Publisher

DEEP = b'{"a":' * 70 + b"1" + b"}" * 70


async def test_an_event_is_on_disk_before_it_is_answered(house, tmp_path):
    answer = await post(house, "/events/deploy", {"address": ALICE, "n": 1})
    assert answer.status == 201
    told = await answer.json()
    with sqlite3.connect(tmp_path / "events.db") as other:
        [(frame,)] = other.execute("SELECT frame FROM events").fetchall()
    other.close()
    [message] = sse.Parser().feed(frame)
    event = json.loads(message.data)
    assert told == {"id": event["id"], "cursor": message.id}
    assert (event["type"], event["chain"], event["data"]) == ("deploy", None, {"address": ALICE, "n": 1})
    assert event["timestamp"] == event["observed_at"]


async def test_it_touches_the_addresses_that_it_names_and_is_a_type_from_then_on(house):
    addressed = await house.stream(f"/events?address={ALICE}")
    answer = await house.ask("/events?types=deploy")
    assert answer.status == 400
    for field, address in (("address", BOB), ("from", ALICE), ("spender", ALICE.upper().replace("X", "x"))):
        assert (await post(house, "/events/deploy", {field: address})).status == 201
    events = [json.loads((await addressed.next()).data) for _ in range(2)]
    assert [[*event["data"]] for event in events] == [["from"], ["spender"]]


async def test_custom_is_every_custom_type_also_one_that_is_first_published_later(serve):
    known: set[str] = set()
    house = await serve(vocabulary=lambda: VOCABULARY)
    live = await house.stream("/events?filters=custom")
    named = await house.stream("/events/custom")
    for number, kind in enumerate(["deploy", "rollback"]):
        told = await (await post(house, f"/events/{kind}", {"number": number})).json()
        known.add(told["cursor"])
    assert await live.numbers(2) == [0, 1]
    assert [(await named.next()).event for _ in range(2)] == ["deploy", "rollback"]
    replayed = await house.stream("/events?filters=custom&since=earliest")
    assert await replayed.numbers(2) == [0, 1]
    page = await (await house.ask("/events/history?types=custom")).json()
    assert [event["type"] for event in page["events"]] == ["deploy", "rollback"]


async def test_a_key_for_custom_types_sees_one_that_is_first_published_later_and_no_other_type(serve):
    limited, sender = key("limited", types=("custom",)), key("sender", can="send")
    house = await serve(ring=Keyring([limited, sender]))
    everything = await house.stream("/events", holding(limited))
    later = await house.stream("/events?types=custom:later", holding(limited))
    assert (await house.ask("/events?types=block", holding(limited))).status == 403
    await house.tell(block(1))
    for number, kind in ((2, "sooner"), (3, "later")):
        assert (await post(house, f"/events/{kind}", {"number": number}, holding(sender))).status == 201
    assert await everything.numbers(2) == [2, 3]
    assert await later.numbers(1) == [3]
    page = await (await house.ask("/events/history", holding(limited))).json()
    assert [event["type"] for event in page["events"]] == ["sooner", "later"]
    one = key("one", types=("custom:later",))
    house.context.sessions.change(Keyring([one, sender]))
    refused = await house.ask("/events?types=custom", holding(one))
    assert (refused.status, (await refused.json())["value"]) == (403, "custom")


# --- what a body says, and what it must not ---

WRONG = [
    (b"", "empty"),
    (b"  \n", "empty"),
    (b"[]", "a list"),
    (b'"text"', "a text"),
    (b"3", "a number"),
    (b"true", "a boolean"),
    (b"null", "null"),
    (b'{"a":1', "line 1, column 7"),
    (b'{"a":1} {}', "Extra data"),
    (b'{"a":NaN}', "NaN"),
    (b'{"a":-Infinity}', "-Infinity"),
    (b'{"a":1,"b":{"c":1,"c":2}}', "'c' twice"),
    (b'{"a":"\xff"}', "byte 6"),
    (b"\xef\xbb\xbf{}", "byte order mark"),
    (b'{"a":"\\ud800"}', "surrogate"),
    (b'{"\\udfff":1}', "surrogate"),
    (b'{"a":"\n"}', "column 7"),
    (b'{"a":1e400}', "1e400"),
    (b'{"a":1e-400}', "1e-400"),
    (b'{"a":0.1000000000000000055511151231257827}', "exactly"),
    (b'{"a":9007199254740993.0}', "exactly"),
    (b'{"a":' + b"1" * 1001 + b"}", "1001 digits"),
    (b'{"a":' + b"1" * 60_000 + b"}", "digits"),
    (DEEP, "deep"),
    (b'{"a":' + b"[" * 60_000, "deep"),
]


@pytest.mark.parametrize(("body", "words"), WRONG, ids=range(len(WRONG)))
def test_a_body_that_would_not_come_back_the_same_is_refused_with_its_place(body, words):
    with pytest.raises(Problem) as wrong:
        posted.parse(body)
    assert wrong.value.status == 400
    assert words in wrong.value.detail


def json_values(leaves):
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=9
    )


plain = st.none() | st.booleans() | st.integers(-(2**256), 2**256) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text(), json_values(plain | st.text())))
def test_what_is_taken_is_what_was_meant(value):
    assert posted.parse(json.dumps(value).encode()) == value
    assert posted.parse(json.dumps(value, ensure_ascii=False).encode()) == value


async def test_what_was_posted_is_what_every_reader_gets(house):
    data = {
        "wei": 2**256,
        "minus": -(2**70),
        "share": 0.1,
        "tiny": 5e-324,
        "text": 'line\u2028\n\r\0 "quoted" \U0001f600 id: x\n\ndata: y',
        "": {"": [[], {}, None, True]},
    }
    live = await house.stream("/events")
    assert (await post(house, "/events/deploy", data)).status == 201
    stored = await house.stream("/events?since=earliest")
    page = await (await house.ask("/events/history")).json()
    for event in (json.loads((await live.next()).data), json.loads((await stored.next()).data), page["events"][0]):
        assert event["data"] == data
        assert json.dumps(event["data"]) == json.dumps(data)  # 2**256 is no float


# --- what is refused ---


BAD = [
    ("/events/Deploy", {}, {}, 400, "no name for a type"),
    ("/events/9to5", {}, {}, 400, "no name for a type"),
    ("/events/" + "a" * 65, {}, {}, 400, "no name for a type"),
    ("/events/d%C3%A9ploy", {}, {}, 400, "no name for a type"),
    ("/events/deploy?since=now", {}, {}, 400, "unknown parameter 'since'"),
    ("/events/deploy", [], {}, 400, "a list"),
    ("/events/deploy", {}, {"Content-Type": "text/plain"}, 415, "text/plain"),
    ("/events/deploy", {}, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "not JSON"),
    ("/events/deploy", {}, {"Content-Type": "application/json; charset=latin1"}, 415, "latin1"),
    ("/events/deploy", {"a": "." * 65_536}, {}, 413, "65536"),
    ("/events/deploy", {}, {"Origin": "http://evil.example"}, 403, "evil.example"),
    ("/events/deploy", {}, {"Idempotency-Key": "two words"}, 400, "Idempotency-Key"),
    ("/events/deploy", {}, {"Idempotency-Key": "k" * 256}, 400, "Idempotency-Key"),
    ("/events/deploy", {}, {"Idempotency-Key": "k\u00e9"}, 400, "Idempotency-Key"),
]


async def test_a_request_that_cannot_be_meant_is_refused_with_its_reason(house):
    for path, body, headers, status, words in BAD:
        answer = await post(house, path, body, headers)
        told = await answer.json()
        row = (path, headers, told)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json"), row
        assert words in told["detail"], row
    assert house.log.head == 0


async def test_an_empty_idempotency_key_and_two_of_them_are_refused(house):
    body = b"{}"
    for lines in ("Idempotency-Key: \r\n", "Idempotency-Key: a\r\nIdempotency-Key: b\r\n"):
        head = f"{lines}Content-Length: {len(body)}\r\n\r\n".encode()
        answer = await house.ask("/events/deploy", {"X": "y\r\n" + head.decode().rstrip()}, method="POST", after=body)
        assert answer.status == 400, await answer.body()


async def test_a_body_in_chunks_may_be_as_large_and_no_larger(house):
    async def chunked(size: int) -> int:
        data = json.dumps({"a": "." * (size - 9)}).encode()
        half = len(data) // 2
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:half], data[half:])) + b"0\r\n\r\n"
        answer = await post(house, "/events/deploy", chunks, {"Content-Length": "", "Transfer-Encoding": "chunked"})
        return answer.status

    assert (await chunked(65_000), await chunked(65_536), await chunked(65_537)) == (201, 201, 413)


RESERVED = sorted(
    {*PAYLOADS, *CATEGORIES, *(f"{name}s" for name in CATEGORIES), "balance", "balances", "custom", "customs"}
    | {"connect", "heartbeat", "gap", "complete", "message", "error", "open", "stream", "history"}
)


async def test_reserved_names_are_409(house):
    for kind in RESERVED:
        answer = await post(house, f"/events/{kind}", {})
        told = await answer.json()
        assert (answer.status, told["value"]) == (409, kind)
    assert house.log.head == 0


async def test_a_log_has_a_thousand_custom_types_and_no_more(serve):
    full = [f"type_{number}" for number in range(MOST_TYPES)]
    custom = frozenset(full)
    house = await serve(vocabulary=lambda: type(VOCABULARY)(custom=custom))
    assert (await post(house, "/events/type_7", {})).status == 201
    answer = await post(house, "/events/one_more", {})
    assert (answer.status, (await answer.json())["value"]) == (409, "one_more")


async def test_it_takes_the_permission_to_send(serve):
    reader, sender = key("reader"), key("sender", can="send")
    house = await serve(ring=Keyring([reader, sender]))
    assert (await post(house, "/events/deploy", {})).status == 401
    answer = await post(house, "/events/deploy", {}, holding(reader))
    assert (answer.status, "may not send" in (await answer.json())["detail"]) == (403, True)
    assert (await post(house, "/events/deploy", {}, holding(sender))).status == 201


@pytest.mark.parametrize(
    ("scope", "kind", "data", "words"),
    [
        ({"chains": ("base",)}, "deploy", {}, "limited to chains"),
        ({"types": ("block",)}, "deploy", {}, "may not publish deploy"),
        ({"types": ("custom:rollback",)}, "deploy", {}, "may not publish deploy"),
        ({"types": ("custom:deploy",)}, "deploy", {}, None),
        ({"types": ("block", "custom")}, "deploy", {}, None),
        ({"addresses": (ALICE,)}, "deploy", {"address": BOB}, "touches one of its addresses"),
        ({"addresses": (ALICE,)}, "deploy", {"note": ALICE}, "touches one of its addresses"),
        ({"addresses": (ALICE,)}, "deploy", {"owner": ALICE.upper().replace("X", "x")}, None),
    ],
)
async def test_a_key_publishes_within_its_scope(serve, scope, kind, data, words):
    limited = key("limited", can="send", **scope)
    house = await serve(ring=Keyring([limited]))
    answer = await post(house, f"/events/{kind}", data, holding(limited))
    told = await answer.json()
    assert answer.status == (201 if words is None else 403)
    assert house.log.head == (1 if words is None else 0)
    if words is not None:
        assert words in told["detail"]


async def test_a_full_disk_is_503_and_nothing_is_told(house):
    stream = await house.stream("/events")
    [(pages,)] = house.log._db.execute("PRAGMA page_count").fetchall()
    house.log._db.execute(f"PRAGMA max_page_count={pages + 1}")
    statuses = []
    while 503 not in statuses:
        answer = await post(house, "/events/deploy", {"padding": "." * 60_000, "number": len(statuses)})
        statuses.append(answer.status)
    assert int(answer.headers["retry-after"]) > 0
    assert "no room" in (await answer.json())["detail"]
    head = house.log.head
    house.log._db.execute("PRAGMA max_page_count=100000")
    assert (await post(house, "/events/deploy", {"number": 99})).status == 201
    assert await stream.numbers(head + 1) == [*range(head), 99]


# --- once ---


async def test_the_same_key_gives_the_same_answer_and_one_event(house):
    once = {"Idempotency-Key": "order-7!~"}
    first = await post(house, "/events/deploy", {"a": 1, "b": 2}, once)
    again = await post(house, "/events/deploy", b'{ "b": 2, "a": 1 }', once)
    assert (first.status, again.status) == (201, 201)
    assert await first.json() == await again.json()
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert house.log.head == 1
    for path, body in (("/events/deploy", {"a": 1}), ("/events/rollback", {"a": 1, "b": 2})):
        other = await post(house, path, body, once)
        assert (other.status, (await other.json())["value"]) == (422, "order-7!~")
    assert house.log.head == 1


async def test_the_same_key_of_another_owner_is_another(serve):
    one, two = key("one", can="send"), key("two", can="send")
    house = await serve(ring=Keyring([one, two]))
    once = {"Idempotency-Key": "k"}
    ids = {
        (await (await post(house, "/events/deploy", {}, once | holding(owner))).json())["id"]
        for owner in (one, two, one)
    }
    assert (len(ids), house.log.head) == (2, 2)


async def test_fifty_at_once_are_one_event(house):
    once = {"Idempotency-Key": "k"}
    answers = await asyncio.gather(*(post(house, "/events/deploy", {"a": 1}, once) for _ in range(50)))
    assert {answer.status for answer in answers} == {201}
    assert len({(await answer.body()) for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert house.log.head == 1


async def test_one_who_leaves_does_not_end_what_others_wait_for(house):
    publisher = house.runner.app[PUBLISHER]

    def sent() -> asyncio.Task[object]:
        return asyncio.create_task(publisher.publish(Principal(), VOCABULARY, "deploy", {}, "k"))

    first = sent()
    await asyncio.sleep(0)
    second = sent()
    await asyncio.sleep(0)
    first.cancel()
    receipt = await second
    assert receipt.replayed
    assert house.log.head == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_sequence_is_remembered_behind_whatever_else_was_committed(house):
    once = [{"Idempotency-Key": str(number)} for number in range(20)]
    answers = await asyncio.gather(*(post(house, "/events/deploy", {"n": n}, once[n]) for n in range(20)))
    first = [await answer.json() for answer in answers]
    again = [await (await post(house, "/events/deploy", {"n": n}, once[n])).json() for n in range(20)]
    assert first == again
    told, _ = await house.log.page(0, OPEN, 100)
    assert {f"{house.log.identity}-{sequence}": event.id for sequence, event in told} == {
        one["cursor"]: one["id"] for one in first
    }


async def test_after_a_day_a_key_is_new_and_what_it_said_is_forgotten_in_time(tmp_path):
    log = await open_log(tmp_path / "e.db", ttl=3600, max_events=10**6, max_bytes=2**30, memory=2**20)
    now = [1_000_000.0]
    publisher = Publisher(log, lambda: now[0])

    async def publish(name: str, data: dict[str, object] | None = None):
        return await publisher.publish(Principal(), VOCABULARY, "deploy", data or {}, name)

    first = await publish("k")
    now[0] += REMEMBERED - 1
    assert (await publish("k"))[:2] == first[:2]
    now[0] += 1
    later = await publish("k", {"other": 1})
    assert (later.replayed, later.id == first.id) == (False, False)
    await asyncio.gather(*(publish(f"old-{number}") for number in range(50)))
    old = {name for name, _ in await log.scan(_PREFIX, f"{_PREFIX}g")}
    now[0] += REMEMBERED
    for number, name in enumerate(sorted(old)):
        publisher._slot, publisher._count = int(name.removeprefix(_PREFIX)[:3], 16) - 1, 15  # its part is next
        await publish(f"new-{number}")
    kept = {name for name, _ in await log.scan(_PREFIX, f"{_PREFIX}g")}
    assert (old & kept, len(kept)) == (set(), len(old))
    assert (await publish("new-3")).replayed
    await log.close()


async def test_a_part_that_is_tidied_up_leaves_what_is_published_again(tmp_path):
    log = await open_log(tmp_path / "e.db", ttl=3600, max_events=10**6, max_bytes=2**30, memory=2**20)
    now = [0.0]
    publisher = Publisher(log, lambda: now[0])
    names = [f"k{number}" for number in range(64)]

    async def publish_all():
        return await asyncio.gather(*(publisher.publish(Principal(), VOCABULARY, "deploy", {}, name) for name in names))

    for day in range(1, 9):
        now[0] = day * REMEMBERED
        # Whatever part is next holds a name that expired, and is published again while it is tidied up.
        publisher._slot = int((await log.scan(_PREFIX, f"{_PREFIX}g"))[day][0][-32:][:3], 16) - 1 if day > 1 else 0
        publisher._count = 15 - day
        fresh = await publish_all()
        assert not any(one.replayed for one in fresh)
        assert [one[:2] for one in await publish_all()] == [one[:2] for one in fresh]
    await log.close()


@pytest.mark.parametrize(("most", "replayed"), [(1, True), (0, False)])
async def test_only_so_many_answers_of_a_part_are_kept(house, monkeypatch, most, replayed):
    """However fast somebody publishes, what is remembered of a day is bounded."""
    monkeypatch.setattr("chainwatch.server.publish._KEPT", most)
    publisher = Publisher(house.log, lambda: 1.0)
    await publisher.publish(Principal(), VOCABULARY, "deploy", {}, "first")
    [(name, _)] = await house.log.scan(_PREFIX, f"{_PREFIX}g")
    publisher._slot, publisher._count = int(name.removeprefix(_PREFIX)[:3], 16) - 1, 15  # its part is next
    await publisher.publish(Principal(), VOCABULARY, "deploy", {}, "second")
    assert (await publisher.publish(Principal(), VOCABULARY, "deploy", {}, "first")).replayed == replayed


async def test_many_at_once_share_commits(house):
    publisher, before = house.runner.app[PUBLISHER], house.log.stats()["commits"]
    for word in (None, "k"):
        keys = [None if word is None else f"{word}{n}" for n in range(300)]
        await asyncio.gather(*(publisher.publish(Principal(), VOCABULARY, "deploy", {"n": 1}, one) for one in keys))
    assert house.log.head == 600
    assert house.log.stats()["commits"] - before < 150


async def test_hostile_text_stays_data(house):
    hostile = {"to": USDC, "note": "\x1b]0;pwned\x07\u202e</script>\r\nevent: x"}
    stream = await house.stream("/events/custom")
    await post(house, "/events/deploy", hostile)
    message = await stream.next()
    assert (message.event, json.loads(message.data)["data"]) == ("deploy", hostile)
    assert "\x1b" not in message.data
