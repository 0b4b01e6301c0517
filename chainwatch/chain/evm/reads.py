"""
What has to be read of a chain's state beside a block: the questions, and the answers that come with the block.

Questions are asked by `derive` (which looks at a block and what is known already), answered by `state` (which talks to
a node), always for the state behind one block, named by its hash. Answers are part of the block from then on, so that
derivations stay functions of it. Addresses are lower case.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

Holding = tuple[str, str]
"""(token contract, wallet); the token is empty for the native currency."""


class Reads(msgspec.Struct, frozen=True, kw_only=True):
    """What to read at a block. Empty: nothing."""

    balances: tuple[Holding, ...] = ()
    moves: bool = False
    """Value that moved inside the transactions, by traces."""
    reverts: tuple[str, ...] = ()
    """Hashes of failed transactions of the block: why did they revert?"""
    tokens: tuple[str, ...] = ()
    """Contracts whose metadata is not known."""
    pools: tuple[str, ...] = ()
    """Exchange pools whose tokens are not known: contracts, or (Uniswap v4) `manager:id`, the contract that holds the
    pool and the 32 bytes of its id."""
    feeds: tuple[str, ...] = ()
    """Chainlink proxies to be resolved."""


NOTHING = Reads()


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a contract says of itself: harmless text, or None where it says nothing that can be meant."""

    symbol: str | None = None
    name: str | None = None
    decimals: int | None = None
    """0 to 255."""
    standard: str | None = None
    """`erc721` or `erc1155` where it says so (EIP-165)."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """The two tokens of a pool; empty for the native currency (Uniswap v4), None where they cannot be found out."""

    token0: str | None = None
    token1: str | None = None


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """A Chainlink feed at a block."""

    aggregator: str
    """The contract that writes the answers now."""
    decimals: int
    phase: int
    """How often the aggregator was replaced; the upper bits of the proxy's round ids."""
    answer: int | None = None
    """The latest answer (signed), its round as the proxy counts it, and when it was given (Unix seconds); None where
    `latestRoundData` reverts."""
    round_id: int | None = None
    updated_at: int | None = None


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Wei that moved inside a transaction: by a call, a creation, or a self-destruct, none of which was reverted."""

    tx_hash: str
    path: str
    """Where in the transaction's tree of calls: `0.2.1`."""
    sender: str
    to: str
    amount: int


class Revert(msgspec.Struct, frozen=True, kw_only=True):
    """Why a transaction failed."""

    data: str | None = None
    """What it returned, 0x and hexadecimal digits."""
    error: str | None = None
    """The machine's own word where there is no data: `out of gas`."""


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """The answers. What was not asked for is not there."""

    balances: Mapping[Holding, int | None] = {}
    """Base units; None where the contract has no answer."""
    unreadable: bool = False
    """The node has no state at this block any more: no balance was read, and none ever will."""
    moves: list[Move] | None = None
    """In the order of the transactions and their calls, the transactions' own value left out; None where the node has
    no traces."""
    reverts: Mapping[str, Revert] = {}
    tokens: Mapping[str, Metadata] = {}
    pools: Mapping[str, Pool] = {}
    feeds: Mapping[str, Feed | None] = {}
    """None: the contract is no feed."""

    def with_more(self, more: Readings) -> Readings:
        """These answers and those."""
        return Readings(
            balances={**self.balances, **more.balances},
            unreadable=self.unreadable or more.unreadable,
            moves=self.moves if more.moves is None else more.moves,
            reverts={**self.reverts, **more.reverts},
            tokens={**self.tokens, **more.tokens},
            pools={**self.pools, **more.pools},
            feeds={**self.feeds, **more.feeds},
        )


UNREAD = Readings()
