"""What is wrong with a command line that typer does not take, in the words of all other errors."""

from __future__ import annotations

import difflib
import re
from typing import Any, Final

from chainwatch.text import printable, redact

# It is pydantic that checks values, and it speaks to programmers.
_WORDS: Final = (
    (re.compile(r"Value error, "), ""),
    (re.compile(r"Input should be a valid (?:integer|number), unable to parse string as an? \w+"), "it is a number"),
    (re.compile(r"Input should be greater than or equal to (\S+)"), r"it is \1 or more"),
    (re.compile(r"Input should be less than or equal to (\S+)"), r"it is \1 or less"),
    (re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", re.DOTALL), r"there is no place for: \1"),
    (re.compile(r"\.$"), ""),
)


def told(error: Any) -> str:
    """The block for an error of typer."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "chainwatch"
    name = getattr(error, "option_name", "")
    if name and hasattr(error, "possibilities"):
        close = difflib.get_close_matches(name.lstrip("-"), _options(context), n=1)
        hint = f"did you mean '--{close[0]}'?" if close else f"see {path} --help"
        return f"no option {printable(redact(name), 64)!r}\n{hint}"
    what = error.format_message()
    for found, instead in _WORDS:
        what = found.sub(instead, what)
    return redact(f"{what}\nsee {path} --help")


def _options(context: Any) -> list[str]:
    """Without their dashes, in which all are alike."""
    if context is None:
        return []
    every = (name for one in context.command.params for name in (*one.opts, *one.secondary_opts))
    return [name[2:] for name in every if name.startswith("--")]
