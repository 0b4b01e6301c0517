"""
`where=`: a question about an event, in CEL (the Common Expression Language, github.com/google/cel-spec), exact on base
units.

    data.amount >= 1e18 && data.token == "ETH"
    type == "balance_changed" && data.causes.exists(c, c.kind == "gas" && c.amount < -1e16)

What is CEL's: the grammar, the precedence, the operators and functions that are offered, and errors that `&&` and `||`
overrule: a field that is not there makes what asks for it neither true nor false, and an event of which the whole is
neither does not match. What is not: numbers. CEL has 64-bit integers and floats that do not mix, and amounts are text
in JSON, up to 2^256 - 1. Here text that is a decimal number compares and computes as that number, and every number is
exact; that can only make true what is an error in CEL. Addresses are equal in any case.

Three libraries were looked at (2026): `cel-python` 0.5 (400 µs an evaluation, 150 ms to import; brings RE2, pendulum,
YAML), `common-expression-language` 0.10 (Rust, 10 µs; brings typer, rich and prompt_toolkit) and Google's
`cel-expr-python` 0.1 (C++, 10 µs, a wheel of 16 MB). All three refuse an integer of more than 64 bits, take
1000000000000000001.0 for 1e18, compare no text with a number, and give no tree to do it differently with. So this is
a parser of its own, for the part of CEL that asks about events: `tokens`, `parser` and `syntax` are the text, `shapes`
and `check` what can be known before there is an event, `values`, `functions` and `program` the rest.

The bound: an expression has at most `parser.PARTS` values and operators, inside one another at most `parser.DEPTH`, and
an evaluation takes at most `STEPS` steps in lists and long texts; beyond that it is an error, and the event does not
match. There is no recursion, no regular expression, no number of more than `values.BITS` bits.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec
import structlog

from chainwatch.event import Event
from chainwatch.where.check import check
from chainwatch.where.errors import Wrong, explained
from chainwatch.where.parser import parse
from chainwatch.where.program import METER, Environment, Run, compiled
from chainwatch.where.syntax import Logic, Node, is_long, quoted, size, written
from chainwatch.where.values import Meter, Undecided

__all__ = ["STEPS", "View", "Where", "both", "compile_where", "quoted"]

STEPS: Final = 2048
"""What one evaluation may do in lists and long texts: a step is one part of the question asked of one item, or 1,024
characters."""


class View:
    """
    One event as expressions see it: plain values, the same for a fresh event and one that was read back. They are made
    when the first asks, and what each says is kept, however many ask.
    """

    __slots__ = ("_answers", "_environment", "event", "steps")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.steps = 0
        """What was done for this event: the parts of the expressions that it was held against, and their `STEPS`."""
        self._environment: Environment | None = None
        self._answers: dict[Where, bool] | None = None

    @property
    def environment(self) -> Environment:
        found = self._environment
        if found is None:
            event = self.event
            data = event.data
            found = self._environment = {
                "id": event.id,
                "type": event.type,
                "timestamp": event.timestamp,
                "observed_at": event.observed_at,
                "chain": event.chain,
                "removed": event.removed,
                "retracts": event.retracts,
                "data": data if type(data) is dict else msgspec.to_builtins(data),
            }
        return found

    def answer(self, where: Where) -> bool:
        """Whether the event matches."""
        answers = self._answers
        if answers is None:
            answers = self._answers = {}
        found = answers.get(where)
        if found is None:
            meter = Meter(STEPS)
            found = answers[where] = where.decide(self.environment, meter)
            self.steps += where.size + STEPS - max(meter.left, 0)
        return found


class Where:
    """A compiled expression. Equal where the text is, white space, quotes and parentheses aside."""

    __slots__ = ("_failed", "_hash", "_run", "size", "text", "tree", "weight")

    def __init__(self, tree: Node, checked: Node) -> None:
        self.tree = tree
        self.text: str = written(tree)
        """The expression in its one form, printable."""
        self.size: int = size(checked)
        """Values and operators."""
        self.weight: int = self.size + (STEPS // 4 if is_long(checked) else 0)
        """What it takes for one event, about: a part is a microsecond."""
        self._run: Run = compiled(checked)
        self._hash = hash(self.text)
        self._failed = False

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Where) and self.text == other.text)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Where({self.text!r})"

    def value(self, environment: Environment, meter: Meter) -> Any:
        """What it evaluates to. `Undecided` where that is an error."""
        environment[METER] = meter
        return self._run(environment)

    def decide(self, environment: Environment, meter: Meter) -> bool:
        """Whether it is true."""
        try:
            return self.value(environment, meter) is True
        except Undecided:
            return False
        except Exception:  # noqa: BLE001  # a bug here must not be a stranger's way to stop every stream
            if not self._failed:
                self._failed = True
                _log.exception("an expression failed", where=self.text)
            return False


_log = structlog.get_logger("chainwatch.where")


def compile_where(text: str, types: frozenset[str] = frozenset()) -> Where:
    """
    The expression of that text, for events of these types (none: any). `UsageError` says what is wrong, and points at
    the character.
    """
    try:
        return _compiled(text, types)
    except Wrong as wrong:
        raise explained(wrong, text) from None


@lru_cache(maxsize=256)
def _compiled(text: str, types: frozenset[str]) -> Where:
    tree = parse(text)
    return Where(tree, check(tree, types))


def both(one: Where, other: Where) -> Where:
    """Where both hold: for an expression of the server's own beside a client's."""
    if one == other:
        return one
    tree = Logic(0, "&&", (*_parts(one.tree), *_parts(other.tree)))
    return Where(tree, check(tree, frozenset()))


def _parts(tree: Node) -> tuple[Node, ...]:
    return tree.parts if isinstance(tree, Logic) and tree.operator == "&&" else (tree,)
