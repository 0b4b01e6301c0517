"""
What the watched wallets hold: read at a block's hash, compared with what was told, and explained.

Only a state read is exact: traces miss what a node's own hands or a rebase move, and a token's log may say more than
arrived. So the numbers are read, and transactions, traces and logs are only the reasons; what they do not explain is
`unattributed`. A pair of token and wallet is read where something in the block could have moved it, and all of them now
and then at the tip (an audit), so that nothing stays hidden.

What a block tells hangs on the block alone, never on when it was asked about: blocks are asked about ahead of being
told, and what was not known yet when a block was asked may be known when it is told.

Pure, but for the memory of what was told. A step may fail half-way, so changes are noted until `settle` or `undo`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chainwatch.chain.evm.block import Block, Header, quantity
from chainwatch.chain.evm.reads import Holding
from chainwatch.derive.flows import Flow, receipts_of
from chainwatch.derive.rules import Rules
from chainwatch.eip55 import checksum
from chainwatch.event import Event, event_id, rfc3339
from chainwatch.payloads import Balance, BalanceChanged, Cause, WalletStatus

EVERYONE = 1000
"""Wallets up to which a block that ran any contract has them all read: it may have paid any of them, and one call reads
so many. With traces nobody has to guess."""
PLAIN_GAS = 21_000
"""What a transaction costs that runs no code."""
PROBE = 32
"""Where a node has lost the state of old blocks, every so many blocks are tried."""
_BACKLOG = 10_000
"""Causes kept of blocks that could not be read."""


class Holdings:
    """What was told of the wallets of one chain."""

    def __init__(self, rules: Rules, told: Mapping[Holding, int]) -> None:
        self._rules = rules
        self.wanted: tuple[Holding, ...] = tuple(
            (token, wallet) for wallet in sorted(rules.wallets) for token in ("", *sorted(rules.tokens))
        )
        self._wanted = frozenset(self.wanted)
        self.told: dict[Holding, int] = {pair: held for pair, held in told.items() if pair in self._wanted}
        self.missing = {pair for pair in self.wanted if pair not in self.told}
        """Never read so far."""
        self.stale: set[Holding] = set()
        """May have moved without being read."""
        self._before: dict[Holding, int | None] = {}
        self._backlog: dict[Holding, tuple[tuple[int, Cause], ...]] = {}
        """What moved in blocks that could not be read, with their heights: it explains the next reading."""
        self._blind = False
        """The node has lost the state of the blocks that are told now."""
        self._settled = self._memory()

    # --- what to read ---

    def touched(self, block: Block, found: Iterable[Flow]) -> tuple[Holding, ...]:
        """The pairs that the block could have moved, and those that were never read."""
        if not self._rules.wallets or (self._blind and block.header.number % PROBE):
            return ()
        return tuple(sorted(self._moved(block, found) | self.missing))

    def _moved(self, block: Block, found: Iterable[Flow]) -> set[Holding]:
        """The pairs that the block could have moved, as far as the block tells."""
        rules = self._rules
        wallets = rules.wallets
        pairs = {(flow.token, flow.wallet) for flow in found}
        for transaction in block.transactions:
            pairs.add(("", transaction.from_.lower()))
        pairs.add(("", block.miner or ""))
        ran = block.gas_used != PLAIN_GAS * block.transaction_count
        if ran and block.readings.moves is None and len(wallets) <= EVERYONE:
            pairs.update(("", wallet) for wallet in wallets)
        if rules.tokens:
            pairs.update(self._mentioned(block))
        return pairs & self._wanted

    def _mentioned(self, block: Block) -> Iterable[Holding]:
        """Any log of a listed token that names a wallet, whatever it says of it."""
        rules = self._rules
        for log in block.logs:
            token = log.address.lower()
            if token not in rules.tokens:
                continue
            words = [topic[-40:] for topic in log.topics[1:]]
            words += [log.data[at - 40 : at] for at in range(66, min(len(log.data), 66 + 64 * 64) + 1, 64)]
            for word in words:
                wallet = f"0x{word.lower()}"
                if wallet in rules.wallets:
                    yield token, wallet

    # --- what to tell ---

    def tell(self, block: Block, found: Sequence[Flow], retracted: int) -> list[Event]:
        """The changed balances of a block, and the first readings of wallets."""
        if not self._rules.wallets:
            return []
        readings = block.readings
        moved = self._moved(block, found)
        self._blind = readings.unreadable or (self._blind and not readings.balances)
        self.stale |= (moved - readings.balances.keys()) & self.told.keys()
        self._leave(block, found, {pair for pair in moved if readings.balances.get(pair) is None})
        # A pair that nothing moved was asked for because it was not known then. What it says is left to the next
        # audit, so that two daemons, of which one asks further ahead than the other, tell the same.
        self.stale.update(
            pair for pair, held in readings.balances.items() if pair not in moved and self.told.get(pair, held) != held
        )
        read = {
            pair: held
            for pair, held in readings.balances.items()
            if pair in self._wanted and (pair in moved or pair not in self.told)
        }
        changed = [(pair, held) for pair, held in read.items() if held is not None and self._differs(pair, held)]
        causes = _causes(block, found, self._rules) if changed else {}
        events = [
            self._changed(block.header, pair, held, causes.get(pair, []), rfc3339(block.arrived), "", retracted)
            for pair, held in changed
        ]
        events += self._first(block.header, read, rfc3339(block.arrived), retracted)
        self._read(read)
        return events

    def audit(self, header: Header, balances: Mapping[Holding, int | None], now: str, count: int) -> list[Event]:
        """
        What a reading of everything at the tip `header` shows that no block told. `count` tells audits of one block
        apart.
        """
        self._blind = False
        read = {pair: held for pair, held in balances.items() if pair in self._wanted}
        events = [
            self._changed(header, pair, held, [], now, f"audit {count}", 0)
            for pair, held in read.items()
            if held is not None and self._differs(pair, held)
        ]
        events += self._first(header, read, now, f"audit {count}")
        self._read(read)
        return events

    def _differs(self, pair: Holding, held: int) -> bool:
        return self.told.get(pair, held) != held

    def _read(self, read: Mapping[Holding, int | None]) -> None:
        for pair, held in read.items():
            self.stale.discard(pair)  # where the contract has no answer, nobody asks before the next audit
            self.missing.discard(pair)
            if held is not None:
                self._backlog.pop(pair, None)

    @property
    def unsettled(self) -> bool:
        """Something may have moved unseen, or was never read: an audit should not wait for its time."""
        return bool(self.stale or self.missing)

    def _changed(
        self,
        header: Header,
        pair: Holding,
        held: int,
        causes: list[Cause],
        observed: str,
        position: str,
        retracted: int,
    ) -> Event:
        rules = self._rules
        token, wallet = pair
        listed = rules.tokens.get(token)
        before = self.told[pair]
        self._set(pair, held)
        causes = [*(cause for _, cause in self._backlog.get(pair, ())), *causes]
        delta = held - before
        return Event(
            id=event_id(
                rules.chain, header.hash, BalanceChanged.TYPE, None, position, f"{wallet}:{token}", None, retracted
            ),
            type=BalanceChanged.TYPE,
            timestamp=rfc3339(header.timestamp * 1000),
            observed_at=observed,
            chain=rules.chain,
            data=BalanceChanged(
                address=checksum(wallet),
                token=listed.symbol if listed else rules.native,
                token_address=checksum(token) if token else None,
                decimals=listed.decimals if listed else rules.decimals,
                balance=str(held),
                previous_balance=str(before),
                delta=str(delta),
                causes=causes,
                unattributed=str(delta - sum(int(cause.amount) for cause in causes)),
                block_number=header.number,
                block_hash=header.hash,
            ),
        )  # fmt: skip

    def _first(
        self, header: Header, read: Mapping[Holding, int | None], observed: str, retracted: int | str
    ) -> list[Event]:
        """One `wallet_status` for each wallet of which something was read for the first time."""
        rules = self._rules
        news: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for (token, wallet), held in read.items():
            if held is not None and (token, wallet) not in self.told:
                self._set((token, wallet), held)
                news[wallet].append((token, held))
        return [
            Event(
                id=event_id(
                    rules.chain, header.hash, WalletStatus.TYPE, None, ",".join(token for token, _ in balances), wallet,
                    None, retracted,
                ),
                type=WalletStatus.TYPE,
                timestamp=rfc3339(header.timestamp * 1000),
                observed_at=observed,
                chain=rules.chain,
                data=WalletStatus(
                    address=checksum(wallet),
                    name=rules.names.get(wallet, ""),
                    state="watching",
                    balances=[self._balance(token, held) for token, held in balances],
                    block_number=header.number,
                    block_hash=header.hash,
                ),
            )
            for wallet, balances in news.items()
        ]  # fmt: skip

    def held(self) -> dict[str, list[Balance]]:
        """What was told last of each wallet (lower case), its native balance first; nothing where none was read."""
        told: dict[str, list[Balance]] = {wallet: [] for wallet in self._rules.wallets}
        for pair in self.wanted:
            if pair in self.told:
                told[pair[1]].append(self._balance(pair[0], self.told[pair]))
        return told

    def _balance(self, token: str, held: int) -> Balance:
        rules = self._rules
        listed = rules.tokens.get(token)
        return Balance(
            token=listed.symbol if listed else rules.native,
            token_address=checksum(token) if token else None,
            decimals=listed.decimals if listed else rules.decimals,
            balance=str(held),
        )

    def _leave(self, block: Block, found: Sequence[Flow], unread: set[Holding]) -> None:
        """The block may have moved these and nobody knows: what it moved is explained at the next reading."""
        unread &= self.told.keys()
        if not unread:
            return
        for pair, some in _causes(block, found, self._rules).items():
            if pair in unread:
                late = tuple((block.header.number, cause) for cause in some)
                self._backlog[pair] = self._backlog.get(pair, ()) + late
        if sum(map(len, self._backlog.values())) > _BACKLOG:
            self._backlog.clear()

    # --- retractions, and steps that fail ---

    def rewind(self, ancestor: int) -> None:
        """The blocks above `ancestor` are orphaned: they explain nothing any more."""
        self._backlog = {
            pair: tuple(late for late in some if late[0] <= ancestor) for pair, some in self._backlog.items()
        }

    def retract(self, event: Event) -> None:
        """Undo what an event told. Its `data` was read back from the journal, so it is a dict."""
        data: dict[str, Any] = event.data
        if event.type == BalanceChanged.TYPE:
            pair = _pair(data)
            if pair[1] in self._rules.wallets:  # its token may not be listed for now, and may be again
                self._set(pair, int(data["previous_balance"]))
            if pair in self._wanted:
                self.stale.add(pair)
        elif event.type == WalletStatus.TYPE:
            for balance in data["balances"]:
                self._set(_pair({**balance, "address": data["address"]}), None)

    def _set(self, pair: Holding, held: int | None) -> None:
        self._before.setdefault(pair, self.told.get(pair))
        self._put(pair, held)

    def _put(self, pair: Holding, held: int | None) -> None:
        if held is None:
            self.told.pop(pair, None)
            self.missing |= {pair} & self._wanted
        else:
            self.told[pair] = held
            self.missing.discard(pair)

    def settle(self) -> dict[Holding, int | None]:
        """What changed since the last time: to be kept. None: forget it."""
        changed = {pair: self.told.get(pair) for pair in self._before}
        self._before.clear()
        self._settled = self._memory()
        return changed

    def undo(self) -> None:
        """As it was at the last `settle`."""
        for pair, held in self._before.items():
            self._put(pair, held)
        self._before.clear()
        missing, stale, backlog, self._blind = self._settled
        self.missing, self.stale, self._backlog = set(missing), set(stale), dict(backlog)

    def _memory(self) -> tuple[set[Holding], set[Holding], dict[Holding, tuple[tuple[int, Cause], ...]], bool]:
        """All but what was told, which is too much to copy each time; the rest is little, as a rule."""
        return set(self.missing), set(self.stale), dict(self._backlog), self._blind


def _pair(data: Mapping[str, Any]) -> Holding:
    return (data["token_address"] or "").lower(), data["address"].lower()


def _causes(block: Block, found: Iterable[Flow], rules: Rules) -> dict[Holding, list[Cause]]:
    """What of the block moved each pair, as far as its parts tell."""
    causes: dict[Holding, list[Cause]] = defaultdict(list)
    for flow in found:
        if flow.standard != "erc1155":  # whose balances are of one id each, and are not read
            cause = Cause(kind=flow.cause, amount=str(flow.amount), tx_hash=flow.tx_hash)
            causes[flow.token, flow.wallet].append(cause)
    for _, transaction, receipt in receipts_of(block, rules):
        sender = transaction.from_.lower()
        price = receipt.effective_gas_price or transaction.gas_price
        if sender not in rules.wallets or price is None:
            continue
        gas = quantity(receipt.gas_used, 256) * quantity(price, 256)
        if receipt.l1_fee is not None:
            gas += quantity(receipt.l1_fee, 256)
        paid = {"gas": gas}
        if receipt.blob_gas_used is not None and receipt.blob_gas_price is not None:
            paid["blob_fee"] = quantity(receipt.blob_gas_used, 256) * quantity(receipt.blob_gas_price, 256)
        tx_hash = transaction.hash.lower()
        causes["", sender].extend(
            Cause(kind=kind, amount=str(-wei), tx_hash=tx_hash) for kind, wei in paid.items() if wei
        )
    if block.miner in rules.wallets and len(block.receipts) == len(block.transactions):
        tip = _tips(block)
        if tip:
            causes["", block.miner or ""].append(Cause(kind="tip", amount=str(tip), tx_hash=None))
    return causes


def _tips(block: Block) -> int:
    """Wei that the transactions paid for gas above what is burnt (EIP-1559)."""
    burnt = block.base_fee_per_gas or 0
    total = 0
    for transaction, receipt in zip(block.transactions, block.receipts, strict=True):
        price = receipt.effective_gas_price or transaction.gas_price
        if price is not None:  # what a rollup's own deposits pay is less than what is burnt: nothing
            total += quantity(receipt.gas_used, 256) * max(0, quantity(price, 256) - burnt)
    return total
