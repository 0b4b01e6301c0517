"""
A configuration file out of the descriptions of its keys: the example, and what `chainwatch init` writes.

What is given stands there as it is; every other key stands behind a bare `#`, with its default, or with an example and
the word. So whoever reads the file sees all there is, and takes away one character to change it. Pure: text from text.

`python man/build.py` writes chainwatch.example.toml with this.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chainwatch.config.model import SINGLE, TABLES, Settings
from chainwatch.config.references import CHAINLINK_ONLY, WEB_ONLY
from chainwatch.config.written import default, toml

Table = Mapping[str, Any]
"""Keys with their values, as they are written in TOML."""

WIDTH: Final = 120

HEAD: Final = """\
Durations: "250ms", "15s", "1m", "12h", "7d", or a number of seconds. Sizes: "64MiB" (1024), "4GB" (1000), or a number \
of bytes. Relative paths start at the folder of this file. A variable such as CHAINWATCH_SERVER_PORT or \
CHAINWATCH_LOG_PATH wins over the tables that are there once, and a flag over both. An unknown key is an error."""

_EXAMPLE: Final = (
    """The configuration of chainwatch: every key, its default, and what it means.

Copy it to ~/.config/chainwatch/chainwatch.toml or /etc/chainwatch/chainwatch.toml, or name it with -c; or let \
`chainwatch init` write one. A key behind a bare # shows its default; what is not there by default is marked "example".

"""
    + HEAD
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """A table of an array, as an example shows it: by what its keys are told apart, and what does not belong to it."""

    title: str
    fixed: Table
    without: Collection[str]


_SHAPES: Final[Mapping[str, Sequence[_Shape]]] = {
    "prices": (
        _Shape("a price that a Chainlink feed on a chain tells", {"source": "chainlink"}, WEB_ONLY),
        _Shape("a price that is asked for over HTTP", {"source": "coingecko"}, CHAINLINK_ONLY),
    )
}
"""Arrays whose tables are of several kinds; the first that agrees with a table is its kind."""

_SHOWN: Final = ("chains", "tokens")
"""Arrays of which the example has a table that counts."""


def example() -> str:
    """chainwatch.example.toml."""
    return write({name: [_required(TABLES[name])] for name in _SHOWN}, _EXAMPLE)


def write(tables: Mapping[str, Table | Sequence[Table]], head: str = HEAD) -> str:
    """
    A configuration file with these tables, and comments on each key that there is. Of several tables of an array the
    first is written out with every key, the others with what they have.
    """
    parts = ["\n".join(_comment(head))]
    for name, model in TABLES.items():
        given = tables.get(name, ())
        described = Settings.model_fields[name].description or ""
        if name in SINGLE:
            table = given if isinstance(given, Mapping) else {}
            parts.append("\n".join([*_comment(described), f"[{name}]", *_keys(model, table, set())]))
        elif not isinstance(given, Mapping):
            parts += _array(name, model, described, given)
    return "\n\n".join(parts) + "\n"


def _array(name: str, model: Any, described: str, given: Sequence[Table]) -> Iterator[str]:
    shapes = _SHAPES.get(name, (_Shape("", {}, ()),))
    told: set[str] = set()
    for number, table in enumerate(given):
        if number:
            yield "\n".join([f"[[{name}]]", *_plain(table)])
        else:
            keys = _keys(model, table, told, _left_out(shapes, table))
            yield "\n".join([*_comment(described), f"[[{name}]]", *keys])
    if given:
        return
    for number, shape in enumerate(shapes):
        title = "" if number else described
        titles = [*_comment(title), *_comment(f"Example: {shape.title}." if shape.title else "")]
        lines = _keys(model, {**_required(model), **shape.fixed}, told, shape.without)
        # Prose stays behind "# "; what could count is behind a bare "#".
        yield "\n".join([*titles, *(line if line.startswith("#") else f"#{line}" for line in (f"[[{name}]]", *lines))])


def _left_out(shapes: Sequence[_Shape], table: Table) -> Collection[str]:
    for shape in shapes:
        if all(table.get(key) == value for key, value in shape.fixed.items()):
            return shape.without
    return ()


def _keys(model: Any, given: Table, told: set[str], without: Collection[str] = ()) -> Iterator[str]:
    """Each key: what it means, unless that was `told`, then its line."""
    for key, field in model.model_fields.items():
        if key in without:
            continue
        if key not in told:
            told.add(key)
            yield from _comment(field.description)
        if key in given:
            yield f"{key} = {toml(given[key])}"
        else:
            computed = field.default is None and field.default_factory is None
            yield f"#{key} = {toml(default(field))}" + ("  # example" if computed else "")


def _plain(table: Table) -> Iterator[str]:
    return (f"{key} = {toml(value)}" for key, value in table.items())


def _required(model: Any) -> dict[str, Any]:
    """The keys that have to be there, with their examples."""
    return {key: field.examples[0] for key, field in model.model_fields.items() if field.is_required()}


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.split("\n") if text else ():
        wrapped = textwrap.wrap(paragraph, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
        yield from (f"# {line}" for line in wrapped) if wrapped else ("#",)
