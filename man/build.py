"""
Writes what is said twice from where it is said first: `python man/build.py`, after every change of one of these.

    chainwatch-events.7      its prose (chainwatch-events.7.in) and the catalogue (chainwatch/payloads.py)
    chainwatch.toml.5        its prose (chainwatch.toml.5.in) and the settings (chainwatch/config/model.py)
    chainwatch.example.toml  the settings

The results are checked in, since who builds a package has no use for a build step; a test holds them against this.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from chainwatch import schema
from chainwatch.config import document, written
from chainwatch.config.model import SINGLE, TABLES, Settings
from chainwatch.examples import CUSTOM, EXAMPLES
from chainwatch.payloads import CATEGORIES, PAYLOADS

HERE: Final = Path(__file__).parent

_PLACE: Final = re.compile(r"@(fields|types|example|tables) ?(\w*)@")
"""A line of the prose where the catalogue speaks, or the settings."""


def made() -> dict[Path, str]:
    """The text of each file that is made."""
    pages = ("chainwatch-events.7", "chainwatch.toml.5")
    return {
        **{HERE / name: "\n".join(_lines(f"{name}.in")) + "\n" for name in pages},
        HERE.parent / "chainwatch.example.toml": document.example(),
    }


def _lines(prose: str) -> Iterator[str]:
    forms = schema.definitions([*PAYLOADS, "custom"], "{name}")
    for line in (HERE / prose).read_text("utf-8").splitlines():
        match _PLACE.fullmatch(line):
            case None:
                yield line
            case found if found[1] == "fields":
                yield from _fields(forms[found[2]])
            case found if found[1] == "types":
                for name in (name for name in PAYLOADS if name in CATEGORIES[found[2]]):
                    yield from _type(name, forms)
            case found if found[1] == "tables":
                for name, model in TABLES.items():
                    yield from _table(name, model)
            case _:
                yield from _example(msgspec.to_builtins(CUSTOM))


def _type(name: str, forms: dict[str, Any]) -> Iterator[str]:
    payload = PAYLOADS[name]
    form = forms[payload.__name__]
    yield f".Ss {name}"
    yield from prose(payload.DESCRIPTION)
    yield from _fields(form)
    for part in sorted({found for field in form["properties"].values() if (found := _part(field))}):
        yield ".Pp"
        yield "Each of"
        names = [field for field, said in form["properties"].items() if _part(said) == part]
        yield from _enumerated(names)
        yield "has"
        yield from _fields(forms[part])
    yield ".Pp"
    yield "For example:"
    yield from _example(msgspec.to_builtins(EXAMPLES[name]))


def _table(name: str, model: Any) -> Iterator[str]:
    yield f".Ss {f'[{name}]' if name in SINGLE else f'[[{name}]]'}"
    yield from prose(Settings.model_fields[name].description or "")
    yield ".Bl -tag -width Ds"
    for key, field in model.model_fields.items():
        yield f".It Ic {key} Pq {_setting(field)}"
        yield from prose(field.description)
    yield ".El"


def _setting(field: Any) -> str:
    """What a key holds, what it may be, and what it is where it is not given."""
    if field.is_required():
        usual = "required"
    elif field.default is None or field.default_factory is not None:
        usual = ""
    else:
        usual = f"default {written.toml(written.default(field))}"
    told = ", ".join(filter(None, (written.kind(field), written.limits(field), usual)))
    return escaped(told).replace('"', r"\(dq")


def _enumerated(names: list[str]) -> Iterator[str]:
    for place, name in enumerate(names):
        yield f".Cm {name}" + (" ," if place < len(names) - 1 else "")


def _fields(form: dict[str, Any]) -> Iterator[str]:
    yield ".Bl -tag -width Ds"
    for name, said in form["properties"].items():
        yield f".It Cm {name} Pq {_kind(said)}"
        yield from prose(said["description"])
    yield ".El"


def _part(said: dict[str, Any]) -> str | None:
    """The definition that a field, or each item of one, is made by."""
    if "items" in said:
        return _part(said["items"])
    if "allOf" in said:
        return _part(said["allOf"][0])
    return said.get("$ref")


def _kind(said: dict[str, Any]) -> str:
    """What a field holds, in a few words of mdoc."""
    if "anyOf" in said:
        return " or ".join(_kind(choice) for choice in said["anyOf"])
    if "items" in said:
        return "array of objects"
    if _part(said):
        return "object"
    if "const" in said:
        return "true"
    kinds = said["type"] if isinstance(said["type"], list) else [said["type"]]
    return " or ".join(kinds)


def _example(event: dict[str, Any]) -> Iterator[str]:
    yield ".Bd -literal -offset Ds"
    told = msgspec.json.format(msgspec.json.encode(event), indent=2).decode()
    yield from (escaped(line) for line in told.splitlines())
    yield ".Ed"


_WORD: Final = re.compile(r"(\(?)`([^`]+)`([.,:;)?!]*) ?")
_SENTENCE: Final = re.compile(r"(?<=[.:;]) (?=[A-Z`])")


def prose(text: str) -> Iterator[str]:
    """Sentences of the registry, `code` in them, as lines of mdoc."""
    for sentence in _SENTENCE.split(text):
        done = 0
        for found in _WORD.finditer(sentence):
            yield from _wrapped(sentence[done : found.start()])
            opening, word, closing = found.groups()
            yield " ".join(filter(None, (".Ql", opening, f'"{escaped(word)}"', *closing)))
            done = found.end()
        yield from _wrapped(sentence[done:])


def _wrapped(text: str) -> Iterator[str]:
    yield from map(escaped, textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False))


def escaped(text: str) -> str:
    """A line that is no macro and has no escape in it."""
    text = text.replace("\\", "\\e")
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text, "utf-8")
        sys.stdout.write(f"{path.name}: {len(text.splitlines())} lines\n")
