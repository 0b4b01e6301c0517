"""Types, schema, examples, streams, filters, manual and lines for people: made from one registry, and complete."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from chainwatch import asyncapi, schema, sse
from chainwatch.asyncapi import calls, sockets, told as others
from chainwatch.cli import run
from chainwatch.event import decode, encode, retraction
from chainwatch.examples import CUSTOM, EXAMPLES
from chainwatch.filter import Vocabulary, resolve_types
from chainwatch.lines import LINES
from chainwatch.payloads import CATEGORIES, PAYLOADS
from chainwatch.server import agents, channels, history, ops, parameters, publish, stats, streams, ws
from chainwatch.server.app import ROUTES

ROOT = Path(__file__).parent.parent
MANUAL = (ROOT / "man" / "chainwatch-events.7").read_text("utf-8")
SCHEMA = schema.document()
STREAMS = asyncapi.document()
ANY = Draft202012Validator(SCHEMA)


def plain(event):
    return json.loads(encode(event))


def pieces(node):
    """Every object in a document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from pieces(child)


@pytest.mark.parametrize("kind", PAYLOADS)
def test_a_type_is_everywhere(kind):
    payload, example = PAYLOADS[kind], EXAMPLES[kind]
    assert type(example.data) is payload
    assert kind in CATEGORIES[payload.CATEGORY]
    assert {"$ref": f"#/$defs/{kind}"} in SCHEMA["oneOf"]
    assert SCHEMA["$defs"][kind]["examples"] == [plain(example)]
    assert STREAMS["components"]["messages"][kind]["examples"] == [{"payload": plain(example)}]
    assert STREAMS["channels"]["events"]["messages"][kind] == {"$ref": f"#/components/messages/{kind}"}
    assert resolve_types([kind, kind + "s"], Vocabulary(), "types") == {kind}
    assert kind in LINES
    section = re.search(rf"^\.Ss {kind}\n(.*?)(?=^\.S[sh] )", MANUAL, re.MULTILINE | re.DOTALL)[1]
    assert set(re.findall(r"^\.It Cm (\w+) Pq", section, re.MULTILINE)) >= set(payload.__struct_encode_fields__)
    assert f'"type": "{kind}"' in section


def test_nothing_else_is_anywhere():
    assert [*EXAMPLES] == [*PAYLOADS]
    assert len(SCHEMA["oneOf"]) == len(PAYLOADS) + 1
    more = {*others.CONTROL, *others.ANSWERS, *sockets.FROM_CLIENT, *sockets.TO_CLIENT, "ws_event", "custom", "page"}
    more |= {"webhook_event", *calls.SENT, *calls.ASKED, *calls.ANSWERED}
    assert set(STREAMS["components"]["messages"]) == {*PAYLOADS, *more}
    assert set(LINES) == {*PAYLOADS}
    assert not PAYLOADS.keys() & (CATEGORIES.keys() | sse.CONTROL | {"custom", "message"})


# --- JSON Schema ----------------------------------------------------------------------------------------------------


def test_it_is_a_schema_of_both_drafts():
    Draft202012Validator.check_schema(SCHEMA)
    Draft7Validator.check_schema(SCHEMA)
    references = {piece["$ref"] for piece in pieces(SCHEMA) if "$ref" in piece}
    assert references == {f"#/$defs/{name}" for name in SCHEMA["$defs"]}
    # Draft 7 does not see what stands beside a reference. The root is the exception, where one type is asked for.
    assert all(piece.keys() == {"$ref"} for piece in pieces(SCHEMA) if "$ref" in piece)


@pytest.mark.parametrize("event", [*EXAMPLES.values(), CUSTOM], ids=lambda event: event.type)
def test_every_event_and_its_retraction_satisfy_it(event):
    for told in (event, retraction(event, event.observed_at)):
        ANY.validate(plain(told))
        Draft202012Validator(schema.document([event.type])).validate(plain(told))
        ANY.validate(plain(told) | {"more": 1, "data": plain(told)["data"] | {"more": [None]}})


@pytest.mark.parametrize("kind", PAYLOADS)
def test_an_event_that_lacks_a_field_or_has_another_kind_of_value_does_not(kind):
    told = plain(EXAMPLES[kind])
    one = Draft202012Validator(schema.document([kind]))
    required = SCHEMA["$defs"][PAYLOADS[kind].__name__]["required"]
    assert required
    for name in told["data"]:
        less = {field: value for field, value in told["data"].items() if field != name}
        assert one.is_valid(told | {"data": less}) == (name not in required)
        for wrong in ([told["data"]], {"a": 1}, -1.5 if name != "lag_seconds" else "1"):
            assert not one.is_valid(told | {"data": told["data"] | {name: wrong}}), (name, wrong)
            assert not ANY.is_valid(told | {"data": told["data"] | {name: wrong}})
    for name in ("id", "type", "timestamp", "observed_at", "chain", "data"):
        assert not ANY.is_valid({field: value for field, value in told.items() if field != name})
    assert not one.is_valid(told | {"type": "deploy"})


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("token_transfer", {"amount": "1.5"}),
        ("token_transfer", {"amount": "-1"}),
        ("token_transfer", {"amount": "007"}),
        ("token_transfer", {"amount": 1}),
        ("token_transfer", {"to": "0x12"}),
        ("token_transfer", {"standard": "erc404"}),
        ("token_transfer", {"tx_hash": "0x" + "AB" * 32}),
        ("balance_changed", {"delta": "+1"}),
        ("balance_changed", {"causes": [{"kind": "luck", "amount": "1", "tx_hash": None}]}),
        ("chain_reorg", {"old_blocks": [{"block_number": 1}]}),
        ("price_update", {"price": "1e3"}),
        ("price_update", {"updated_at": "2023-11-02 01:00"}),
        ("token_swap", {"pool": "0x" + "ab" * 31}),
    ],
)
def test_a_value_of_another_form_does_not(kind, change):
    told = plain(EXAMPLES[kind])
    assert not ANY.is_valid(told | {"data": told["data"] | change})


def test_removed_and_retracts_are_there_together():
    told = plain(EXAMPLES["block_new"])
    assert not ANY.is_valid(told | {"removed": True})
    assert not ANY.is_valid(told | {"retracts": told["id"]})
    assert not ANY.is_valid(told | {"removed": False, "retracts": told["id"]})


def test_custom_data_is_any_object_under_any_other_name():
    told = plain(CUSTOM)
    assert ANY.is_valid(told | {"type": "a", "data": {}})
    for wrong in ({"data": []}, {"data": None}, {"type": "No"}, {"type": "block_new"}):
        assert not ANY.is_valid(told | wrong)


def test_every_definition_and_field_has_words():
    for name, form in SCHEMA["$defs"].items():
        assert form.get("description"), name
        for field, said in form.get("properties", {}).items():
            assert said.get("description", "").endswith("."), (name, field)
    assert {name for name in schema._WORDS if not any(name in form.get("properties", {}) for form in
            SCHEMA["$defs"].values())} == set()  # fmt: skip


def test_examples_are_what_a_chain_could_tell():
    """To the wei, where one number follows from others."""
    changed = EXAMPLES["balance_changed"].data
    assert int(changed.balance) - int(changed.previous_balance) == int(changed.delta)
    assert sum(int(cause.amount) for cause in changed.causes) + int(changed.unattributed) == int(changed.delta)
    swap = EXAMPLES["token_swap"].data
    out, given = int(swap.amount_out) * 10**swap.decimals_in, int(swap.amount_in) * 10**swap.decimals_out
    assert out * 10**6 == given * int(swap.price.replace(".", ""))
    for event in (*EXAMPLES.values(), CUSTOM):
        assert decode(encode(event)).data == msgspec.to_builtins(event.data)


# --- AsyncAPI -------------------------------------------------------------------------------------------------------


def test_the_streams_are_described_as_asyncapi_has_it():
    official = json.loads(gzip.decompress((ROOT / "tests" / "data" / "asyncapi" / "3.0.0.json.gz").read_bytes()))
    checked = Draft7Validator(official)
    checked.validate(STREAMS)
    assert not checked.is_valid(STREAMS | {"channels": {"a": {"adress": "/"}}})


def test_every_reference_leads_somewhere():
    for reference in {piece["$ref"] for piece in pieces(STREAMS) if "$ref" in piece}:
        found = STREAMS
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        assert found


@pytest.mark.parametrize("name", STREAMS["components"]["messages"])
def test_the_example_of_a_message_satisfies_its_payload(name):
    message = STREAMS["components"]["messages"][name]
    checked = Draft7Validator(message["payload"] | {"components": STREAMS["components"]})
    if name == "page":
        events = [plain(event) for event in (*EXAMPLES.values(), CUSTOM)]
        page = {"events": events, "next": "log1-7", "has_more": False, "truncated": False}
        assert not checked.is_valid(page | {"events": [events[0] | {"type": "No"}]})
    else:
        (page,) = (example["payload"] for example in message["examples"])
    checked.validate(page)


def test_a_summary_is_one_sentence():
    for name, message in STREAMS["components"]["messages"].items():
        summary = message.get("summary", "One.")
        assert summary.endswith("."), name
        assert not re.search(r"[.!?] [A-Z]", summary), name
        assert message.get("description", summary).startswith(summary)
    assert all(operation["summary"].endswith(".") for operation in STREAMS["operations"].values())


def test_every_route_of_events_is_a_channel_and_every_op_a_message():
    streaming = {streams.unnamed, streams.named, channels.channel, agents.stream, publish.publish, history.history}
    streaming |= {stats.stats, ws.websocket}
    described = {channel["address"] for channel in STREAMS["channels"].values()}
    described.remove(None)  # of webhooks, which others have
    assert described == {route.path for route in ROUTES if route.handler in streaming}
    assert {form["properties"]["op"]["const"] for _, form, _ in sockets.FROM_CLIENT.values()} == set(ops._FIELDS)
    for name, (_, form, _) in sockets.FROM_CLIENT.items():
        op = form["properties"]["op"]["const"]
        fields = ops._FIELDS[op] if op != "subscribe" else (*ops._FIELDS[op], "agent", *parameters.SOCKET)
        assert set(form["properties"]) == set(fields), name


def test_the_parameters_are_those_that_are_read():
    assert set(asyncapi.STREAM) == set(parameters.STREAM)
    assert set(asyncapi.AGENT) == set(agents.CONNECT)
    assert STREAMS["channels"]["eventsOfOneThing"]["parameters"]["channel"]["enum"] == [*channels.CHANNELS]
    assert set(asyncapi.HISTORY) == set(parameters.HISTORY)
    assert asyncapi.HISTORY["limit"]["maximum"] == parameters.MAX_PAGE


# --- the command ----------------------------------------------------------------------------------------------------


def printed(capsys, *words):
    assert run(["schema", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_prints_the_schema_of_all_or_of_some(capsys):
    assert printed(capsys) == SCHEMA
    assert printed(capsys, "Block-News") == schema.document(["block_new"])
    names = [kind for kind in PAYLOADS if kind in CATEGORIES["wallet"]]
    assert printed(capsys, "balance") == schema.document(names)
    assert printed(capsys, "price", "block") == schema.document(
        ["block_new", "block_finalized", "chain_reorg", "price_update"]
    )
    assert printed(capsys, "custom:deploy") == schema.document(["custom"])


def test_the_schema_of_some_types_is_of_them_alone(capsys):
    only = printed(capsys, "token_transfer")
    assert set(only["$defs"]) == {"event", "token_transfer", "TokenTransfer"}
    one = Draft202012Validator(only)
    assert [kind for kind, event in EXAMPLES.items() if one.is_valid(plain(event))] == ["token_transfer"]


def test_an_unknown_type_is_2_with_the_nearest(capsys):
    assert run(["schema", "token_trasfer"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == ("chainwatch: unknown event type or category 'token_trasfer'\ndid you mean 'token_transfer'?\n")
