"""
What can be known to be wrong before there is an event: names that do not exist, kinds that never go together. The tree
that comes out says where the text of a field is meant as a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from chainwatch.where import functions, shapes
from chainwatch.where.errors import Wrong, nearest
from chainwatch.where.shapes import (
    ANY,
    BOOL,
    BOOLEAN,
    COUNT,
    DATED,
    LIST,
    MAP,
    NULL,
    NUMBER,
    NUMERIC,
    SPAN,
    TEXT,
    TIME,
    Shape,
    merged,
)
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
    written,
)
from chainwatch.where.values import Ratio, number, number_of_text

Scope = Mapping[str, tuple[str, Shape]]
"""A name in the text -> what it is called when the program runs, and what it is."""

_NUMBERS: Final = ("whole", "decimal")


def check(node: Node, types: frozenset[str]) -> Node:
    """The tree to be run, for events of these types (none: any). `Wrong` where it can never be true or false."""
    types = types or _asked(node)
    scope = {name: (name, shape) for name, shape in shapes.ENVELOPE.items()}
    checked, shape = _check(node, scope | {"data": ("data", shapes.data_of(types))})
    if not shape.kinds & BOOL:
        raise Wrong(
            f"{_short(node)} is {shape.told()}, and not a question", node.at, hint="such as: data.amount >= 1e18"
        )
    return checked


def _asked(node: Node) -> frozenset[str]:
    """The types of which an expression such as `type == "price_update" && …` speaks alone; empty where it is open."""
    for part in node.parts if isinstance(node, Logic) and node.operator == "&&" else (node,):
        match part:
            case Binary(operator="==", left=Name(name="type"), right=Literal(value=str(kind))):
                return frozenset({kind})
            case Binary(operator="in", left=Name(name="type"), right=Items(items=items)):
                kinds = [item.value for item in items if isinstance(item, Literal) and isinstance(item.value, str)]
                if len(kinds) == len(items):
                    return frozenset(kinds)
    return frozenset()


def _check(node: Node, scope: Scope) -> tuple[Node, Shape]:
    match node:
        case Literal(value=value):
            return node, _literal(value)
        case Name(at=at, name=name):
            if name not in scope:
                raise _unknown_name(name, at, scope)
            called, shape = scope[name]
            return Name(at, called), shape
        case Select(at=at, of=of, field=field):
            return _select(at, of, field, scope)
        case Has(at=at, of=of, field=field):
            select, _ = _select(at, of, field, scope)
            assert isinstance(select, Select)  # noqa: S101
            return Has(at, select.of, field), BOOLEAN
        case Index(at=at, of=of, key=Literal(value=str(field))):
            return _select(at, of, field, scope)
        case Index(at=at, of=of, key=key):
            return _index(at, of, key, scope)
        case Items(at=at, items=items):
            checked = [_check(item, scope) for item in items]
            item = merged([shape for _, shape in checked]) if checked else None
            return Items(at, tuple(one for one, _ in checked)), Shape(kinds=LIST, item=item)
        case Logic(at=at, operator=operator, parts=parts):
            return Logic(at, operator, tuple(_boolean(part, scope, operator) for part in parts)), BOOLEAN
        case Choice(at=at, when=when, yes=yes, no=no):
            (one, shape), (other, otherwise) = _check(yes, scope), _check(no, scope)
            return Choice(at, _boolean(when, scope, "?"), one, other), merged([shape, otherwise])
        case Unary(at=at, operator="!", of=of):
            return Unary(at, "!", _boolean(of, scope, "!")), BOOLEAN
        case Unary(at=at, of=of):
            return _negative(at, of, scope)
        case Binary(operator="in"):
            return _in(node, scope)
        case Binary(operator="==" | "!="):
            return _equality(node, scope)
        case Binary(operator="<" | "<=" | ">" | ">="):
            return _ordering(node, scope)
        case Binary():
            return _arithmetic(node, scope)
        case Each():
            return _each(node, scope)
        case Call():
            checked = [_check(argument, scope) for argument in node.arguments]
            shape = functions.check(node, [shape for _, shape in checked])
            return Call(node.at, node.function, tuple(one for one, _ in checked), node.received), shape
    raise AssertionError(node)


def _literal(value: object) -> Shape:
    if value is None:
        return Shape(kinds=NULL)
    return BOOLEAN if isinstance(value, bool) else shapes.STRING if isinstance(value, str) else COUNT


def _short(node: Node) -> str:
    text = written(node)
    return text if len(text) <= 48 else f"{text[:47]}…"


def _unknown_name(name: str, at: int, scope: Scope) -> Wrong:
    _, data = scope["data"]
    if name in data.fields:
        return Wrong(f"unknown name {name!r}", at, nearest=f"data.{name}")
    close = nearest(name, scope)
    hint = "" if close else f"there is: {', '.join(scope)}"
    return Wrong(f"unknown name {name!r}", at, nearest=close, hint=hint)


# --- parts of values ----------------------------------------------------------------------------------------------


def _select(at: int, of: Node, field: str, scope: Scope) -> tuple[Node, Shape]:
    checked, shape = _check(of, scope)
    if not shape.kinds & MAP:
        raise Wrong(f"{_short(of)} is {shape.told()}, which has no fields", at)
    found = shape.fields.get(field)
    if found is None and not shape.open:
        close = nearest(field, shape.fields)
        hint = "" if close else f"there is: {', '.join(sorted(shape.fields))}"
        raise Wrong(f"unknown field {field!r} of {_short(of)}", at, nearest=close, hint=hint)
    return Select(at, checked, field), found or ANY


def _index(at: int, of: Node, key: Node, scope: Scope) -> tuple[Node, Shape]:
    (checked, shape), (place, kind) = _check(of, scope), _check(key, scope)
    if not shape.kinds & (LIST | MAP):
        raise Wrong(f"{_short(of)} is {shape.told()}, which has no parts", at)
    if not kind.kinds & (NUMBER | NUMERIC if not shape.kinds & MAP else NUMBER | TEXT):
        raise Wrong(f"{_short(key)} is {kind.told()}, and no place of a list or name of a field", key.at)
    only_list = not shape.kinds & MAP
    return Index(at, checked, place), (shape.item or ANY) if only_list else ANY


def _each(node: Each, scope: Scope) -> tuple[Node, Shape]:
    of, shape = _check(node.of, scope)
    if not shape.kinds & (LIST | MAP):
        raise Wrong(f"{_short(node.of)} is {shape.told()}, and no list", node.at)
    called = f"{node.name}@{node.at}"  # unlike any other name, also that of a macro around this one
    item = shape.item or ANY
    body = _boolean(node.body, {**scope, node.name: (called, item)}, node.macro)
    return Each(node.at, node.macro, of, called, body), BOOLEAN


def _boolean(node: Node, scope: Scope, asking: str) -> Node:
    checked, shape = _check(node, scope)
    if not shape.kinds & BOOL:
        raise Wrong(f"{asking} needs what is true or false, and {_short(node)} is {shape.told()}", node.at)
    return checked


# --- operators ----------------------------------------------------------------------------------------------------


def _is_plain(shape: Shape) -> bool:
    """Text that stands for nothing but itself."""
    return shape.kinds & ~NULL == TEXT


def _go_together(a: int, b: int) -> bool:
    """Whether values of these kinds can be compared."""
    both = a & b & (BOOL | NUMBER | TEXT | TIME | SPAN)
    mixed = any(
        one & kind and other & text
        for one, other in ((a, b), (b, a))
        for kind, text in ((NUMBER, NUMERIC), (TIME, DATED))
    )
    return bool(both or mixed)


def _number(node: Node, shape: Shape, *, strict: bool) -> Node:
    """The node, converted where its text is a number."""
    if shape.role not in _NUMBERS:
        return node
    return Convert(node.at, node, exact=shape.role == "decimal", strict=strict)


def _equality(node: Binary, scope: Scope) -> tuple[Node, Shape]:
    (left, a), (right, b) = _check(node.left, scope), _check(node.right, scope)
    _can_equal(node.at, (node.left, a), (node.right, b))
    if not _is_plain(a) and not _is_plain(b):  # text is compared with text
        left, right = _number(left, a, strict=False), _number(right, b, strict=False)
    return Binary(node.at, node.operator, left, right), BOOLEAN


def _can_equal(at: int, left: tuple[Node, Shape], right: tuple[Node, Shape]) -> None:
    (one, a), (other, b) = left, right
    if NULL in (a.kinds, b.kinds):  # whether something is there
        return
    if not (_go_together(a.kinds, b.kinds) or a.kinds & b.kinds & (NULL | LIST | MAP)):
        raise Wrong(f"{_short(one)} is {a.told()}, {_short(other)} is {b.told()}: they are never equal", at)
    for node, shape, of in ((one, b, other), (other, a, one)):
        if shape.words and isinstance(node, Literal) and isinstance(node.value, str) and node.value not in shape.words:
            close = nearest(node.value, shape.words)
            hint = "" if close else f"it is one of: {', '.join(sorted(shape.words))}"
            raise Wrong(f"{_short(of)} is never {_short(node)}", node.at, nearest=close, hint=hint)


def _ordering(node: Binary, scope: Scope) -> tuple[Node, Shape]:
    (left, a), (right, b) = _check(node.left, scope), _check(node.right, scope)
    for number_, other, shape in ((a, node.right, b), (b, node.left, a)):
        if number_.role in _NUMBERS and _is_plain(shape):
            meant = other.value if isinstance(other, Literal) and number_of_text(other.value) is not None else ""
            raise Wrong(
                f"a number is compared with the text {_short(other)}",
                other.at,
                nearest=meant,
                hint="" if meant else "numbers stand without quotes",
            )
    if not _go_together(a.kinds, b.kinds):
        raise Wrong(
            f"{_short(node.left)} is {a.told()}, {_short(node.right)} is {b.told()}: neither is less than the other",
            node.at,
        )
    return Binary(node.at, node.operator, _number(left, a, strict=True), _number(right, b, strict=True)), BOOLEAN


def _in(node: Binary, scope: Scope) -> tuple[Node, Shape]:
    left, a = _check(node.left, scope)
    if isinstance(node.right, Items):
        items = [_check(item, scope) for item in node.right.items]
        for item, (_, shape) in zip(node.right.items, items, strict=True):
            _can_equal(item.at, (node.left, a), (item, shape))
        return Binary(node.at, "in", left, Items(node.right.at, tuple(one for one, _ in items))), BOOLEAN
    right, b = _check(node.right, scope)
    if not b.kinds & (LIST | MAP):
        raise Wrong(f"{_short(node.right)} is {b.told()}, and no list", node.at, hint='such as: ["USDC", "DAI"]')
    return Binary(node.at, "in", left, right), BOOLEAN


def _negative(at: int, of: Node, scope: Scope) -> tuple[Node, Shape]:
    checked, shape = _check(of, scope)
    kinds = (NUMBER if shape.kinds & (NUMBER | NUMERIC) else 0) | shape.kinds & SPAN
    if not kinds:
        raise Wrong(f"{_short(of)} is {shape.told()}, and no number", at)
    return Unary(at, "-", _number(checked, shape, strict=True)), Shape(kinds=kinds)


def _arithmetic(node: Binary, scope: Scope) -> tuple[Node, Shape]:
    (left, a), (right, b) = _check(node.left, scope), _check(node.right, scope)
    kinds = _result(node.operator, a, b)
    if not kinds:
        raise Wrong(
            f"there is no {node.operator} of {_short(node.left)}, {a.told()}, and {_short(node.right)}, {b.told()}",
            node.at,
        )
    if node.operator in "/%" and isinstance(node.right, Literal) and _is_zero(node.right.value):
        raise Wrong("division by zero", node.at)
    left, right = _number(left, a, strict=True), _number(right, b, strict=True)
    return Binary(node.at, node.operator, left, right), Shape(kinds=kinds)


def _is_zero(value: object) -> bool:
    found = number(value)
    return (found.numerator if isinstance(found, Ratio) else found) == 0


def _result(operator: str, a: Shape, b: Shape) -> int:
    """The kinds that the result can be."""
    kinds, counted = 0, bool(a.role or b.role)  # text that stands for a number or a moment is not joined
    one, other = (shape.kinds | (NUMBER if shape.kinds & NUMERIC else 0) for shape in (a, b))
    if one & other & NUMBER:
        kinds |= NUMBER
    if operator == "+" and not counted:
        kinds |= one & other & TEXT
    moment, also = (bool(shape.kinds & (TIME | DATED)) for shape in (a, b))
    if operator in "+-":
        kinds |= one & other & SPAN
        kinds |= TIME if moment and other & SPAN else 0
    if operator == "+":
        kinds |= TIME if also and one & SPAN else 0
    if operator == "-":
        kinds |= SPAN if moment and also else 0
    return kinds
