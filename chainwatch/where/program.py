"""
A checked tree -> a function of an event. One closure for each part; they are called for every event that a stream could
want, so what is known before is done before, and the usual question (a field against a constant) is one call.

The environment holds the variables by name, and under `METER` what this evaluation may still do. What is no error of
the language is raised nowhere here: a bug would otherwise be a stranger's way to stop the daemon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chainwatch.where.functions import CHARACTERS, FUNCTIONS
from chainwatch.where.syntax import (
    Binary,
    Call,
    Choice,
    Convert,
    Each,
    Has,
    Index,
    Items,
    Literal,
    Logic,
    Name,
    Node,
    Select,
    Unary,
    size,
)
from chainwatch.where.values import (
    SLOW,
    Meter,
    Ratio,
    Span,
    Undecided,
    compute,
    equal,
    fraction,
    is_address,
    number,
    order,
    shift,
)

METER: Final = "@"
LONGEST: Final = 65_536
"""Characters of the longest text that `+` makes."""

Environment = dict[str, Any]
Run = Callable[[Environment], Any]


def compiled(node: Node) -> Run:
    """The function: the value, or `Undecided`."""
    match node:
        case Literal(value=value):
            return lambda _: value
        case Name(name=name):
            return lambda env: env[name]
        case Select(of=of, field=field):
            return _select(compiled(of), field)
        case Has(of=of, field=field):
            return _has(compiled(of), field)
        case Index(of=of, key=key):
            return _index(compiled(of), compiled(key))
        case Items(items=items):
            runs = [compiled(item) for item in items]
            return lambda env: [run(env) for run in runs]
        case Convert(of=of, exact=exact, strict=strict):
            return _convert(compiled(of), exact=exact, strict=strict)
        case Logic(operator=operator, parts=parts):
            return _logic([compiled(part) for part in parts], decides=operator == "||")
        case Choice(when=when, yes=yes, no=no):
            return _choice(compiled(when), compiled(yes), compiled(no))
        case Unary(operator="!", of=of):
            return _not(compiled(of))
        case Unary(of=of):
            return _negative(compiled(of))
        case Binary(operator="in"):
            return _in(node)
        case Binary(operator="==" | "!=" as operator, left=left, right=right):
            return _equality(operator, left, right)
        case Binary(operator="<" | "<=" | ">" | ">=" as operator, left=left, right=right):
            return _ordering(operator, compiled(left), compiled(right))
        case Binary(operator=operator, left=left, right=right):
            return _arithmetic(operator, compiled(left), compiled(right))
        case Each(macro=macro, of=of, name=name, body=body):
            return _each(macro, compiled(of), name, compiled(body), 2 + size(body))
        case Call(function=function, arguments=arguments):
            return _call(function, arguments)
    raise AssertionError(node)


# --- parts of values ----------------------------------------------------------------------------------------------


def _select(of: Run, field: str) -> Run:
    def run(env: Environment) -> Any:
        value = of(env)
        if type(value) is dict and field in value:
            return value[field]
        raise Undecided(field)

    return run


def _has(of: Run, field: str) -> Run:
    def run(env: Environment) -> bool:
        value = of(env)
        if type(value) is dict:
            return field in value
        raise Undecided(field)

    return run


def _index(of: Run, key: Run) -> Run:
    def run(env: Environment) -> Any:
        value, place = of(env), key(env)
        if type(value) is dict and type(place) is str and place in value:
            return value[place]
        if type(value) is list and type(place) is not str:
            place = number(place)
            if type(place) is Ratio and place.numerator % place.denominator == 0:
                place = place.numerator // place.denominator
            if type(place) is int and 0 <= place < len(value):
                return value[place]
        raise Undecided("no such part")

    return run


def _convert(of: Run, *, exact: bool, strict: bool) -> Run:
    as_number = fraction if exact else number

    def run(env: Environment) -> Any:
        value = of(env)
        found = as_number(value)
        if found is not None:
            return found
        if strict:
            raise Undecided("no number")
        return value

    return run


# --- logic --------------------------------------------------------------------------------------------------------


def _logic(parts: list[Run], *, decides: bool) -> Run:
    """`&&` is decided by the first false part, `||` by the first true one, whatever errors there are beside it."""

    def run(env: Environment) -> bool:
        undecided = False
        for part in parts:
            try:
                value = part(env)
            except Undecided:
                undecided = True
                continue
            if value is decides:
                return bool(value)
            undecided = undecided or type(value) is not bool
        if undecided:
            raise Undecided("neither true nor false")
        return not decides

    return run


def _choice(when: Run, yes: Run, no: Run) -> Run:
    def run(env: Environment) -> Any:
        value = when(env)
        if value is True:
            return yes(env)
        if value is False:
            return no(env)
        raise Undecided("neither true nor false")

    return run


def _not(of: Run) -> Run:
    def run(env: Environment) -> bool:
        value = of(env)
        if type(value) is not bool:
            raise Undecided("neither true nor false")
        return not value

    return run


def _each(macro: str, of: Run, name: str, body: Run, cost: int) -> Run:
    """As `||` of all items (`exists`), or `&&` (`all`); `exists_one` knows only where there is no error."""

    def run(env: Environment) -> bool:
        values = of(env)
        if type(values) not in (list, dict):
            raise Undecided("no list")
        spend = env[METER].spend
        undecided = False
        count = 0
        for value in values:
            spend(cost)
            env[name] = value
            try:
                found = body(env)
            except Undecided:
                undecided = True
                continue
            if type(found) is not bool:
                undecided = True
            elif macro == "exists_one":
                count += found
            elif found is (macro == "exists"):
                return bool(found)
        if undecided:
            raise Undecided("neither true nor false")
        return count == 1 if macro == "exists_one" else macro == "all"

    return run


# --- comparisons --------------------------------------------------------------------------------------------------


def _equality(operator: str, left: Node, right: Node) -> Run:
    if isinstance(left, Literal):  # the constant to the right
        left, right = right, left
    run = _equals_text(left, right.value) if isinstance(right, Literal) and type(right.value) is str else None
    run = run or _equals(compiled(left), compiled(right))
    if operator == "==":
        return run
    return lambda env: not run(env)


def _equals(left: Run, right: Run) -> Run:
    return lambda env: equal(left(env), right(env), env[METER])


def _equals_text(left: Node, text: str) -> Run | None:
    """Against a constant text: what most expressions ask."""
    if is_address(text):
        return None
    of = compiled(left)

    def run(env: Environment) -> bool:
        value = of(env)
        if type(value) is str:
            return value == text
        return equal(value, text, env[METER])

    return run


def _ordering(operator: str, left: Run, right: Run) -> Run:
    match operator:
        case "<":
            return lambda env: order(left(env), right(env), env[METER]) < 0
        case "<=":
            return lambda env: order(left(env), right(env), env[METER]) <= 0
        case ">":
            return lambda env: order(left(env), right(env), env[METER]) > 0
    return lambda env: order(left(env), right(env), env[METER]) >= 0


def _in(node: Binary) -> Run:
    left, right = compiled(node.left), compiled(node.right)
    texts: frozenset[str] = frozenset()
    match node.right:
        case Items(items=items) if all(isinstance(item, Literal) and type(item.value) is str for item in items):
            constants = [item.value for item in items if isinstance(item, Literal)]
            texts = frozenset(text.lower() if is_address(text) else text for text in constants)

    def run(env: Environment) -> bool:
        value = left(env)
        if texts and type(value) is str:
            return value in texts or (is_address(value) and value.lower() in texts)
        values = right(env)
        if type(values) is dict:
            return type(value) is str and value in values
        if type(values) is not list:
            raise Undecided("no list")
        meter = env[METER]
        meter.spend(2 * len(values))
        return any(equal(value, one, meter) for one in values)

    return run


# --- numbers, and functions ---------------------------------------------------------------------------------------


def _negative(of: Run) -> Run:
    def run(env: Environment) -> Any:
        value = of(env)
        if type(value) is Span:
            return Span(-value.ns)
        found = number(value)
        if found is None:
            raise Undecided("no number")
        return -found if isinstance(found, int) else Ratio(-found.numerator, found.denominator)

    return run


def _arithmetic(operator: str, left: Run, right: Run) -> Run:
    def run(env: Environment) -> Any:
        a, b = left(env), right(env)
        if operator == "+" and type(a) is str and type(b) is str:
            if len(a) + len(b) > LONGEST:
                raise Undecided("a text too long")
            env[METER].spend((len(a) + len(b)) // CHARACTERS)
            return a + b
        x, y = number(a), number(b)
        if x is not None and y is not None:
            return compute(operator, x, y)
        return shift(operator, a, b, env[METER])

    return run


def _call(function: str, arguments: tuple[Node, ...]) -> Run:
    does = FUNCTIONS[function].does
    match arguments:
        case (Literal(value=str(text)),) if function in ("timestamp", "duration"):
            constant = does(Meter(SLOW), text)
            return lambda _: constant
        case (only,):
            one = compiled(only)
            return lambda env: does(env[METER], one(env))
        case (first, second):
            one, other = compiled(first), compiled(second)
            return lambda env: does(env[METER], one(env), other(env))
    raise AssertionError(arguments)
