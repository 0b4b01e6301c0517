"""
Whose request it is: the key that it carries, looked up in the ring of now.

A daemon that knew a key once never opens to everybody again while it runs: where the last key is revoked, nobody gets
in. Keys are opened and revoked while it runs; who is in with a key that is gone, was changed or has expired is told so
by `lapsed`, and put out (see `sessions`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from chainwatch.keys import SHAPE, Keyring
from chainwatch.server.principal import Principal
from chainwatch.server.problem import Problem

ANYBODY: Final = Principal()
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="chainwatch"'}  # RFC 6750, section 3


class Access:
    """The keys that there are, and who they make of a request."""

    def __init__(self, ring: Keyring, clock: Callable[[], float] = time.time) -> None:
        """`clock`: Unix seconds."""
        self._ring = ring
        self._clock = clock
        self.closed = bool(ring)
        """A key is needed."""
        self.failures = 0
        """Requests with a key that is none, since the start."""

    @property
    def ring(self) -> Keyring:
        return self._ring

    def change(self, ring: Keyring) -> None:
        """The keys as they are now."""
        self._ring = ring
        self.closed = self.closed or bool(ring)

    def identify(self, headers: Mapping[str, str], query: Iterable[tuple[str, str]]) -> Principal:
        """
        Who sends this request. `Problem` 401 where a key is needed and none is given that holds. Where no key is
        needed, one that is given is not looked at: a client may have it for another daemon.
        """
        if not self.closed:
            return ANYBODY
        given = presented(headers, query)
        if given is None:
            raise Problem(401, "a key is needed here", headers=CHALLENGE, more={"hint": HINT})
        principal = self.holder(given)
        if principal is None:
            self.failures += 1
            raise Problem(
                401,
                "this key is not known here: it is mistyped, was revoked, or has expired",
                headers={"WWW-Authenticate": 'Bearer realm="chainwatch", error="invalid_token"'},
                more={"hint": "chainwatch keys list shows the keys that there are, keys create makes one"},
            )
        return principal

    def recognise(self, headers: Mapping[str, str], query: Iterable[tuple[str, str]]) -> Principal | None:
        """The same for what anyone may ask; None: a stranger, where there are keys."""
        if not self.closed:
            return ANYBODY
        given = presented(headers, query)
        return None if given is None else self.holder(given)

    def holder(self, given: str) -> Principal | None:
        """Who has the key `given`; None where it is none, or not any more."""
        key = self._ring.find(given)
        if key is None or (key.expires is not None and key.expires <= self._clock() * 1000):
            return None
        return Principal(key)

    def holds(self, principal: Principal) -> bool:
        """Whether what was opened by `principal` may go on."""
        if principal.key is None:
            return not self.closed
        key = self._ring.get(principal.id)
        return key == principal.key and (key.expires is None or key.expires > self._clock() * 1000)

    def stands(self, name: str) -> bool:
        """Whether anybody can come with the key of that id; without one, where it is empty."""
        key = self._ring.get(name)
        return not self.closed if key is None else self.holds(Principal(key))

    def next_expiry(self) -> float | None:
        """Unix seconds at which the next key expires; None where none will."""
        now = self._clock() * 1000
        coming = [key.expires for key in self._ring.keys if key.expires is not None and key.expires > now]
        return min(coming) / 1000 if coming else None


HINT: Final = "send it as X-API-Key, as Authorization: Bearer, or as ?token= (EventSource)"


def presented(headers: Mapping[str, str], query: Iterable[tuple[str, str]]) -> str | None:
    """
    The key that a request carries: `X-API-Key`, else `Authorization: Bearer`, else `?token=`. The last is a filter too:
    what looks like a key is one, and nothing that names a token does.
    """
    if given := headers.get("X-API-Key", "").strip():
        return given
    scheme, _, credentials = headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return next((value for name, value in query if name == "token" and SHAPE.fullmatch(value)), None)


def without_key(query: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The query without the key in it."""
    return [(name, value) for name, value in query if not (name == "token" and SHAPE.fullmatch(value))]
