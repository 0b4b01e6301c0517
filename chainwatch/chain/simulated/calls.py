# ruff: noqa: ARG002 - every kind of call has the same `run`, and few need all of it
"""
What a transaction can do: each kind knows whom it calls, with what data, what it costs, and what it changes.

`run` raises Revert before it has changed anything, so a failed call leaves no trace but its fee.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from chainwatch.chain.simulated.contracts import (
    APPROVAL,
    CATS,
    CATS_LIMIT,
    CATS_MINTED,
    LOOT,
    NATIVE,
    PAIR,
    ROUTER,
    SCAM,
    SPLITTER,
    SWAP,
    SYNC,
    TRANSFER,
    TRANSFER_BATCH,
    TRANSFER_SINGLE,
    USDC,
    WETH,
    ZERO,
    Revert,
    cat,
    item,
    transfer_log,
)
from chainwatch.chain.simulated.primitives import Log, array, indexed, padded, selector, word
from chainwatch.chain.simulated.state import Draft

FOREVER: Final = 2**40
"""A deadline that no swap misses."""


class Call(Protocol):
    """One thing to do."""

    @property
    def target(self) -> str | None:
        """Whom the transaction is sent to; None where it creates a contract."""
        ...

    @property
    def value(self) -> int:
        """Wei that go with it."""
        ...

    @property
    def gas(self) -> int:
        """What it uses."""
        ...

    def data(self) -> str:
        """The transaction's input, with `0x`."""
        ...

    def run(self, sender: str, draft: Draft) -> list[Log]:
        """Change the state and write the logs. Revert where the contract would."""
        ...


class Pay(msgspec.Struct, frozen=True):
    target: str
    value: int
    blob: bool = False
    """Carries one blob (EIP-4844), as a roll-up's batcher does."""
    gas: int = 21_000

    def data(self) -> str:
        return "0x"

    def run(self, sender: str, draft: Draft) -> list[Log]:  # the value itself is moved by whoever executes
        return []


class Send(msgspec.Struct, frozen=True):
    """ERC-20."""

    target: str
    to: str
    amount: int
    value: int = 0
    gas: int = 51_600

    def data(self) -> str:
        return selector("transfer(address,uint256)") + padded(self.to) + word(self.amount)

    def run(self, sender: str, draft: Draft) -> list[Log]:
        if draft.get((self.target, sender)) < self.amount:
            raise Revert("ERC20: transfer amount exceeds balance")
        draft.move(self.target, sender, self.to, self.amount)
        return [transfer_log(self.target, sender, self.to, self.amount)]


class Approve(msgspec.Struct, frozen=True):
    target: str
    spender: str
    amount: int
    value: int = 0
    gas: int = 46_300

    def data(self) -> str:
        return selector("approve(address,uint256)") + padded(self.spender) + word(self.amount)

    def run(self, sender: str, draft: Draft) -> list[Log]:
        topics = (APPROVAL, indexed(sender), indexed(self.spender))
        return [Log(self.target, topics, "0x" + word(self.amount))]


class Mint(msgspec.Struct, frozen=True):
    """The next ERC-721."""

    target: str = CATS.address
    value: int = 0
    gas: int = 71_900

    def data(self) -> str:
        return selector("mint()")

    def run(self, sender: str, draft: Draft) -> list[Log]:
        number = draft.get(CATS_MINTED) + 1
        if number > CATS_LIMIT:
            raise Revert("CATS: sold out")
        draft.put(CATS_MINTED, number)
        draft.put(cat(number), int(sender, 16))
        draft.add((CATS.address, sender), 1)
        return [_cat_log(ZERO, sender, number)]


class Give(msgspec.Struct, frozen=True):
    """One ERC-721 to another owner."""

    to: str
    number: int
    target: str = CATS.address
    value: int = 0
    gas: int = 58_200

    sender: str = ""
    """Who owned it when this was written."""

    def data(self) -> str:
        call = selector("transferFrom(address,address,uint256)")
        return call + padded(self.sender) + padded(self.to) + word(self.number)

    def run(self, sender: str, draft: Draft) -> list[Log]:
        if draft.get(cat(self.number)) != int(sender, 16):
            raise Revert("ERC721: transfer from incorrect owner")
        draft.put(cat(self.number), int(self.to, 16))
        draft.move(CATS.address, sender, self.to, 1)
        return [_cat_log(sender, self.to, self.number)]


def _cat_log(sender: str, to: str, number: int) -> Log:
    return Log(CATS.address, (TRANSFER, indexed(sender), indexed(to), "0x" + word(number)), "0x")


class Hand(msgspec.Struct, frozen=True):
    """ERC-1155: one id, or a batch of them, in which an id may stand twice."""

    sender: str
    to: str
    ids: tuple[int, ...]
    amounts: tuple[int, ...]
    batch: bool
    target: str = LOOT.address
    value: int = 0

    @property
    def gas(self) -> int:
        return 34_000 + 18_700 * len(self.ids)

    def data(self) -> str:
        both = padded(self.sender) + padded(self.to)
        if not self.batch:
            call = selector("safeTransferFrom(address,address,uint256,uint256,bytes)")
            return call + both + word(self.ids[0]) + word(self.amounts[0]) + word(160) + word(0)
        amounts_at = 160 + 32 * (1 + len(self.ids))
        nothing_at = amounts_at + 32 * (1 + len(self.amounts))
        call = selector("safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)")
        return (
            call + both + word(160) + word(amounts_at) + word(nothing_at)
            + array(self.ids) + array(self.amounts) + word(0)
        )  # fmt: skip

    def run(self, sender: str, draft: Draft) -> list[Log]:
        for number in set(self.ids):
            wanted = sum(amount for kind, amount in zip(self.ids, self.amounts, strict=True) if kind == number)
            if draft.get((item(LOOT, number), sender)) < wanted:
                raise Revert("ERC1155: insufficient balance for transfer")
        for number, amount in zip(self.ids, self.amounts, strict=True):
            draft.move(item(LOOT, number), sender, self.to, amount)
        who = (indexed(sender), indexed(sender), indexed(self.to))
        if not self.batch:
            return [Log(LOOT.address, (TRANSFER_SINGLE, *who), "0x" + word(self.ids[0]) + word(self.amounts[0]))]
        data = word(64) + word(96 + 32 * len(self.ids)) + array(self.ids) + array(self.amounts)
        return [Log(LOOT.address, (TRANSFER_BATCH, *who), "0x" + data)]


class Trade(msgspec.Struct, frozen=True):
    """A swap on the Uniswap v2 pair, through the router; x * y = k with a fee of 0.3 %."""

    sender: str
    amount_in: int
    sell_usdc: bool
    target: str = ROUTER
    value: int = 0
    gas: int = 124_000

    def data(self) -> str:
        path = (USDC.address, WETH.address) if self.sell_usdc else (WETH.address, USDC.address)
        call = selector("swapExactTokensForTokens(uint256,uint256,address[],address,uint256)")
        head = word(self.amount_in) + word(0) + word(160) + padded(self.sender) + word(FOREVER)
        return call + head + word(2) + padded(path[0]) + padded(path[1])

    def run(self, sender: str, draft: Draft) -> list[Log]:
        sold, bought = (USDC.address, WETH.address) if self.sell_usdc else (WETH.address, USDC.address)
        if draft.get((sold, sender)) < self.amount_in:
            raise Revert("TransferHelper: TRANSFER_FROM_FAILED")
        with_fee = self.amount_in * 997
        out = with_fee * draft.get((bought, PAIR)) // (draft.get((sold, PAIR)) * 1000 + with_fee)
        if not out:
            raise Revert("UniswapV2: INSUFFICIENT_OUTPUT_AMOUNT")
        draft.move(sold, sender, PAIR, self.amount_in)
        draft.move(bought, PAIR, sender, out)
        reserves = word(draft.get((USDC.address, PAIR))) + word(draft.get((WETH.address, PAIR)))
        amounts = (self.amount_in, 0, 0, out) if self.sell_usdc else (0, self.amount_in, out, 0)
        return [
            transfer_log(sold, sender, PAIR, self.amount_in),
            transfer_log(bought, PAIR, sender, out),
            Log(PAIR, (SYNC,), "0x" + reserves),
            Log(
                PAIR,
                (SWAP, indexed(ROUTER), indexed(sender)),
                "0x" + "".join([word(amount) for amount in amounts]),
            ),
        ]


class Airdrop(msgspec.Struct, frozen=True):
    """A scam: a token that nobody asked for, sent to many, and said to come from somebody well known."""

    to: tuple[str, ...]
    poses_as: str
    target: str = SCAM.address
    value: int = 0

    @property
    def gas(self) -> int:
        return 25_000 + 27_300 * len(self.to)

    def data(self) -> str:
        owners = word(len(self.to)) + "".join([padded(owner) for owner in self.to])
        return selector("airdrop(address[])") + word(32) + owners

    def run(self, sender: str, draft: Draft) -> list[Log]:
        amount = 1_000 * 10**6
        for owner in self.to:
            draft.add((SCAM.address, owner), amount)
        return [transfer_log(SCAM.address, self.poses_as, owner, amount) for owner in self.to]


class Split(msgspec.Struct, frozen=True):
    """Ether by way of a contract: two balances grow, and no log or transaction names them."""

    left: str
    right: str
    value: int
    target: str = SPLITTER
    gas: int = 41_000

    def data(self) -> str:
        return selector("split(address,address)") + padded(self.left) + padded(self.right)

    def run(self, sender: str, draft: Draft) -> list[Log]:
        draft.move(NATIVE, SPLITTER, self.left, self.value // 2)
        draft.move(NATIVE, SPLITTER, self.right, self.value - self.value // 2)
        return []


class Create(msgspec.Struct, frozen=True):
    """A contract is deployed."""

    code: str
    target: None = None
    value: int = 0
    gas: int = 187_000

    def data(self) -> str:
        return "0x60806040" + self.code

    def run(self, sender: str, draft: Draft) -> list[Log]:
        return []
