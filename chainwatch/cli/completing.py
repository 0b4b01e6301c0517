"""
What may stand where the cursor is: commands, options, and the values of those by their metavars. No shell, no file.

What a word can be is known by the declarations of the commands alone, so a new command is completed as soon as it is
there: a parameter whose metavar is CHAIN takes a chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from typer.core import TyperGroup

from chainwatch.cli import COMMANDS


class Candidate(NamedTuple):
    """A word that may stand there, and what it means."""

    word: str
    meaning: str = ""


FILES: Final = (Candidate("/"),)
"""The name of a file: the shell knows better."""

Known = Callable[[str, str, Path | None], Iterable[Candidate]]
"""A command, a metavar of it and the -c that was given -> the words that are known for it."""

_HELP: Final = Candidate("--help", "Show this message and exit.")
_FILES: Final = frozenset({"FILE", "PATH", "FOLDER"})
_TIMES: Final = tuple(map(Candidate, ("now", "earliest", "15m", "1h", "24h", "7d")))


def candidates(group: Any, words: Sequence[str], known: Known) -> Sequence[Candidate]:
    """What the last of `words`, which stand behind the program's name, may become; `FILES` for a file's name."""
    *before, last = words or [""]
    command: Any = group
    awaiting: Any = None  # the option whose value comes next
    config: Path | None = None
    path: list[str] = []  # of the command
    place = 0  # of the next argument
    options = True
    for word in before:
        if awaiting is not None:
            if word == "=":  # bash cuts --type=block into three
                continue
            config = Path(word).expanduser() if awaiting.name == "config" else config
            awaiting = None
        elif options and word == "--":
            options = False
        elif options and word.startswith("-") and word != "-":
            name, equals, value = word.partition("=")
            option = _option(command, name)
            if option is not None and _takes_value(option):
                awaiting = None if equals else option
                config = Path(value).expanduser() if equals and option.name == "config" else config
        elif isinstance(command, TyperGroup):
            if (command := command.get_command(None, word)) is None:  # type: ignore[arg-type]  # ours needs no context
                return ()
            path.append(word)
        else:
            place += 1

    def values(parameter: Any, last: str) -> Sequence[Candidate]:
        return _values(parameter, last, lambda metavar: known(" ".join(path), metavar, config))

    if awaiting is not None:
        return values(awaiting, "" if last == "=" else last)
    if options and last.startswith("--") and "=" in last:
        name, _, value = last.partition("=")
        found = values(_option(command, name), value)
        return found if found is FILES else [Candidate(f"{name}={word}", meaning) for word, meaning in found]
    if options and last.startswith("-"):
        return _beginning(last, _options(command))
    if isinstance(command, TyperGroup):
        return _beginning(last, _commands(command))
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    if not arguments or (place >= len(arguments) and arguments[-1].nargs != -1):
        return _beginning(last, _options(command))
    return values(arguments[min(place, len(arguments) - 1)], last)


def _beginning(lead: str, found: Iterable[Candidate]) -> list[Candidate]:
    return [one for one in found if one.word.startswith(lead)]


def _commands(group: Any) -> Iterable[Candidate]:
    for name in group.list_commands(None):
        # Of the program's own commands none is imported for this.
        known = COMMANDS.get(name) if group.name == "chainwatch" else None
        yield Candidate(name, known.summary if known else group.get_command(None, name).get_short_help_str(80))


def _option(command: Any, name: str) -> Any:
    every = (one for one in command.params if one.param_type_name == "option")
    return next((one for one in every if name in (*one.opts, *one.secondary_opts)), None)


def _options(command: Any) -> Iterable[Candidate]:
    for one in command.params:
        if one.param_type_name == "option" and not one.hidden:
            every = (*one.opts, *one.secondary_opts)
            long = [name for name in every if name.startswith("--")]
            yield from (Candidate(name, one.help or "") for name in long or every)
    yield _HELP


def _takes_value(option: Any) -> bool:
    return not (option.is_flag or option.count)


def _values(parameter: Any, last: str, known: Callable[[str], Iterable[Candidate]]) -> Sequence[Candidate]:
    if parameter is None or (parameter.param_type_name == "option" and not _takes_value(parameter)):
        return ()
    if choices := get_args(parameter.type_descriptor.annotation):
        words = [Candidate(word) for word in choices if isinstance(word, str)]
        if words:
            return _beginning(last, words)
    if parameter.metavar in _FILES:
        return FILES
    if parameter.metavar == "TIME":
        return _beginning(last, _TIMES if parameter.name in ("since", "until") else ())
    # Values may stand together, with commas: the last of them is completed.
    lead, comma, rest = last.rpartition(",")
    return [
        Candidate(f"{lead}{comma}{one.word}", one.meaning) for one in _beginning(rest, known(parameter.metavar or ""))
    ]


_UNSAFE: Final = frozenset(" \t\n\"'`$\\<>|;&()*?[]{}!#~")


def shown(found: Sequence[Candidate], shell: str) -> list[str]:
    """
    Lines for the scripts of `completion`. A word that a shell would take for something else is left out: a
    configuration may hold anything.
    """
    if found is FILES:
        return ["/"]
    safe = [one for one in found if one.word.isprintable() and _UNSAFE.isdisjoint(one.word)]
    return [_FORMS[shell](one.word, " ".join(one.meaning.split())) for one in safe]


_FORMS: Final[Mapping[str, Callable[[str, str], str]]] = {
    "bash": lambda word, _: word,
    "zsh": lambda word, meaning: word.replace(":", "\\:") + (f":{meaning}" if meaning else ""),
    "fish": lambda word, meaning: word + (f"\t{meaning}" if meaning else ""),
}
