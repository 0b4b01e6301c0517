"""
JSON Schema (draft 2020-12) of every event, made from the payloads: the forms from their annotations, the words from
their docstrings.

A definition of a type's name is the whole event, one of a payload's name its `data`. More fields than those named may
come with any release, so none is forbidden. Only what draft 7 has too is used, and `$ref` stands alone: the AsyncAPI
document holds the same definitions.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from typing import Any, Final

import msgspec

from chainwatch import event as events, payloads
from chainwatch.event import Event
from chainwatch.examples import CUSTOM, EXAMPLES
from chainwatch.payloads import PAYLOADS, Payload

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_ID: Final = {"type": "string", "pattern": "^evt_[0-9a-hjkmnp-tv-z]{26}$"}
_MOMENT: Final = {
    "type": "string",
    "format": "date-time",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$",
}
_ENVELOPE: Final[dict[str, dict[str, Any]]] = {
    "id": _ID,
    "type": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"},
    "timestamp": _MOMENT,
    "observed_at": _MOMENT,
    "chain": {"type": ["string", "null"]},
    "data": {"type": "object"},
    "removed": {"const": True},
    "retracts": _ID,
}
_ALWAYS: Final = ("id", "type", "timestamp", "observed_at", "chain", "data")

_WORDS: Final = {
    "type": "What happened: a type of the catalogue, or the name under which a client published it.",
    "data": "What is told about it; each type has its fields.",
    "retracts": "The id of the event that is undone; only beside `removed`.",
    "block_number": "The number of the block.",
    "block_hash": "The hash of the block.",
    "parent_hash": "The hash of the block before.",
    "transaction_count": "Transactions in the block.",
    "gas_used": "Units of gas.",
    "gas_limit": "Units of gas that the block may use.",
    "common_ancestor": "The newest block that both branches have.",
    "tx_hash": "The hash of the transaction.",
    "transaction_index": "The place of the transaction in its block, from 0.",
    "log_index": "The place of the log in its block, from 0.",
    "from": "The sender.",
    "to": "The recipient.",
    "amount": "Base units.",
    "amount_in": "Base units that the pool took.",
    "amount_out": "Base units that the pool gave.",
    "token": "The symbol.",
    "token_in": "The symbol of what the pool took.",
    "token_out": "The symbol of what the pool gave.",
    "token_address": "The contract of the token.",
    "token_id": "ERC-721, ERC-1155: which of the contract's tokens; null otherwise.",
    "decimals": "How many of the digits of base units stand behind the point of a whole unit.",
    "decimals_in": "Decimals of what the pool took; null where they are not known.",
    "decimals_out": "Decimals of what the pool gave; null where they are not known.",
    "nonce": "How many transactions the sender made before.",
    "confirmations": "The block of the transaction and those on top of it.",
    "address": "The watched wallet.",
    "name": "Its name in the configuration.",
    "balance": "Base units.",
    "causes": "What is known to have moved it.",
    "owner": "Whose tokens they are.",
    "spender": "Who may spend them.",
    "sender": "Who called the pool.",
    "symbol": "What has the price, by its configured name.",
    "quote": "The currency of the price.",
    "reason": "Why, in words; null where there is nothing to say.",
}
"""For fields that the docstrings leave to their name."""


def document(types: Iterable[str] = ()) -> dict[str, Any]:
    """
    One schema that every event of these types satisfies; without types, any event at all. A type that is not in the
    catalogue is a custom one.
    """
    wanted = [*dict.fromkeys(types)] or [*PAYLOADS, "custom"]
    custom = [name for name in wanted if name not in PAYLOADS]
    listed = [name for name in wanted if name in PAYLOADS] + ["custom"] * bool(custom)
    found = definitions(listed, "#/$defs/{name}")
    choices = [{"$ref": f"#/$defs/{name}"} for name in listed]
    title = "An event of chainwatch" if len(listed) > 1 else f"An event of chainwatch: {listed[0]}"
    return {
        "$schema": DIALECT,
        "title": title,
        **({"oneOf": choices} if len(choices) > 1 else choices[0]),
        "$defs": found,
    }


def definitions(types: Iterable[str], ref: str) -> dict[str, Any]:
    """
    Everything that the events of these types (`custom` among them) are made of, by name. `ref` is where a definition
    of that `{name}` stands.
    """
    wanted = tuple(types)
    made: dict[str, Any] = {"event": _envelope()}
    for name in wanted:
        made[name] = _custom(ref) if name == "custom" else _of_type(PAYLOADS[name], ref)
    _, forms = msgspec.json.schema_components([PAYLOADS[name] for name in wanted if name in PAYLOADS], ref_template=ref)
    return made | {name: _described(name, form) for name, form in forms.items()}


def _envelope() -> dict[str, Any]:
    words = _WORDS | _docstrings(events).get(Event.__name__, {})
    return {
        "title": "event",
        "description": "What every event has: a fact in the past tense, or with `removed`, that it holds no more.",
        "type": "object",
        "properties": {name: form | {"description": words.get(name, "")} for name, form in _ENVELOPE.items()},
        "required": [*_ALWAYS],
        "anyOf": [
            {"required": ["removed", "retracts"]},
            {"not": {"anyOf": [{"required": ["removed"]}, {"required": ["retracts"]}]}},
        ],
    }


def _of_type(payload: type[Payload], ref: str) -> dict[str, Any]:
    data = {"$ref": ref.format(name=payload.__name__)}
    return {
        "title": payload.TYPE,
        "description": payload.DESCRIPTION,
        "allOf": [
            {"$ref": ref.format(name="event")},
            {"type": "object", "properties": {"type": {"const": payload.TYPE}, "data": data}},
        ],
        "examples": [msgspec.to_builtins(EXAMPLES[payload.TYPE])],
    }


def _custom(ref: str) -> dict[str, Any]:
    return {
        "title": "custom",
        "description": "Whatever a client published: any other type, any object.",
        "allOf": [
            {"$ref": ref.format(name="event")},
            {"type": "object", "properties": {"type": {"not": {"enum": [*PAYLOADS]}}}},
        ],
        "examples": [msgspec.to_builtins(CUSTOM)],
    }


def _described(name: str, form: dict[str, Any]) -> dict[str, Any]:
    """The form of a payload, or of a part of one, with words."""
    struct: type[msgspec.Struct] = getattr(payloads, name)
    told = struct.DESCRIPTION if issubclass(struct, Payload) else (struct.__doc__ or "")
    words = field_words(struct)
    fields = {
        field: ({"allOf": [said]} if "$ref" in said else said)
        | ({"description": words[field]} if field in words else {})
        for field, said in form["properties"].items()
    }
    return form | {"properties": fields} | ({"description": told} if told else {})


def field_words(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What each field means, by its name in JSON: its docstring, or the words that all fields of its name share."""
    named = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    words = {name: _WORDS[name] for name in named.values() if name in _WORDS}
    written = _docstrings(payloads)
    for parent in reversed(struct.__mro__):
        words |= {named[field]: text for field, text in written.get(parent.__name__, {}).items()}
    return words


@cache
def _docstrings(module: ModuleType) -> dict[str, dict[str, str]]:
    """Class -> attribute -> the text below it. Without the source (a frozen program) there is none."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except OSError:
        return {}
    return {
        node.name: {
            line.target.id: re.sub(r"\s+", " ", below.value.value).strip()
            for line, below in itertools.pairwise(node.body)
            if isinstance(line, ast.AnnAssign)
            and isinstance(line.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
