"""The other way round from `values`: a setting as it is written in TOML, and what a key holds in a few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import tomli_w
from pydantic.fields import FieldInfo

from chainwatch.config import values

LONGEST: Final = 100
"""Characters of a list that stands in one line."""

_READERS: Final = {
    values.duration: "duration", values.size: "size", values.percent: "percentage", values.address: "address",
    values.file: "path", values.start: '"latest" or whole number',
    values.endpoint: "URL", values.web_address: "URL", values.receiver: "URL",
    values.words: "text or texts", values.hook_name: "text", values.since: "text",
}  # fmt: skip
_PLAIN: Final = {bool: "true or false", int: "whole number", str: "text", Path: "path"}
_SEVERAL: Final = {"whole number": "whole numbers", "URL": "URLs", "address": "addresses"}


def default(field: FieldInfo) -> Any:
    """The default of a key as it is written; where there is none, or it depends, the first example. Else None."""
    return field.examples[0] if field.examples else written(field, field.default)


def written(field: FieldInfo, value: Any) -> Any:
    """A value of this key, as the program has it, as a file has it."""
    match value:
        case tuple() | list():
            return [written(field, item) for item in value]
        case Path():
            return str(value)
        case Decimal():
            return f"{value}%"
        case int() | float() if kind(field) == "duration":
            return duration(value)
        case int() if kind(field) == "size":
            return size(value)
    return value


_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000))


def duration(seconds: float) -> str | float:
    """`"15s"`, `"7d"`: in the largest unit of which it is a whole number. What is finer than that is seconds."""
    thousandths = round(seconds * 1000)
    if thousandths != seconds * 1000:
        return seconds
    for unit, length in _UNITS:
        if thousandths and thousandths % length == 0:
            return f"{thousandths // length}{unit}"
    return f"{thousandths}ms"


def size(amount: int) -> str | int:
    """`"64MiB"`: in the largest unit of 1024 of which it is a whole number, or bytes."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if amount and amount % 1024**power == 0:
            return f"{amount // 1024**power}{unit}"
    return amount


def toml(value: Any) -> str:
    """A value in TOML, in one line where it is not too long."""
    match value:
        case bool() | float() | str() | None:
            return tomli_w.dumps({"k": value}).removeprefix("k = ").rstrip("\n")
        case int():
            return f"{value:_}" if value >= 100_000 else str(value)
        case Mapping():
            return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
        case Iterable():
            items = [toml(item) for item in value]
            line = f"[{', '.join(items)}]"
            return line if len(line) <= LONGEST else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    raise TypeError(type(value).__name__)


# --- in words -----------------------------------------------------------------------------------------------------


def kind(field: FieldInfo) -> str:
    """What a key holds: `text`, `duration`, `list of addresses`, `"auto", "always" or "never"`."""
    return _kind(field.annotation, field.metadata)


def _kind(annotation: Any, said: Iterable[Any]) -> str:
    for part in said:
        if (reader := getattr(part, "func", None)) in _READERS:
            return _READERS[reader]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0], inner[1:])
    if origin in (Union, UnionType):
        return " or ".join(_kind(one, ()) for one in inner if one is not type(None))
    if origin is tuple:
        return f"list of {_SEVERAL.get(_kind(inner[0], ()), 'texts')}"
    if origin is Literal:
        choices = [toml(choice) for choice in inner]
        return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    return _PLAIN.get(annotation, "table")


def limits(field: FieldInfo) -> str:
    """What it may be: `0.1s to 1h`, `at least 1`; empty where anything goes."""
    least = next((part.ge for part in field.metadata if hasattr(part, "ge")), None)
    most = next((part.le for part in field.metadata if hasattr(part, "le")), None)
    if least is None:
        return ""
    low = toml(written(field, least)).strip('"')
    if most is None or most >= 2**53:  # no limit that anybody comes near
        return f"at least {low}"
    return f"{low} to {toml(written(field, most)).strip(chr(34))}"
