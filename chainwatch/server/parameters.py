"""The query of a request -> what was asked for. Pure; a word that means nothing is a `UsageError` that names it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from chainwatch import filter as filters
from chainwatch.errors import UsageError
from chainwatch.filter import Filter, Vocabulary
from chainwatch.log import Cursor, parse_cursor
from chainwatch.stream.begin import EARLIEST, Start
from chainwatch.text import moment, seconds

STREAM: Final = (
    *filters.PARAMETERS,
    "since", "last_event_id", "last", "limit", "duration", "heartbeat", "named", "gap",
)  # fmt: skip
SOCKET: Final = tuple(name for name in STREAM if name != "named")
"""Of a subscription of a WebSocket, whose events always say their type."""
HISTORY: Final = (*filters.PARAMETERS, "since", "until", "last", "cursor", "limit")
MAX_PAGE: Final = 1000
"""Events of one page of history."""

_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as it was asked for."""

    wanted: Filter
    start: Start
    named: bool
    limit: int | None = None
    duration: float | None = None
    """Seconds."""
    heartbeat: float | None = None
    """Seconds; None: the server's."""
    gap_fails: bool = False
    """A gap is 410."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of history as it was asked for."""

    wanted: Filter
    start: Start
    cursor: Cursor | None
    """Continue after it; it goes before `start`."""
    until: int | None
    """Unix milliseconds: only what was told before; None for all there is."""
    limit: int


def stream(
    query: Iterable[tuple[str, str]],
    vocabulary: Vocabulary,
    *,
    now: int,
    last_event_id: str = "",
    only: str | None = None,
    names: bool = False,
    known: tuple[str, ...] = STREAM,
) -> Asked:
    """
    The stream that this query asks for, at the Unix time `now` in milliseconds. `last_event_id` is the header's;
    `only` the type or category of a route of its own, whose events are named; so are those of a route that `names`.
    `known`: the parameters that there are.
    """
    given = _by_name(query, known)
    resume = last_event_id or _one(given, "last_event_id") or ""
    named = _boolean(given, "named")
    return Asked(
        wanted=_wanted(given, vocabulary, only),
        start=Start(resume=resume, since=_moment(given, "since", now), last=_whole(given, "last", 0, 10**9)),
        named=(names or only is not None) if named is None else named,
        limit=_whole(given, "limit", 1, 10**15),
        duration=_duration(given, "duration", 0.001, 10**9),
        heartbeat=_duration(given, "heartbeat", 0.1, 3600),
        gap_fails=_choice(given, "gap", ("event", "fail")) == "fail",
    )


def history(query: Iterable[tuple[str, str]], vocabulary: Vocabulary, *, now: int) -> Page:
    """The page of history that this query asks for, at the Unix time `now` in milliseconds."""
    given = _by_name(query, HISTORY)
    text = _one(given, "cursor")
    cursor = parse_cursor(text) if text else None
    if text and cursor is None:
        raise UsageError(
            f"{text!r} is no cursor",
            parameter="cursor",
            value=text,
            hint="a cursor is the id of an event in a stream, or `next` of a page",
        )
    last = _whole(given, "last", 0, 10**9)
    since = _moment(given, "since", now) if "since" in given else EARLIEST if last is None else None
    until = _moment(given, "until", now)
    if last is not None and until is not None:
        raise UsageError("last and until do not go together", parameter="until", hint="the last are those before now")
    return Page(
        wanted=_wanted(given, vocabulary, None),
        start=Start(since=since, last=last),
        cursor=cursor,
        until=until,
        limit=_whole(given, "limit", 1, MAX_PAGE) or 100,
    )


def _by_name(query: Iterable[tuple[str, str]], known: tuple[str, ...]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for name, value in query:
        if name not in known:
            close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
            raise UsageError(
                f"unknown parameter {name!r}",
                parameter=name,
                value=name,
                nearest=close[0] if close else "",
                hint="" if close else f"there is: {', '.join(known)}",
            )
        given.setdefault(name, []).append(value)
    return given


def _wanted(given: dict[str, list[str]], vocabulary: Vocabulary, only: str | None) -> Filter:
    types = filters.resolve_types([only], vocabulary, "type") if only is not None else frozenset[str]()
    return filters.parse(given, vocabulary, types)


def _one(given: dict[str, list[str]], name: str) -> str | None:
    values = given.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise UsageError(
            f"{name} is given {len(values)} times", parameter=name, value=", ".join(values), hint=f"give {name} once"
        )
    return values[0]


def _whole(given: dict[str, list[str]], name: str, least: int, most: int) -> int | None:
    text = _one(given, name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
        raise UsageError(
            f"{text!r} is no {name}",
            parameter=name,
            value=text,
            hint=f"{name} is a whole number from {least} to {most}",
        )
    return int(text)


def _boolean(given: dict[str, list[str]], name: str) -> bool | None:
    text = _choice(given, name, tuple(_BOOLEANS), shown=("true", "false"))
    return None if text is None else _BOOLEANS[text]


def _choice(
    given: dict[str, list[str]], name: str, choices: tuple[str, ...], shown: tuple[str, ...] = ()
) -> str | None:
    text = _one(given, name)
    if text is None or text.lower() in choices:
        return None if text is None else text.lower()
    close = difflib.get_close_matches(text.lower(), shown or choices, n=1, cutoff=0.3)
    raise UsageError(
        f"{text!r} is no value of {name}",
        parameter=name,
        value=text,
        nearest=close[0] if close else "",
        hint="" if close else f"{name} is {' or '.join(shown or choices)}",
    )


def _duration(given: dict[str, list[str]], name: str, least: float, most: float) -> float | None:
    text = _one(given, name)
    if text is None:
        return None
    found = seconds(text)
    if found is None or not least <= found <= most:
        raise UsageError(
            f"{text!r} is no {name}",
            parameter=name,
            value=text,
            hint=f"{name} is seconds, such as 30, or a number with its unit, such as 500ms or 1m; "
            f"from {least:g} to {most:g} seconds",
        )
    return found


def _moment(given: dict[str, list[str]], name: str, now: int) -> int | None:
    """Unix milliseconds, `EARLIEST`, or None for now."""
    text = _one(given, name)
    if text is None or text.lower() == "now":
        return None
    if text.lower() == "earliest":
        return EARLIEST
    found = moment(text, now)
    if found is None:
        raise UsageError(
            f"{text!r} is no time",
            parameter=name,
            value=text,
            hint=f"{name} is earliest, now, an age such as 15m, or a time such as 2025-06-24T07:00:00Z",
        )
    return max(1, found)
