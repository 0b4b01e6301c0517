"""
The tree of an expression, and its text again: one text for all the ways to write the same tree (white space, comments,
quotes, parentheses, forms of a number), so that equal questions are equal values.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from chainwatch.where.values import Ratio


class Node(msgspec.Struct, frozen=True, gc=False):
    """A part of an expression."""

    at: int
    """The place in the text where it begins, from 0: of an operator, the operator."""


class Literal(Node, frozen=True, gc=False):
    value: Any
    """None, bool, int, str, or an exact `Ratio` for a number that was written with a point or an exponent."""


class Name(Node, frozen=True, gc=False):
    name: str


class Select(Node, frozen=True, gc=False):
    """`of.field`."""

    of: Node
    field: str


class Index(Node, frozen=True, gc=False):
    """`of[key]`."""

    of: Node
    key: Node


class Items(Node, frozen=True, gc=False):
    """`[a, b]`."""

    items: tuple[Node, ...]


class Call(Node, frozen=True, gc=False):
    """`function(arguments)`; a function of its receiver has that as first argument."""

    function: str
    arguments: tuple[Node, ...]
    received: bool = False
    """Written as `a.function(b)`."""


class Unary(Node, frozen=True, gc=False):
    operator: str
    of: Node


class Binary(Node, frozen=True, gc=False):
    operator: str
    left: Node
    right: Node


class Logic(Node, frozen=True, gc=False):
    """`a && b && c`, or all with `||`."""

    operator: str
    parts: tuple[Node, ...]


class Choice(Node, frozen=True, gc=False):
    """`when ? yes : no`."""

    when: Node
    yes: Node
    no: Node


class Has(Node, frozen=True, gc=False):
    """`has(of.field)`."""

    of: Node
    field: str


class Each(Node, frozen=True, gc=False):
    """`of.exists(name, body)`, and `all`, `exists_one`."""

    macro: str
    of: Node
    name: str
    body: Node


PRECEDENCE: Final = {
    "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3,
    "+": 4, "-": 4,
    "*": 5, "/": 5, "%": 5,
}  # fmt: skip
"""Of the operators between two values, as in the language's definition; `?:` is 0, `||` 1, `&&` 2."""
_UNARY: Final = 6
_MEMBER: Final = 7

_PLAIN: Final = re.compile(r"[ !#-\[\]-~]*")  # printable ASCII without the quote and the backslash
_HOSTILE: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})


def written(node: Node) -> str:
    """The text of the tree: `parse` makes the same tree of it. It has no character that could move a cursor."""
    return _written(node, 0)


def quoted(text: str) -> str:
    """A string literal."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return '"' + "".join(map(_character, text)) + '"'


def _character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if unicodedata.category(character) not in _HOSTILE:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _written(node: Node, binding: int) -> str:
    """`binding`: how tightly the place holds what stands in it; what holds less needs parentheses."""
    match node:
        case Literal(value=value):
            text, own = _literal(value)
        case Name(name=name):
            text, own = name, _MEMBER
        case Select(of=of, field=field):
            text, own = f"{_written(of, _MEMBER)}.{field}", _MEMBER
        case Index(of=of, key=key):
            text, own = f"{_written(of, _MEMBER)}[{_written(key, 0)}]", _MEMBER
        case Items(items=items):
            text, own = f"[{_listed(items)}]", _MEMBER
        case Call(function=function, arguments=(receiver, *rest), received=True):
            text, own = f"{_written(receiver, _MEMBER)}.{function}({_listed(rest)})", _MEMBER
        case Call(function=function, arguments=arguments):
            text, own = f"{function}({_listed(arguments)})", _MEMBER
        case Has(of=of, field=field):
            text, own = f"has({_written(of, _MEMBER)}.{field})", _MEMBER
        case Each(macro=macro, of=of, name=name, body=body):
            text, own = f"{_written(of, _MEMBER)}.{macro}({name}, {_written(body, 0)})", _MEMBER
        case Unary(operator=operator, of=of):
            # The language allows no `-!a`.
            same = isinstance(of, Unary) and of.operator == operator
            text, own = operator + _written(of, _UNARY if same else _MEMBER), _UNARY
        case Binary(operator=operator, left=left, right=right):
            own = PRECEDENCE[operator]
            text = f"{_written(left, own)} {operator} {_written(right, own + 1)}"
        case Logic(operator=operator, parts=parts):
            own = 1 if operator == "||" else 2
            text = f" {operator} ".join(_written(part, own + 1) for part in parts)
        case Choice(when=when, yes=yes, no=no):
            text, own = f"{_written(when, 1)} ? {_written(yes, 1)} : {_written(no, 0)}", 0
        case _:
            raise AssertionError(node)
    return text if own >= binding else f"({text})"


def _listed(nodes: tuple[Node, ...] | list[Node]) -> str:
    return ", ".join(_written(node, 0) for node in nodes)


def _literal(value: Any) -> tuple[str, int]:
    if value is None:
        return "null", _MEMBER
    if isinstance(value, bool):
        return "true" if value else "false", _MEMBER
    if isinstance(value, str):
        return quoted(value), _MEMBER
    text = _decimal(value) if isinstance(value, Ratio) else str(value)
    # `-5.size()` would be read as -(5.size()).
    return text, _UNARY if text[0] == "-" else _MEMBER


def _decimal(value: Ratio) -> str:
    """As people write it: 1e18, 2.5."""
    text = value.decimal()
    whole = text.removesuffix(".0")
    digits = whole.rstrip("0")
    zeros = len(whole) - len(digits)
    return f"{digits}e{zeros}" if whole != text and zeros > 3 else text


def walk(node: Node) -> Iterator[Node]:
    """It and all its parts."""
    rest = [node]
    while rest:
        yield (one := rest.pop())
        for name in one.__struct_fields__:
            value = getattr(one, name)
            rest += [value] if isinstance(value, Node) else value if _are_nodes(value) else ()


def size(node: Node) -> int:
    """How many parts it has: about how long it takes."""
    return sum(1 for _ in walk(node))


def is_long(node: Node) -> bool:
    """Whether how long it takes is up to the event: it looks at each item of a list, or into a text."""
    return any(
        isinstance(one, Each)
        or (isinstance(one, Call) and one.function in ("contains", "lowerAscii"))
        or (isinstance(one, Binary) and one.operator == "in" and not isinstance(one.right, Items))
        for one in walk(node)
    )


def _are_nodes(value: object) -> bool:
    return isinstance(value, tuple) and not isinstance(value, Ratio) and all(isinstance(one, Node) for one in value)


class Convert(Node, frozen=True, gc=False):
    """Put in by `check`: the number that the text of a field stands for."""

    of: Node
    exact: bool
    """As a fraction: the field is a decimal number, whether or not its text has a point."""
    strict: bool
    """What is no number is an error; else it stays what it is, and equals no number."""
