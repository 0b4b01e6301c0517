"""
The filter of the monitor, as people type it: the words of the contract, and what could stand where one has begun.

    token_transfer swap chains=base token=USDC min_amount=1000000 where=data.amount > 1e18 && !removed

A word alone is a type or a category; `name=value` is a parameter of a stream; `where=` takes the rest of the line. What
the words mean the daemon decides. Pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from chainwatch.errors import UsageError
from chainwatch.payloads import NAMES, PAYLOADS

PARAMETERS: Final = ("types", "filters", "address", "token", "chains", "min_amount", "where")
_SINGLE: Final = ("min_amount", "where")
_OTHERS: Final = {"type": "types", "filter": "filters", "chain": "chains", "addresses": "address", "tokens": "token"}
_WHERE: Final = re.compile(r"(?:^|\s)where=")
_FIELDS: Final = sorted({f"data.{name}" for payload in PAYLOADS.values() for name in payload.__struct_encode_fields__})
_ENVELOPE: Final = ("type", "chain", "timestamp", "observed_at", "removed")
MOST: Final = 40
"""Words offered at most."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the daemon has been seen to have."""

    chains: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    """Custom ones."""


def parameters(text: str) -> dict[str, str | list[str]]:
    """What `client.stream` takes by these names. `UsageError` for a parameter that there is not."""
    found: dict[str, str | list[str]] = {}
    words, where = _split(text)
    lists: dict[str, list[str]] = {}
    for word in words.split():
        name, equals, value = word.partition("=")
        if not equals:
            lists.setdefault("filters", []).append(word)
            continue
        name = _OTHERS.get(name, name)
        if name not in PARAMETERS:
            close = difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=0.5)
            raise UsageError(
                f"no parameter {name!r}",
                parameter=name,
                value=name,
                nearest=f"{close[0]}=" if close else "",
                hint="" if close else f"there is: {', '.join(PARAMETERS)}",
            )
        if not value:
            raise UsageError(f"{name}= needs a value", parameter=name)
        lists.setdefault(name, []).append(value)
    for name, values in lists.items():
        if name in _SINGLE and len(values) > 1:
            raise UsageError(f"{name}= is given twice", parameter=name)
        found[name] = values[0] if name in _SINGLE else values
    if where is not None:
        if not where.strip():
            raise UsageError("where= needs an expression", parameter="where", hint="such as data.amount > 1e18")
        found["where"] = where.strip()
    return found


def offers(text: str, known: Known) -> tuple[str, list[str]]:
    """What has been typed of the last word, and the words that begin like that, or else have it in them."""
    words, where = _split(text)
    if where is not None:
        last = re.split(r"[^\w.]", where)[-1]
        return last, _matching(last, [*_FIELDS, *_ENVELOPE]) if last else []
    last = "" if not words or words[-1].isspace() else words.split()[-1]
    name, equals, value = last.partition("=")
    if not equals:
        return last, _matching(last, [*NAMES, *known.types, *(f"{one}=" for one in PARAMETERS)])
    values: Mapping[str, Iterable[str]] = {
        "types": NAMES,
        "filters": NAMES,
        "chains": known.chains,
        "token": known.tokens,
        "address": known.addresses,
    }
    last = value.rpartition(",")[2]
    return last, _matching(last, values.get(_OTHERS.get(name, name), ()))


def completed(text: str, begun: str, word: str) -> str:
    """The text with its last word whole, and room for the next where it is."""
    whole = text[: len(text) - len(begun)] + word
    return whole if word.endswith("=") or _WHERE.search(whole) else whole + " "


def _split(text: str) -> tuple[str, str | None]:
    """The words, and the expression; None where there is none."""
    found = _WHERE.search(text)
    return (text, None) if found is None else (text[: found.start()], text[found.end() :])


def _matching(begun: str, words: Iterable[str]) -> list[str]:
    lower, unique = begun.lower(), dict.fromkeys(words)
    if not lower:
        return list(unique)[:MOST]
    front = [word for word in unique if word.lower().startswith(lower)]
    within = [word for word in unique if lower in word.lower() and word not in front]
    return [word for word in front + within if word != begun][:MOST]
