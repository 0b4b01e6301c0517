"""How a command prints events: the form that was asked for, and what renders it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal

from chainwatch.cli import Color, use_color
from chainwatch.errors import ChainwatchError, UsageError

if TYPE_CHECKING:
    from chainwatch.cli.printer import Notes
    from chainwatch.cli.render import Render

Output = Literal["human", "json", "template"]


def descriptor() -> int:
    """Where stdout goes. Where it is closed, the next file or socket to be opened would take its place: an error."""
    if sys.stdout is None:
        raise ChainwatchError("stdout is closed", hint="give it a file or a pipe")
    return sys.stdout.fileno()


def chosen(output: str | None, template: str | None, *, as_json: bool = False, as_csv: bool = False) -> str | None:
    """The one form that -o, --json, --csv and --format mean, if any. `UsageError` where they mean several."""
    asked = {"json": as_json, "csv": as_csv, "template": template is not None}
    forms = ([output] if output else []) + [form for form, given in asked.items() if given and form != output]
    if len(forms) > 1:
        raise UsageError(f"{' and '.join(forms)} are both asked for", hint="a line has one form")
    if forms == ["template"] and template is None:
        raise UsageError("-o template needs a template", hint="such as --format '{type} {data.amount}'")
    return forms[0] if forms else None


def renderer(output: str, template: str, types: frozenset[str] | None, notes: Notes, color: Color) -> Render:
    """What turns an event into a line of that form. `types`: those that may come, None for any."""
    from chainwatch.cli.render import Human, Template, ndjson

    if output == "json":
        return ndjson
    if output == "human":
        return Human(color=use_color(sys.stdout, color, os.environ))
    made = Template(template, types)
    for doubt in made.doubts:
        notes.say(doubt)
    return made
