"""
Transactions: which ones a chain's people think of, and what executing one does.

Everything here hangs on the dice and the state alone. A transaction keeps its hash wherever it is included, so a
reorganisation shows the same one again in another block, in another place, sometimes with another outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from chainwatch.chain.simulated import calls, oracle
from chainwatch.chain.simulated.calls import Call
from chainwatch.chain.simulated.contracts import (
    ACCOUNTS,
    CATS_LIMIT,
    CATS_MINTED,
    LOOT,
    LOOT_IDS,
    NATIVE,
    NONCE,
    PAIR,
    ROUTER,
    USDC,
    WBTC,
    WETH,
    Read,
    Revert,
    cat,
    item,
)
from chainwatch.chain.simulated.primitives import Dice, Log, created_address, digest
from chainwatch.chain.simulated.state import Draft

GWEI: Final = 10**9
FEE_CAP: Final = 200 * GWEI
"""More than any base fee here, so that what is pending can always be included."""
BLOB_GAS: Final = 131_072
"""Of one blob (EIP-4844)."""
BLOB_PRICE: Final = 7
"""Wei per blob gas, in every block."""

DEFAULT_MIX: Final[Mapping[str, int]] = MappingProxyType({
    "native": 26, "erc20": 34, "swap": 10, "erc721": 6, "erc1155": 5, "erc1155_batch": 3, "approve": 3,
    "failure": 5, "split": 3, "airdrop": 2, "create": 2, "blob": 1,
})  # fmt: skip
"""What transactions do, and how often. There is one more kind: "report", which moves the price of a feed."""


class Transaction(msgspec.Struct, frozen=True):
    hash: str
    sender: str
    nonce: int
    call: Call
    type: int
    """0 legacy, 2 with a fee market (EIP-1559), 3 with a blob (EIP-4844)."""
    tip: int
    """Wei per gas for the miner; of a legacy transaction, its gas price."""
    cap: int = FEE_CAP
    """Wei per gas at most, the base fee included; means nothing in a legacy transaction."""

    @property
    def most(self) -> int:
        """Wei per gas that it pays at most."""
        return self.tip if self.type == 0 else self.cap

    @property
    def gas_limit(self) -> int:
        return 21_000 if isinstance(self.call, calls.Pay) else self.call.gas * 5 // 4

    def price(self, base_fee: int) -> int:
        """Wei per gas paid in a block with that base fee."""
        return self.tip if self.type == 0 else min(self.cap, base_fee + self.tip)


class Outcome(NamedTuple):
    """What is in a receipt and does not hang on the block."""

    ok: bool
    gas_used: int
    price: int
    logs: tuple[Log, ...]
    created: str | None
    """Where a contract was created."""


def affordable(transaction: Transaction, draft: Draft) -> bool:
    """Whether the sender can pay for the worst case."""
    worst = transaction.call.value + transaction.gas_limit * max(FEE_CAP, transaction.most) + BLOB_GAS * BLOB_PRICE
    return draft.get((NATIVE, transaction.sender)) >= worst


def execute(transaction: Transaction, draft: Draft, base_fee: int, miner: str) -> Outcome:
    """Change the state as the transaction says; a failed one costs its fee and nothing else."""
    call, sender = transaction.call, transaction.sender
    draft.add((NONCE, sender), 1)
    gas = call.gas
    try:
        if call.value and call.target:
            draft.move(NATIVE, sender, call.target, call.value)
        logs = tuple(call.run(sender, draft))
        ok = True
    except Revert:  # none of the calls that carry value can fail
        logs, ok, gas = (), False, gas * 3 // 5
    price = transaction.price(base_fee)
    fee = gas * price + (BLOB_GAS * BLOB_PRICE if transaction.type == 3 else 0)
    draft.add((NATIVE, sender), -fee)
    draft.add((NATIVE, miner), gas * (price - base_fee))  # the base fee is burned
    created = created_address(sender, transaction.nonce) if call.target is None else None
    return Outcome(ok, gas, price, logs, created)


def invent(dice: Dice, kind: str, read: Read, next_nonce: Callable[[str], int], chain_id: int) -> Transaction:
    """A new transaction of one of the kinds of the mix. It suits the state that `read` shows, perhaps no later one."""
    sender = dice.favour(ACCOUNTS)
    if kind == "erc721" and (number := _somebodys(dice, read)):
        sender = f"0x{read(cat(number)):040x}"
        call: Call = calls.Give(to=dice.favour(ACCOUNTS), number=number, sender=sender)
    elif kind == "report":
        sender, call = oracle.ORACLE, oracle.report(dice, read)
    else:
        call = _KINDS[kind](dice, sender, read)
    type_ = 3 if kind == "blob" else 0 if dice.one_in(5) else 2
    tip = dice.between(1, 30) * GWEI // 10
    if type_ == 0:
        tip += 60 * GWEI  # its gas price has to be above any base fee
    return signed(chain_id, sender, next_nonce(sender), call, type_, tip)


def signed(chain_id: int, sender: str, nonce: int, call: Call, type_: int, tip: int, cap: int = FEE_CAP) -> Transaction:
    """A transaction, and its hash."""
    more = () if cap == FEE_CAP else (cap,)
    identity = digest(chain_id, sender, nonce, call.target, call.value, call.data(), type_, tip, *more)
    return Transaction(identity, sender, nonce, call, type_, tip, cap)


def outbid(old: Transaction, chain_id: int, *, cancel: bool) -> Transaction:
    """The same again, or nothing at all (`cancel`), for so much more that every node takes it instead."""
    # geth asks for a tenth more, and for twice as much where there are blobs.
    parts = 1 if old.type == 3 else 5
    tip, cap = old.tip + old.tip // parts + 1, old.cap + old.cap // parts + 1
    call = calls.Pay(old.sender, 0, blob=old.type == 3) if cancel else old.call
    return signed(chain_id, old.sender, old.nonce, call, old.type, tip, cap)


def _somebodys(dice: Dice, read: Read) -> int:
    """An ERC-721 to hand on; 0 where one should be minted instead."""
    minted = read(CATS_MINTED)
    if not minted or (minted < CATS_LIMIT and dice.one_in(4)):
        return 0
    return 1 + dice.below(minted)


def _some(dice: Dice, read: Read, asset: str, owner: str) -> int:
    """Up to a fiftieth of what the owner has; now and then nothing at all, which ERC-20 allows."""
    return 0 if dice.one_in(40) else read((asset, owner)) * dice.below(20_000) // 1_000_000


def _send(dice: Dice, sender: str, read: Read) -> Call:
    token = dice.favour((USDC, WETH, WBTC)).address
    return calls.Send(token, dice.favour(ACCOUNTS), _some(dice, read, token, sender))


def _fail(dice: Dice, sender: str, read: Read) -> Call:
    return calls.Send(USDC.address, dice.favour(ACCOUNTS), read((USDC.address, sender)) * 1_000 + 1)


def _approve(dice: Dice, sender: str, read: Read) -> Call:
    token = dice.favour((USDC, WETH, WBTC)).address
    amount = 2**256 - 1 if dice.one_in(2) else _some(dice, read, token, sender)
    return calls.Approve(token, dice.pick((ROUTER, PAIR, *ACCOUNTS)), amount)


def _hand(dice: Dice, sender: str, read: Read) -> Call:
    number = dice.pick(LOOT_IDS)
    amount = _some(dice, read, item(LOOT, number), sender)
    return calls.Hand(sender, dice.favour(ACCOUNTS), (number,), (amount,), batch=False)


def _hand_many(dice: Dice, sender: str, read: Read) -> Call:
    ids = tuple(dice.pick(LOOT_IDS) for _ in range(dice.between(1, 4)))
    amounts = tuple(_some(dice, read, item(LOOT, number), sender) for number in ids)
    return calls.Hand(sender, dice.favour(ACCOUNTS), ids, amounts, batch=True)


def _trade(dice: Dice, sender: str, read: Read) -> Call:
    sell_usdc = dice.one_in(2)
    held = read(((USDC if sell_usdc else WETH).address, sender))
    return calls.Trade(sender, held * dice.between(1, 10_000) // 1_000_000, sell_usdc)


def _airdrop(dice: Dice, _sender: str, _read: Read) -> Call:
    return calls.Airdrop(tuple(dice.favour(ACCOUNTS) for _ in range(dice.between(2, 6))), poses_as=ACCOUNTS[-1])


def _split(dice: Dice, sender: str, read: Read) -> Call:
    return calls.Split(dice.favour(ACCOUNTS), dice.favour(ACCOUNTS), _some(dice, read, NATIVE, sender))


_KINDS: Final[dict[str, Callable[[Dice, str, Read], Call]]] = {
    "native": lambda dice, sender, read: calls.Pay(dice.favour(ACCOUNTS), _some(dice, read, NATIVE, sender)),
    "erc20": _send,
    "swap": _trade,
    "erc721": lambda _dice, _sender, _read: calls.Mint(),
    "erc1155": _hand,
    "erc1155_batch": _hand_many,
    "approve": _approve,
    "failure": _fail,
    "split": _split,
    "airdrop": _airdrop,
    "create": lambda dice, _sender, _read: calls.Create("".join(f"{dice.bits():016x}" for _ in range(8))),
    "blob": lambda dice, _sender, _read: calls.Pay(dice.favour(ACCOUNTS), 0, blob=True),
}
