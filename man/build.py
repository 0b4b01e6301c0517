"""
Writes what is said twice from where it is said first: `python man/build.py`, after every change of one of these.

    chainwatch.1             its prose (chainwatch.1.in) and the help of the commands (chainwatch/cli)
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from chainwatch import cli, schema
from chainwatch.config import document, written
from chainwatch.config.model import SINGLE, TABLES, Settings
from chainwatch.examples import CUSTOM, EXAMPLES
from chainwatch.payloads import CATEGORIES, PAYLOADS

HERE: Final = Path(__file__).parent
FRAME: Final = ("config", "verbose", "quiet", "color")
"""What is said of all commands at once."""

_PLACE: Final = re.compile(r"@(fields|types|example|tables|summaries|commands?) ?(\w*)@")
"""A line of the prose where the catalogue speaks, or the settings, or the commands."""


def made() -> dict[Path, str]:
    """The text of each file that is made."""
    pages = ("chainwatch.1", "chainwatch.toml.5", "chainwatch-events.7")
    return {
        **{HERE / name: "\n".join(_lines(f"{name}.in")) + "\n" for name in pages},
        HERE.parent / "chainwatch.example.toml": document.example(),
    }


def _lines(page: str) -> Iterator[str]:
    forms = schema.definitions([*PAYLOADS, "custom"], "{name}")
    text = (HERE / page).read_text("utf-8")
    for line in text.splitlines():
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
            case found if found[1] == "summaries":
                yield from _summaries()
            case found if found[1] == "command":
                yield from _command(found[2])
            case found if found[1] == "commands":  # those of which the prose has nothing to add
                for name in cli.COMMANDS:
                    if f"@command {name}@" not in text:
                        yield from _command(name)
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


# --- commands -----------------------------------------------------------------------------------------------------


def _summaries() -> Iterator[str]:
    yield ".Bl -tag -width Ds"
    for name, command in cli.COMMANDS.items():
        yield f".It Cm {name}"
        yield from prose(command.summary)
    yield ".El"


def _command(name: str) -> Iterator[str]:
    """What its `--help` says, and that of the commands in it."""
    group: Any = typer.main.get_command(cli._app)  # noqa: SLF001  # it is what `chainwatch` runs
    root = group.context_class(group, info_name="chainwatch")
    command = group.get_command(root, name)
    context = command.context_class(command, info_name=name, parent=root)
    yield f".Ss {name}"
    inner = [command.get_command(context, one) for one in getattr(command, "commands", ())]
    if inner:
        yield from _paragraphs(command.help)
    for number, one in enumerate(inner or [command]):
        if number or inner:
            yield ".Pp"
        yield from _usage([name, one.name] if inner else [name], one, one.context_class(one, parent=context))


def _usage(path: list[str], command: Any, context: Any) -> Iterator[str]:
    listed = [
        (_Left.of(left, required=parameter.required), right)
        for parameter in command.params
        # A hidden argument is one of which the text speaks; a hidden option is hidden.
        if parameter.name not in FRAME and not (parameter.hidden and parameter.opts[0].startswith("-"))
        for left, right in [parameter.get_help_record(context) or (_argument(parameter), "")]
    ]
    yield ".Bd -ragged -compact"
    yield f".Nm chainwatch Cm {' '.join(path)}"
    yield from (left.usage() for left, _ in listed)
    yield ".Ed"
    yield ".Pp"
    yield from _paragraphs(command.help)
    if any(right for _, right in listed):
        yield ".Bl -tag -width Ds"
        for left, right in listed:
            if right:
                yield left.item()
                yield from _said(right)
        yield ".El"
    if command.epilog:
        yield ".Pp"
        yield f".Dl $ {escaped(command.epilog.removeprefix(cli.WHOLE).removeprefix('Example: '))}"


def _argument(parameter: Any) -> str:
    """An argument that is explained by the prose above."""
    name = str(parameter.metavar or parameter.name)
    return f"{name} ..." if parameter.nargs != 1 and "..." not in name else name


_OPTION: Final = re.compile(r"-{1,2}[\w-]+")
_BRACKETS: Final = re.compile(r" +\[((?:default|env var|required|[\d.]*<?=?x)[^]]*)\]")
"""What is said of an option behind its help: the default, the variable, the limits."""


def _said(right: str) -> Iterator[str]:
    """The right column of a help."""
    told = [part for found in _BRACKETS.findall(right) for part in found.split("; ") if part != "required"]
    if sum(part.startswith("default:") for part in told) > 1:  # ours in words, and typer's
        told.remove(next(part for part in reversed(told) if part.startswith("default:")))
    words = [re.sub(r"(.*)<=x<=(.*)", r"\1 to \2", re.sub(r"x>=(.*)", r"at least \1", part)) for part in told]
    yield from prose(_BRACKETS.sub("", right))
    if words:
        yield f".Pq {escaped(', '.join(words).replace('env var:', 'variable'))}"


@dataclass(frozen=True, slots=True)
class _Left:
    """The left column of a help: `-t, --type TYPE`, `--follow / --no-follow`, `NAME <str>`."""

    names: tuple[str, ...]
    """As mdoc has them; none for an argument."""
    value: str
    required: bool

    @classmethod
    def of(cls, left: str, *, required: bool) -> _Left:
        before, _, choices = left.partition("<")
        names = tuple(f"Fl {name.removeprefix('-')}" for name in _OPTION.findall(before))
        if names and choices:
            return cls(names, f" Cm {choices.removesuffix('>').replace('|', ' | ')}", required)
        value = _OPTION.split(before)[-1].strip(" []/").lower().replace("|", " | ")
        return cls(names, f" Ar {value}" if value else "", required)

    def usage(self) -> str:
        names = " | ".join(self.names if not self.value else self.names[:1])
        return f"{'.' if self.required else '.Op '}{(names + self.value).strip()}"

    def item(self) -> str:
        return ".It " + " , ".join(f"{name}{self.value}".strip() for name in self.names or ("",))


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".Pp"
        yield from prose(" ".join(paragraph.split()))


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
