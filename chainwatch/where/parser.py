"""The grammar: CEL's (langdef.md, "Syntax"), without maps, messages and bytes. Tokens -> a tree, in linear time."""

from __future__ import annotations

from typing import Final, TypeGuard

from chainwatch.where.errors import Wrong
from chainwatch.where.syntax import (
    PRECEDENCE,
    Binary,
    Call,
    Choice,
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
from chainwatch.where.tokens import Token, tokens
from chainwatch.where.values import Ratio

LENGTH: Final = 4096
"""Characters of the longest expression."""
PARTS: Final = 256
"""Values and operators of one expression."""
NESTING: Final = 32
"""Parentheses, lists, calls and choices inside one another. (CEL asks for 12 at least.)"""
DEPTH: Final = 64
"""Levels of the tree: `1 + 1 + 1` has two. (CEL asks for 24 operators in a row; `&&` and `||` are one level however
many.)"""

MACROS: Final = ("exists", "all", "exists_one")
_RESERVED: Final = (
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while",
)  # fmt: skip
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_WORDS: Final = {"and": "&&", "or": "||", "not": "!", "is": "==", "eq": "==", "ne": "!=", "AND": "&&", "OR": "||"}


def _is(node: Node, operator: str) -> TypeGuard[Logic]:
    return isinstance(node, Logic) and node.operator == operator


def _negated(value: int | Ratio) -> int | Ratio:
    return Ratio(-value.numerator, value.denominator) if isinstance(value, Ratio) else -value


def _is_field(text: str) -> bool:
    """It can stand behind a point: `data["from"]` is `data.from`."""
    return text.isidentifier() and text.isascii() and text not in _CONSTANTS and text != "in"


def parse(text: str) -> Node:
    """The tree of an expression. `Wrong` names the first place that has no meaning."""
    if len(text) > LENGTH:
        raise Wrong(f"the expression has {len(text)} characters, and may have {LENGTH}", LENGTH)
    return _Parser(tokens(text)).whole()


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._next = 0
        self._nesting = 0
        self._parts = 0
        self._depths: dict[int, int] = {}  # of the nodes made so far, by identity; all of them are kept by the tree
        self._kept: list[Node] = []

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self, *kinds: str) -> Token | None:
        """The next token where it is one of these, and go on behind it."""
        token = self._token
        if token.kind not in kinds:
            return None
        self._next += 1
        return token

    def _expect(self, kind: str, why: str) -> Token:
        token = self._take(kind)
        if token is None:
            raise self._unexpected(f"expected {kind!r} {why}")
        return token

    def _unexpected(self, expected: str) -> Wrong:
        token = self._token
        if token.kind == "end":
            return Wrong(f"the expression ends here; {expected}", token.at)
        meant = _WORDS.get(token.value, "") if token.kind == "name" else ""
        shown = token.value if token.kind == "name" else token.kind
        if token.kind in ("number", "text"):
            shown = written(Literal(token.at, token.value))
        return Wrong(f"{expected}, not {shown}", token.at, nearest=meant)

    def _made(self, node: Node, *below: Node) -> Node:
        """Every node is made through this: it keeps count."""
        self._parts += 1
        if self._parts > PARTS:
            raise Wrong(f"the expression has more than {PARTS} values and operators", node.at)
        depth = 1 + max((self._depths[id(one)] for one in below), default=0)
        if depth > DEPTH:
            raise Wrong(f"more than {DEPTH} operators inside one another", node.at)
        self._depths[id(node)] = depth
        self._kept.append(node)
        return node

    # --- the rules ------------------------------------------------------------------------------------------------

    def whole(self) -> Node:
        if self._token.kind == "end":
            raise Wrong("the expression is empty", 0, hint='such as: data.amount >= 1e18 && data.token == "ETH"')
        node = self._expression()
        if self._token.kind != "end":
            raise self._unexpected("expected an operator, or the end")
        return node

    def _expression(self) -> Node:
        self._nesting += 1
        if self._nesting > NESTING:
            raise Wrong(f"more than {NESTING} parentheses, lists or choices inside one another", self._token.at)
        node = self._logic("||")
        if token := self._take("?"):
            yes = self._logic("||")
            self._expect(":", "and what is meant otherwise")
            no = self._expression()
            node = self._made(Choice(token.at, node, yes, no), node, yes, no)
        self._nesting -= 1
        return node

    def _logic(self, operator: str) -> Node:
        part = self._logic("&&") if operator == "||" else self._binary(3)
        parts = [part]
        while self._take(operator):
            parts.append(self._logic("&&") if operator == "||" else self._binary(3))
        if len(parts) == 1:
            return part
        # (a && b) && c is a && b && c
        flat = [one for part in parts for one in (part.parts if _is(part, operator) else (part,))]
        return self._made(Logic(part.at, operator, tuple(flat)), *flat)

    def _binary(self, level: int) -> Node:
        """Operators that hold at least as tightly as `level`, from the left."""
        left = self._unary()
        while True:
            token = self._token
            operator = token.value if token.kind == "name" and token.value == "in" else token.kind
            own = PRECEDENCE.get(operator, 0)
            if own < level:
                return left
            self._next += 1
            right = self._binary(own + 1)
            left = self._made(Binary(token.at, operator, left, right), left, right)

    def _unary(self) -> Node:
        token = self._token
        if token.kind not in ("!", "-"):
            return self._member()
        signs: list[Token] = []
        while sign := self._take(token.kind):
            signs.append(sign)
        node = self._member()
        if token.kind == "-" and isinstance(node, Literal) and type(node.value) in (int, Ratio):
            return self._made(Literal(token.at, _negated(node.value) if len(signs) % 2 else node.value))
        for sign in reversed(signs):
            node = self._made(Unary(sign.at, sign.kind, node), node)
        return node

    def _member(self) -> Node:
        node = self._primary()
        while token := self._take(".", "["):
            if token.kind == "[":
                key = self._expression()
                self._expect("]", "behind the index")
                if isinstance(key, Literal) and isinstance(key.value, str) and _is_field(key.value):
                    node = self._made(Select(key.at, node, key.value), node)
                else:
                    node = self._made(Index(token.at, node, key), node, key)
                continue
            name = self._field()
            called = self._take("(") is not None
            node = self._method(node, name) if called else self._made(Select(name.at, node, name.value), node)
        return node

    def _field(self) -> Token:
        token = self._take("name")
        if token is None or not _is_field(token.value):
            self._next -= token is not None
            raise self._unexpected("expected the name of a field or function behind the point")
        return token

    def _method(self, receiver: Node, name: Token) -> Node:
        if name.value not in MACROS:
            arguments = self._listed(")")
            return self._made(Call(name.at, name.value, (receiver, *arguments), received=True), receiver, *arguments)
        place = self._token.at
        variable = self._take("name")
        if variable is None or variable.value in _CONSTANTS or variable.value in _RESERVED or variable.value == "in":
            raise Wrong(
                f"{name.value} takes a name, and what to ask of it",
                place,
                hint=f'such as: data.causes.{name.value}(c, c.kind == "gas")',
            )
        self._expect(",", f"behind the name in {name.value}(…)")
        body = self._expression()
        self._expect(")", f"at the end of {name.value}(…)")
        return self._made(Each(name.at, name.value, receiver, variable.value, body), receiver, body)

    def _primary(self) -> Node:
        if token := self._take("number", "text"):
            return self._made(Literal(token.at, token.value))
        if token := self._take("("):
            node = self._expression()
            self._expect(")", f"for the parenthesis of column {token.at + 1}")
            return node
        if token := self._take("["):
            items = self._listed("]")
            return self._made(Items(token.at, items), *items)
        if self._token.kind == "{":
            raise Wrong("maps are not offered: there is nothing in an event to compare one with", self._token.at)
        if self._token.kind == ".":
            raise self._unexpected("expected a value")
        if (token := self._take("name")) is None:
            raise self._unexpected("expected a value")
        return self._named(token)

    def _named(self, token: Token) -> Node:
        word = token.value
        if word in _CONSTANTS:
            return self._made(Literal(token.at, _CONSTANTS[word]))
        if word in _RESERVED or word == "in":
            raise Wrong(f"{word!r} is a word of the language, not a name", token.at)
        if not self._take("("):
            return self._made(Name(token.at, word))
        if word != "has":
            arguments = self._listed(")")
            return self._made(Call(token.at, word, arguments), *arguments)
        arguments = self._listed(")")
        match arguments:
            case (Select(at=at, of=of, field=field),):
                return self._made(Has(at, of, field), of)
        raise Wrong("has asks for one field", token.at, hint="such as: has(data.token_id)")

    def _listed(self, end: str) -> tuple[Node, ...]:
        """Expressions with commas between, up to `end`; a list may have one more comma."""
        found: list[Node] = []
        while not self._take(end):
            found.append(self._expression())
            if self._take(","):
                if end == ")" and self._token.kind == end:
                    raise self._unexpected("expected a value behind the comma")
            elif self._token.kind != end:
                raise self._unexpected(f"expected ',' or {end!r}")
        return tuple(found)
