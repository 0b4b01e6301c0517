"""What is known of tokens and pools: the configured ones, and what was once read of the others."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from chainwatch.chain.evm.reads import Metadata, Pool
from chainwatch.derive.rules import Token

MOST = 40_000
"""Tokens, and pools, that are kept in memory: some 10 MB each."""


def pool_key(manager: str, pool_id: str) -> str:
    """How a pool of Uniswap v4 is known: the contract that holds it, and its id (0x and 64 digits); lower case."""
    return f"{manager}:{pool_id}"


class Known:
    """
    Looked up by derivations. `tokens` and `pools` hold what was read of contracts that nobody configured; the
    configured ones go first. Addresses are lower case.

    A pool is known by its contract; of Uniswap v4, where one contract holds all pools, by `manager:id` (`pool_key`): an
    id alone is nobody's, since any contract can write a log with it.
    """

    def __init__(
        self,
        listed: Mapping[str, Token],
        tokens: MutableMapping[str, Metadata] | None = None,
        pools: MutableMapping[str, Pool] | None = None,
    ) -> None:
        self.listed = listed
        self.tokens = {} if tokens is None else tokens
        self.pools = {} if pools is None else pools

    def describe(self, contract: str, fungible: bool = True) -> tuple[str | None, str | None, int | None]:
        """
        Symbol, name and decimals for an event. A configured token has no claimed name; what is not fungible has no
        decimals, unless they are configured.
        """
        if (token := self.listed.get(contract)) is not None:
            return token.symbol, None, token.decimals
        if (told := self.tokens.get(contract)) is not None:
            return told.symbol, told.name, told.decimals if fungible else None
        return None, None, None

    def symbol(self, contract: str) -> str | None:
        if (token := self.listed.get(contract)) is not None:
            return token.symbol
        return None if (told := self.tokens.get(contract)) is None else told.symbol

    def decimals(self, contract: str) -> int | None:
        if (token := self.listed.get(contract)) is not None:
            return token.decimals
        return None if (told := self.tokens.get(contract)) is None else told.decimals

    def name(self, contract: str) -> str | None:
        return None if (told := self.tokens.get(contract)) is None else told.name

    def standard(self, contract: str) -> str | None:
        """What kind of non-fungible contract it says that it is."""
        return None if (told := self.tokens.get(contract)) is None else told.standard

    def has_token(self, contract: str) -> bool:
        """Nothing has to be read of it. Who asks is about to need it: it is among the last to be forgotten."""
        return contract in self.listed or _renew(self.tokens, contract)

    def has_pool(self, key: str) -> bool:
        """As `has_token`."""
        return _renew(self.pools, key)

    def learn(self, tokens: Mapping[str, Metadata] | None = None, pools: Mapping[str, Pool] | None = None) -> None:
        """
        Remember what was read. Where it becomes too much, those go that nobody has needed for the longest time; the
        journal has them still.
        """
        self.tokens.update(tokens or {})
        self.pools.update(pools or {})
        known: MutableMapping[str, Any]
        for known in (self.tokens, self.pools):
            if len(known) > MOST:
                for key in list(known)[: MOST // 4]:
                    del known[key]


def _renew(known: MutableMapping[str, Any], key: str) -> bool:
    """Whether it is there; then it is the newest."""
    if key not in known:
        return False
    known[key] = known.pop(key)
    return True
