"""What is in force, and by what: each key with its value as a file would have it, and where that is from. No secret."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic.fields import FieldInfo

from chainwatch.config.load import Loaded
from chainwatch.config.model import SINGLE, TABLES
from chainwatch.config.references import CHAINLINK_ONLY, WEB_ONLY
from chainwatch.config.section import Section
from chainwatch.config.written import kind, written
from chainwatch.eip55 import checksum
from chainwatch.text import HIDDEN, printable, redact_url

Origin = Literal["default", "file", "variable", "option", "built in"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One key."""

    key: str
    value: Any
    """As it is written in TOML; None where there is none. Secrets are not in it."""
    origin: Origin
    where: str | None = None
    """`/etc/chainwatch/chainwatch.toml:12`, or the variable, or the option."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table, by its name; one of an array of tables by its place in it."""

    name: str
    index: int | None
    keys: tuple[Shown, ...]


def tables(loaded: Loaded) -> Iterator[Table]:
    """Every table that is in force, in the order in which the manual has them."""
    for name in TABLES:
        if name in SINGLE:
            yield Table(name, None, tuple(_keys(loaded, getattr(loaded.settings, name), name)))
        else:
            for index, section in enumerate(getattr(loaded.settings, name)):
                yield Table(name, index, tuple(_keys(loaded, section, f"{name}[{index}]")))


_FOREIGN: Final = {"chainlink": WEB_ONLY, "coingecko": CHAINLINK_ONLY, "coinmarketcap": CHAINLINK_ONLY}


def _keys(loaded: Loaded, section: Section, place: str) -> Iterator[Shown]:
    source = getattr(section, "source", "")
    foreign = _FOREIGN.get(source, ())
    for key, field in type(section).model_fields.items():
        if key not in foreign:
            value = _harmless(field, getattr(section, key))
            if key == "min_change" and source == "chainlink" and key not in section.model_fields_set:
                value = None  # each round is told
            yield Shown(key, value, *_origin(loaded, section, place, key))


def _origin(loaded: Loaded, section: Section, place: str, key: str) -> tuple[Origin, str | None]:
    given = loaded.overlaid.get(f"{place}.{key}")
    if given is not None:
        option = given.endswith(" on the command line")
        return ("option", f"--{key}") if option else ("variable", given)
    # What a file of endpoints holds is that file's.
    if f"{place}.{key}[0]" in loaded.overlaid:
        key = f"{key}_file"
    line = loaded.lines.get(f"{place}.{key}")
    if line is not None:
        return "file", f"{loaded.path}:{line}"
    if loaded.path is None and key in section.model_fields_set:
        return "built in", None
    return "default", None


def _harmless(field: FieldInfo, value: Any) -> Any:
    if not field.repr:
        return _redacted(value)
    if kind(field) == "address" and isinstance(value, str):
        return checksum(value)
    return _printable(written(field, value))


def _redacted(value: Any) -> Any:
    """What must not be in a representation must not be shown: of a URL the host, of all else nothing."""
    if isinstance(value, tuple | list):
        return [_redacted(item) for item in value]
    if isinstance(value, str) and "://" in value:
        return redact_url(value)
    return value if value is None else HIDDEN


def _printable(value: Any) -> Any:
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return printable(value, 4096) if isinstance(value, str) else value


def nested(loaded: Loaded) -> dict[str, Any]:
    """The same for programs: tables by their names, each key with `value`, `origin` and `where`."""
    told: dict[str, Any] = {name: {} if name in SINGLE else [] for name in TABLES}
    for table in tables(loaded):
        keys = {shown.key: {"value": shown.value, "origin": shown.origin, "where": shown.where} for shown in table.keys}
        if table.index is None:
            told[table.name] = keys
        else:
            told[table.name].append(keys)
    return {"file": None if loaded.path is None else str(Path(loaded.path)), "settings": told}
