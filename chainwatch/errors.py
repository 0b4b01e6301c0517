"""
Every error that a user can meet.

    ChainwatchError            what, why, what to do; an exit code
    ├── UsageError             2  the command line or a filter is wrong
    ├── ConfigError            3  the configuration is wrong (all its problems at once)
    ├── Unreachable            4  no daemon, or no node, answers
    ├── GapError               5  events that were asked for are gone, and --strict was given
    ├── TimedOut               5  what was waited for has not come
    ├── Refused                1  a daemon turned a request away: no key, not allowed, not there
    ├── BadAnswer              1  what came back is nothing that a daemon sends
    └── LogError               1  the event log cannot be used
        ├── LogInUse              another daemon writes it
        ├── LogDamaged            not a chainwatch log, or a broken one; it is left untouched
        └── LogFull               no room on the disk; nothing of the batch was written

An error carries no secret: whoever raises one redacts (see `text.redact_url`) before it gets here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class ChainwatchError(Exception):
    """One plain block for a person: `what` went wrong, `why`, and what to do about it (`hint`)."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(line for line in (self.what, self.why, self.hint) if line)


class UsageError(ChainwatchError):
    """What was typed or sent cannot be meant; `value` is the offending part, `nearest` a valid one close to it."""

    exit_code = 2

    def __init__(self, what: str, *, parameter: str = "", value: str = "", nearest: str = "", hint: str = "") -> None:
        if not hint and nearest:
            hint = f"did you mean {nearest!r}?"
        super().__init__(what, hint=hint)
        self.parameter = parameter
        self.value = value
        self.nearest = nearest


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration: its key (`chains[1].endpoints`), what is wrong, what would be right."""

    key: str
    problem: str
    hint: str = ""
    line: int | None = None
    """Where in the file, from 1."""

    def __str__(self) -> str:
        place = f"line {self.line}, {self.key}" if self.line else self.key
        return f"{place}: {self.problem}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(ChainwatchError):
    """Every problem of one configuration, with its place."""

    exit_code = 3

    def __init__(self, what: str, problems: list[Problem] | None = None, *, hint: str = "") -> None:
        self.problems = problems or []
        super().__init__(what, why="\n".join(f"  {problem}" for problem in self.problems), hint=hint)


class Unreachable(ChainwatchError):
    """Nobody answered at an address."""

    exit_code = 4


class GapError(ChainwatchError):
    """Events between what was asked for and what is kept are gone."""

    exit_code = 5


class TimedOut(ChainwatchError):
    """What was waited for has not come in time."""

    exit_code = 5


class Refused(ChainwatchError):
    """A daemon answered, and will not do what was asked; `status` is the HTTP status."""

    def __init__(self, what: str, *, status: int, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.status = status


class BadAnswer(ChainwatchError):
    """What came back is nothing that a daemon sends. Asking again would give the same."""


class LogError(ChainwatchError):
    """The event log cannot be used."""


class LogInUse(LogError):
    """Another process has the log open for writing."""


class LogDamaged(LogError):
    """The file is not a chainwatch log, or it is broken. It was not changed."""


class LogFull(LogError):
    """The disk has no room. Nothing of the batch was written; it may be tried again."""
