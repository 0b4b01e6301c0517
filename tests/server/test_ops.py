"""What a WebSocket's messages mean, and the bytes of what is answered: no socket."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as some
from websockets.frames import Frame, Opcode

from chainwatch import sse
from chainwatch.server import ops
from chainwatch.server.ops import Ack, Ping, Send, Subscribe, Unsubscribe, Wrong


def said(**message: object) -> object:
    return ops.parse(json.dumps(message).encode())


def wrong(message: bytes | dict[str, object]) -> tuple[str | None, str | None, dict[str, object]]:
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    found = ops.parse(text)
    assert isinstance(found, Wrong), found
    payload = json.loads(unframed(ops.error(found.problem, found.op, found.id))[0])
    assert payload.pop("op") == "error"
    assert payload["status"] == 400
    return found.op, found.id, payload


def unframed(data: bytes) -> list[bytes]:
    """The payloads of text frames, as `websockets` reads them."""
    payloads = []
    place = 0

    def read_exact(size: int):
        nonlocal place
        place += size
        yield from ()
        assert place <= len(data)
        return data[place - size : place]

    while place < len(data):
        parsing = Frame.parse(read_exact, mask=False)
        try:
            next(parsing)
        except StopIteration as stop:
            frame = stop.value
        assert (frame.opcode, frame.fin) == (Opcode.TEXT, True)
        payloads.append(bytes(frame.data))
    return payloads


def test_a_subscription_has_stream_parameters_beside_its_op():
    assert said(op="subscribe", id="mine", filters=["block", "token"], chains="base") == Subscribe(
        "mine", (("filters", "block"), ("filters", "token"), ("chains", "base")), None
    )


def test_numbers_are_taken_as_they_are_written():
    found = ops.parse(b'{"op": "subscribe", "id": "a", "min_amount": 1000000000000000000000001, "duration": 1.50}')
    assert found == Subscribe("a", (("min_amount", "1000000000000000000000001"), ("duration", "1.50")), None)


def test_null_is_a_parameter_that_is_not_given():
    assert said(op="subscribe", id="a", last_event_id=None, types=[]) == Subscribe("a", (), None)


def test_an_agent_may_be_subscribed_to():
    assert said(op="subscribe", id="a", agent="night", limit=5) == Subscribe("a", (("limit", "5"),), "night")


def test_the_other_ops():
    assert said(op="unsubscribe", id="a") == Unsubscribe("a")
    assert said(op="ack", id="a", cursor="x-1") == Ack("a", "x-1")
    assert said(op="ping") == Ping(None)
    assert said(op="ping", id="7") == Ping("7")


def test_data_that_is_sent_stays_as_it_was_written():
    found = ops.parse('{"op": "send", "id": "r", "type": "note", "data": {"a": 1.10, "b": "é"}}'.encode())
    assert found == Send("r", "note", '{"a": 1.10, "b": "é"}'.encode(), None)
    found = said(op="send", type="note", data={}, idempotency_key="once")
    assert found == Send(None, "note", b"{}", "once")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"x",
        b"[]",
        b"7",
        b'"ping"',
        b"null",
        b'{"op": "ping"',
        b'{"op": "ping"} {}',
        b"{'op': 'ping'}",
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"op": NaN}',
        b'{"\\ud800": 1}',
    ],
)
def test_what_is_no_json_object_is_said_to_be_none(message):
    op, name, told = wrong(message)
    assert (op, name) == (None, None)
    assert "JSON object" in told["detail"]


def test_an_unknown_op_has_the_nearest_one():
    op, name, told = wrong({"op": "subscrbe", "id": "mine"})
    assert (op, name) == (None, "mine")
    assert told["nearest"] == "subscribe"
    assert "subscrbe" in told["detail"]
    assert "id" in told


@pytest.mark.parametrize("op", [None, 7, [], {}, "", "\x1b[2J", "x" * 100_000])
def test_an_op_that_is_none_is_shown_in_short_and_visibly(op):
    _, _, told = wrong({"op": op})
    assert len(json.dumps(told)) < 2000
    assert "\x1b" not in told["detail"]
    assert "subscribe, unsubscribe, ack, send, ping" in told["hint"]


def test_a_message_without_an_op_is_told_which_there_are():
    assert "subscribe" in wrong({"id": "a"})[2]["hint"]


@pytest.mark.parametrize("op", ["subscribe", "unsubscribe", "ack"])
@pytest.mark.parametrize("name", [None, 7, "", "x" * 65, ["a"]])
def test_an_id_is_a_short_text(op, name):
    answers, given_back, told = wrong({"op": op, "id": name, "cursor": "a-1"})
    assert (answers, given_back) == (op, None)
    assert told["parameter"] == "id"
    assert "id" not in told


def test_an_id_may_be_any_text():
    assert said(op="unsubscribe", id='"\n{é').id == '"\n{é'


@pytest.mark.parametrize(
    ("message", "parameter", "nearest"),
    [
        ({"op": "ping", "di": 1}, "di", "id"),
        ({"op": "ack", "id": "a", "cursr": "x-1"}, "cursr", "cursor"),
        ({"op": "send", "type": "note", "dta": {}}, "dta", "data"),
        ({"op": "unsubscribe", "id": "a", "types": "block"}, "types", None),
    ],
)
def test_a_field_that_means_nothing_is_named(message, parameter, nearest):
    op, _, told = wrong(message)
    assert op == message["op"]
    assert (told["parameter"], told.get("nearest")) == (parameter, nearest)


@pytest.mark.parametrize(
    ("message", "parameter"),
    [
        ({"op": "ack", "id": "a"}, "cursor"),
        ({"op": "ack", "id": "a", "cursor": 7}, "cursor"),
        ({"op": "send", "data": {}}, "type"),
        ({"op": "send", "type": "note"}, "data"),
        ({"op": "send", "type": "note", "data": {}, "idempotency_key": 7}, "idempotency_key"),
        ({"op": "subscribe", "id": "a", "agent": ["x"]}, "agent"),
        ({"op": "subscribe", "id": "a", "types": {"a": 1}}, "types"),
        ({"op": "subscribe", "id": "a", "types": [["block"]]}, "types"),
        ({"op": "subscribe", "id": "a", "types": ["block", None]}, "types"),
    ],
)
def test_what_is_missing_or_no_value_is_named(message, parameter):
    op, _, told = wrong(message)
    assert (op, told["parameter"]) == (message["op"], parameter)


@given(some.binary(max_size=200) | some.text(max_size=200).map(str.encode))
def test_any_message_means_something_or_is_wrong(message):
    ops.parse(message)


json_like = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    some.dictionaries(some.sampled_from(["op", "id", "types", "agent", "cursor", "type", "data", "x"]), json_like),
    some.sampled_from(["subscribe", "unsubscribe", "ack", "send", "ping", "nothing"]) | json_like,
)
def test_any_object_means_something_or_is_wrong(message, op):
    found = ops.parse(json.dumps(message | {"op": op}).encode())
    if isinstance(found, Wrong):
        (payload,) = unframed(ops.error(found.problem, found.op, found.id))
        assert json.loads(payload)["status"] == 400


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_is_what_another_library_reads(size):
    assert unframed(ops.frame(b"x" * size)) == [b"x" * size]
    assert ops.frame(b"x" * size) == Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)


@given(
    some.text(min_size=1, max_size=64), some.lists(some.dictionaries(some.text(), some.text(max_size=300)), max_size=5)
)
def test_frames_of_the_log_become_events_of_a_subscription(name, events):
    name = name.encode("utf-8", "replace").decode()
    events = json.loads(json.dumps(events).encode("utf-8", "replace"))
    frames = b"".join(
        sse.frame(f"log-{place}", json.dumps(event, ensure_ascii=False).encode("utf-8", "replace"))
        for place, event in enumerate(events)
    )
    payloads = unframed(ops.spliced(frames, ops.head_of_events(name)))
    assert [json.loads(payload) for payload in payloads] == [
        {"op": "event", "id": name, "cursor": f"log-{place}", "event": json.loads(json.dumps(event).encode())}
        for place, event in enumerate(events)
    ]


@pytest.mark.parametrize("size", [10, 60, 100, 65_400, 65_500, 70_000])
def test_events_of_any_size_are_framed(size):
    frames = sse.frame("log-1", b'{"a":"%b"}' % (b"x" * size)) + sse.frame("log-2", b"{}")
    first, second = (json.loads(payload) for payload in unframed(ops.spliced(frames, ops.head_of_events("a"))))
    assert len(first["event"]["a"]) == size
    assert second == {"op": "event", "id": "a", "cursor": "log-2", "event": {}}
