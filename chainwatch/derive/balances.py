"""
What the watched wallets hold: read at a block's hash, compared with what was told, and explained.

Only a state read is exact: traces miss what a node's own hands or a rebase move, and a token's log may say more than
arrived. So the numbers are read, and transactions, traces and logs are only the reasons; what they do not explain is
`unattributed`. A pair of token and wallet is read where something in the block could have moved it, and all of them now
and then at the tip (an audit), so that nothing stays hidden.

Pure, but for the memory of what was told. A step may fail half-way, so changes are noted until `settle` or `undo`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chainwatch.chain.evm.block import Block, Header, quantity
from chainwatch.chain.evm.reads import Holding
from chainwatch.derive.flows import Flow, receipts_of
from chainwatch.derive.rules import Rules, checksum
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
        self._backlog: dict[Holding, list[Cause]] = {}
        self._blind = False

    # --- what to read ---

    def touched(self, block: Block, found: Iterable[Flow]) -> tuple[Holding, ...]:
        """The pairs that the block could have moved, and those that were never read."""
        rules = self._rules
        wallets = rules.wallets
        if not wallets or (self._blind and block.header.number % PROBE):
            return ()
        pairs = {(flow.token, flow.wallet) for flow in found}
        for transaction in block.transactions:
            pairs.add(("", transaction.from_.lower()))
        pairs.add(("", block.miner or ""))
        ran = block.gas_used != PLAIN_GAS * block.transaction_count
        if ran and block.readings.moves is None and len(wallets) <= EVERYONE:
            pairs.update(("", wallet) for wallet in wallets)
        if rules.tokens:
            pairs.update(self._mentioned(block))
        pairs |= self.missing
        pairs &= self._wanted
        return tuple(sorted(pairs))

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
        if readings.unreadable or (self._blind and not readings.balances):
            self._blind = True
            self._remember(block, found)
            return []
        self._blind = False
        read = [(pair, held) for pair, held in readings.balances.items() if held is not None and pair in self._wanted]
        changed = [(pair, held) for pair, held in read if pair in self.told and self.told[pair] != held]
        causes = _causes(block, found, self._rules) if changed else {}
        events = [
            self._changed(block.header, pair, held, causes.get(pair, []), rfc3339(block.arrived), "", retracted)
            for pair, held in changed
        ]
        events += self._first(block.header, read, rfc3339(block.arrived), retracted)
        self._read(readings.balances)
        return events

    def audit(self, header: Header, balances: Mapping[Holding, int | None], now: str, count: int) -> list[Event]:
        """
        What a reading of everything at the tip `header` shows that no block told. `count` tells audits of one block
        apart.
        """
        read = [(pair, held) for pair, held in balances.items() if held is not None and pair in self._wanted]
        events = [
            self._changed(header, pair, held, [], now, f"audit {count}", 0)
            for pair, held in read
            if pair in self.told and self.told[pair] != held
        ]
        events += self._first(header, read, now, f"audit {count}")
        self._read(balances)
        return events

    def _read(self, pairs: Iterable[Holding]) -> None:
        for pair in pairs:
            self.stale.discard(pair)
            self.missing.discard(pair)  # where the contract has no answer, nobody asks before the next audit
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
        causes = [*self._backlog.get(pair, ()), *causes]
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
        self, header: Header, read: Iterable[tuple[Holding, int]], observed: str, retracted: int | str
    ) -> list[Event]:
        """One `wallet_status` for each wallet of which something was read for the first time."""
        rules = self._rules
        news: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for (token, wallet), held in read:
            if (token, wallet) not in self.told:
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

    def _balance(self, token: str, held: int) -> Balance:
        rules = self._rules
        listed = rules.tokens.get(token)
        return Balance(
            token=listed.symbol if listed else rules.native,
            token_address=checksum(token) if token else None,
            decimals=listed.decimals if listed else rules.decimals,
            balance=str(held),
        )

    def _remember(self, block: Block, found: Sequence[Flow]) -> None:
        """A block whose state is gone: what it moved is explained at the next reading."""
        causes = _causes(block, found, self._rules)
        for pair, some in causes.items():
            if pair in self.told:
                self._backlog.setdefault(pair, []).extend(some)
                self.stale.add(pair)
        if sum(map(len, self._backlog.values())) > _BACKLOG:
            self._backlog.clear()
        self.stale.update(self.told)

    # --- retractions, and steps that fail ---

    def retract(self, event: Event) -> None:
        """Undo what an event told. Its `data` was read back from the journal, so it is a dict."""
        data: dict[str, Any] = event.data
        if event.type == BalanceChanged.TYPE:
            pair = _pair(data)
            if pair in self._wanted:
                self._set(pair, int(data["previous_balance"]))
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
        return changed

    def undo(self) -> None:
        """As it was at the last `settle`."""
        for pair, held in self._before.items():
            self._put(pair, held)
        self._before.clear()


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
