"""
What is wrong with a configuration, in words: pydantic's findings turned into problems with a place and a hint.

What was given is never repeated: it may be an endpoint with a key in it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from chainwatch.config import values
from chainwatch.config.model import SINGLE, TABLES, Settings
from chainwatch.errors import Problem
from chainwatch.text import printable


def explain(error: ValidationError, places: Mapping[str, str]) -> list[Problem]:
    """The problems of one validation. `places` says where a value came from, if not from its key in the file."""
    found = error.errors(include_url=False)
    found = [item for item in found if item["type"] != "default_factory_not_called"]  # follows from another one
    unknown: dict[tuple[Any, ...], list[str]] = {}
    for item in found:
        if item["type"] == "extra_forbidden":
            unknown.setdefault(item["loc"][:-1], []).append(str(item["loc"][-1]))
    problems = []
    for item in found:
        loc = item["loc"]
        names = _keys_at(loc)
        if item["type"] == "missing" and any(nearest(key, names) == loc[-1] for key in unknown.get(loc[:-1], ())):
            continue  # the unknown key next to it is this one, mistyped; its problem says so
        problem, hint = _words(item, loc, names)
        place = _place(loc)
        problems.append(Problem(places.get(place, place), problem, hint))
    return problems


def _words(item: Any, loc: tuple[int | str, ...], names: list[str]) -> tuple[str, str]:
    context = item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            return "unknown key", _hint_for_unknown(str(loc[-1]), loc, names)
        case "value_error":
            cause = context["error"]
            return str(cause), cause.hint if isinstance(cause, values.Wrong) else ""
        case "missing":
            return "is required", ""
        case "model_type" | "dict_type":
            return "must be a table", f"write [{loc[0]}]" if len(loc) == 1 else f"write [[{loc[0]}]]"
        case "tuple_type" if loc[0] in TABLES and len(loc) == 1:
            return "must be an array of tables", f"write [[{loc[0]}]]"
        case "tuple_type":
            return "must be a list", ""
        case "too_short" | "string_too_short":
            return "must not be empty", ""
        case "int_type":
            return "must be a whole number", ""
        case "string_type" | "path_type":
            return "must be text", ""
        case "bool_type":
            return "must be true or false", ""
        case "literal_error":
            given = item["input"] if isinstance(item["input"], str) else ""
            return f"must be {context['expected']}", did_you_mean(given, re.findall(r"'(.*?)'", context["expected"]))
        case "greater_than_equal":
            return f"must be at least {_quantity(context['ge'], loc)}", ""
        case "less_than_equal":
            return f"must be at most {_quantity(context['le'], loc)}", ""
    return str(item["msg"]), ""


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that are valid beside the last part of a place."""
    model = Settings if len(loc) == 1 else TABLES.get(str(loc[0]))
    return list(model.model_fields) if model else []


def _hint_for_unknown(key: str, loc: tuple[int | str, ...], names: list[str]) -> str:
    near = did_you_mean(key, names)
    if near or len(loc) > 1:
        return near
    home = next((name for name, model in TABLES.items() if key in model.model_fields), "")
    return "" if not home else f"it belongs in [{home}]" if home in SINGLE else f"it belongs in [[{home}]]"


def _quantity(limit: float, loc: tuple[int | str, ...]) -> str:
    """A limit with its unit, as the key would be written."""
    model = TABLES.get(str(loc[0]))
    field = model.model_fields.get(str(loc[-1])) if model else None
    readers = {getattr(part, "func", None) for part in field.metadata} if field else set()
    if values.duration in readers:
        return f"{limit:,.10g} seconds".replace(",", "_")
    if values.size in readers:
        return f"{int(limit) // 1024} KiB"
    return str(limit)


def _place(loc: tuple[int | str, ...]) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{printable(part, 64)}" for part in loc)
    return place.removeprefix(".")


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` is most likely meant to be; empty where none is close."""
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """That as a question."""
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else ""
