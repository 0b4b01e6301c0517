"""The transactions of the mempool that are remembered: found by hash, by sender and nonce, by the block that ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from chainwatch.derive.pending import Waiting


class Shelf:
    """Each transaction once, in one of three states; see `Waiting`. Whatever changes is put there anew."""

    def __init__(self) -> None:
        self._known: dict[str, Waiting] = {}
        self._places: dict[str, dict[int, dict[str, Waiting]]] = {}
        """Those that wait or were ended by a block: sender, nonce, hash."""
        self._blocks: dict[str, tuple[int, dict[str, None]]] = {}
        """Of told blocks, lowest first: height, and the hashes of those that they ended."""
        self.over: OrderedDict[str, None] = OrderedDict()
        """Those that are over for good, oldest first."""

    def __contains__(self, tx_hash: str) -> bool:
        return tx_hash in self._known

    def __getitem__(self, tx_hash: str) -> Waiting:
        return self._known[tx_hash]

    def get(self, tx_hash: str) -> Waiting | None:
        return self._known.get(tx_hash)

    def open(self) -> list[Waiting]:
        """Those that are not over."""
        return [one for places in self._places.values() for mates in places.values() for one in mates.values()]

    def has_sender(self, sender: str) -> bool:
        return sender in self._places

    def at(self, sender: str, nonce: int) -> list[Waiting]:
        """Those of that sender with that nonce that are not over."""
        return list(self._places.get(sender, {}).get(nonce, {}).values())

    def below(self, sender: str, nonce: int) -> list[Waiting]:
        """Those of that sender with a lower nonce that wait, lowest first."""
        places = self._places.get(sender, {})
        lower = sorted(each for each in places if each < nonce)
        return [one for each in lower for one in places[each].values() if one.waits]

    def ended_by(self, block_hash: str) -> list[Waiting]:
        """Those whose waiting that block ended."""
        found = self._blocks.get(block_hash)
        return [] if found is None else [self._known[tx_hash] for tx_hash in found[1]]

    def ended_up_to(self, number: int) -> Iterator[Waiting]:
        """Those that blocks up to that height ended, lowest block first. They may be changed meanwhile."""
        while self._blocks:
            height, ended = self._blocks[first := next(iter(self._blocks))]
            if height > number:
                return
            yield from [self._known[tx_hash] for tx_hash in ended]
            self._blocks.pop(first, None)

    def put(self, one: Waiting) -> None:
        self.remove(one.hash)
        self._known[one.hash] = one
        if one.block_hash is not None:
            self._blocks.setdefault(one.block_hash, (one.block_number or 0, {}))[1][one.hash] = None
        elif not one.waits:
            self.over[one.hash] = None
            return
        self._places.setdefault(one.sender, {}).setdefault(one.nonce, {})[one.hash] = one

    def remove(self, tx_hash: str) -> None:
        one = self._known.pop(tx_hash, None)
        if one is None:
            return
        if one.block_hash is not None:
            ended = self._blocks[one.block_hash][1]
            del ended[tx_hash]
            if not ended:
                del self._blocks[one.block_hash]
        elif not one.waits:
            del self.over[tx_hash]
            return
        places = self._places[one.sender]
        del places[one.nonce][tx_hash]
        if not places[one.nonce]:
            del places[one.nonce]
        if not places:
            del self._places[one.sender]
