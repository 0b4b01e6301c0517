"""What the owners of webhooks may see now: nobody asks for them with a request, so their keys are looked up by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainwatch import filter as filters
from chainwatch.filter import Filter, Vocabulary
from chainwatch.server.access import ANYBODY
from chainwatch.server.principal import Principal
from chainwatch.server.problem import Problem
from chainwatch.webhooks import OPERATOR, Withdrawn, Words

if TYPE_CHECKING:
    from chainwatch.server.context import Context


class Rights:
    """`webhooks.Terms` of a server."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def wanted(self, owner: str, words: Words) -> Filter:
        vocabulary = self._context.vocabulary()

        def ask(known: Vocabulary) -> Filter:
            return filters.parse(words, known)

        if owner == OPERATOR:
            return ask(vocabulary)
        principal = self._principal(owner)
        self._context.sessions.welcome(principal)  # so that the end of the key is noticed
        try:
            return principal.narrow(principal.understand(ask, vocabulary), vocabulary)
        except Problem as problem:
            raise Withdrawn(problem.detail) from None

    def open(self, owner: str, wanted: Filter) -> None:
        if (full := self._context.gate.ask(owner, wanted.where)) is not None:
            raise Withdrawn(full.why)

    def close(self, owner: str, wanted: Filter) -> None:
        self._context.gate.forget(owner, wanted.where)

    def _principal(self, owner: str) -> Principal:
        access = self._context.sessions.access
        principal = Principal(access.ring.get(owner)) if owner else ANYBODY
        if (owner and principal.key is None) or not access.holds(principal):
            raise Withdrawn("its key was revoked, or has expired" if owner else "everybody needs a key by now")
        if not principal.may("read"):
            raise Withdrawn(f"the key {principal.name} may not read")
        return principal
