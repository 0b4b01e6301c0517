"""
What is known of an event before there is one: the kinds of value that each of its parts can have, from the catalogue.

`role` says what the text of a field stands for: amounts and prices are text in JSON, and numbers in an expression. It
depends on the name of the field alone and not on the types asked for (tests hold the catalogue to that), so that one
text of an expression means one thing.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import msgspec

from chainwatch import payloads
from chainwatch.payloads import PAYLOADS

NULL, BOOL, NUMBER, TEXT, LIST, MAP, TIME, SPAN = (1 << place for place in range(8))
NUMERIC: Final = 1 << 8
"""Beside TEXT: the text may be a number."""
DATED: Final = 1 << 9
"""Beside TEXT: the text may be a moment."""
JSON: Final = NULL | BOOL | NUMBER | TEXT | NUMERIC | DATED | LIST | MAP

_WORDS: Final = {
    BOOL: "true or false",
    NUMBER: "a number",
    TEXT: "text",
    LIST: "a list",
    MAP: "an object",
    TIME: "a time",
    SPAN: "a duration",
    NULL: "null",
}


class Shape(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a value can be."""

    kinds: int
    role: str = ""
    """`whole` or `decimal`: text that is that number. `moment`: text that is a time."""
    fields: Mapping[str, Shape] = {}
    open: bool = False
    """It may have other fields too."""
    item: Shape | None = None
    """Of a list; None: anything."""
    words: frozenset[str] = frozenset()
    """The only texts that it can be; empty: any."""

    def told(self) -> str:
        """In words, for an error."""
        if self.role in ("whole", "decimal"):
            return "a number"
        return " or ".join(word for kind, word in _WORDS.items() if self.kinds & kind)


ANY: Final = Shape(kinds=JSON, open=True)
"""Whatever JSON can hold."""
BOOLEAN: Final = Shape(kinds=BOOL)
COUNT: Final = Shape(kinds=NUMBER)
STRING: Final = Shape(kinds=TEXT)
MOMENT: Final = Shape(kinds=TEXT | DATED, role="moment")

ENVELOPE: Final[dict[str, Shape]] = {
    "id": STRING,
    "type": STRING,
    "timestamp": MOMENT,
    "observed_at": MOMENT,
    "chain": Shape(kinds=TEXT | NULL),
    "removed": BOOLEAN,
    "retracts": Shape(kinds=TEXT | NULL),
}
"""The variables of an expression, but for `data`."""


def data_of(kinds: frozenset[str]) -> Shape:
    """`data` of events of these types; of none: of any. A type that is not in the catalogue can hold anything."""
    if kinds and kinds <= PAYLOADS.keys():
        return merged([_payload(kind) for kind in sorted(kinds)])
    return _of_any()


@cache
def _of_any() -> Shape:
    return _opened(merged([_payload(kind) for kind in PAYLOADS]))


def _opened(shape: Shape) -> Shape:
    """A stranger's field of the same name: its role stays, all else is open."""
    return Shape(
        kinds=JSON,
        role=shape.role,
        fields={name: _opened(field) for name, field in shape.fields.items()},
        open=True,
        item=None if shape.item is None else _opened(shape.item),
    )


def merged(shapes: Iterable[Shape]) -> Shape:
    """One or another of these."""
    found = list(shapes)
    kinds, fields = 0, dict[str, list[Shape]]()
    for shape in found:
        kinds |= shape.kinds
        for name, field in shape.fields.items():
            fields.setdefault(name, []).append(field)
    roles = {shape.role for shape in found if shape.kinds != NULL}
    items = [shape.item for shape in found if shape.kinds & LIST]
    known = [item for item in items if item is not None]
    words = [shape.words for shape in found if shape.kinds & TEXT]
    return Shape(
        kinds=kinds,
        role=roles.pop() if len(roles) == 1 else "",
        fields={name: merged(ones) for name, ones in fields.items()},
        open=any(shape.open for shape in found),
        item=merged(known) if known and len(known) == len(items) else None,
        words=frozenset().union(*words) if words and all(words) else frozenset(),
    )


@cache
def _payload(kind: str) -> Shape:
    return _of_struct(PAYLOADS[kind])


def _of_struct(struct: type[msgspec.Struct]) -> Shape:
    hints = typing.get_type_hints(struct, include_extras=True)
    names = zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True)
    return Shape(kinds=MAP, fields={name: _of_annotation(hints[attribute]) for name, attribute in names})


_ROLES: Final[dict[Any, Shape]] = {
    payloads.Digits: Shape(kinds=TEXT | NUMERIC, role="whole"),
    payloads.Signed: Shape(kinds=TEXT | NUMERIC, role="whole"),
    payloads.Decimal: Shape(kinds=TEXT | NUMERIC, role="decimal"),
    payloads.Moment: MOMENT,
}
_PLAIN: Final[dict[Any, Shape]] = {
    str: STRING,
    int: COUNT,
    float: COUNT,
    bool: BOOLEAN,
    types.NoneType: Shape(kinds=NULL),
}


def _of_annotation(hint: Any) -> Shape:
    if (found := _ROLES.get(hint) or _PLAIN.get(hint)) is not None:
        return found
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return merged([_of_annotation(argument) for argument in arguments])
    if origin is list:
        return Shape(kinds=LIST, item=_of_annotation(arguments[0]))
    if hasattr(hint, "__metadata__"):
        shape = _of_annotation(hint.__origin__)
        more = [meta.extra_json_schema or {} for meta in hint.__metadata__ if isinstance(meta, msgspec.Meta)]
        words = frozenset(word for one in more for word in one.get("enum", ()))
        return msgspec.structs.replace(shape, words=words) if words else shape
    return _of_struct(hint)
