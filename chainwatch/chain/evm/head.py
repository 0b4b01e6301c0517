"""
Where the canonical chain is, by what was told so far, and what a head that a node names means for it.

Pure: no socket, no clock. The window holds the newest blocks that were told (committed), the tip last. A head is only a
hint; `judge` says what it could mean, `Walk` finds the common ancestor by asking for parents, and neither believes that
a lower head is a reorganisation when the block is one that we know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from chainwatch.chain.evm.block import Header


class Window:
    """The newest told blocks, each the parent of the next. At most `size` are kept."""

    def __init__(self, size: int, headers: Iterable[Header] = ()) -> None:
        self.size = size
        self._headers: list[Header] = list(headers)[-size:]

    def __len__(self) -> int:
        return len(self._headers)

    @property
    def tip(self) -> Header | None:
        return self._headers[-1] if self._headers else None

    @property
    def oldest(self) -> int:
        """Number of the oldest block kept. Only where there is one."""
        return self._headers[0].number

    @property
    def headers(self) -> Sequence[Header]:
        return self._headers

    def at(self, number: int) -> Header | None:
        """The told block at that height, if it is kept."""
        if not self._headers:
            return None
        index = number - self.oldest
        return self._headers[index] if 0 <= index < len(self._headers) else None

    def knows(self, header: Header) -> bool:
        return (told := self.at(header.number)) is not None and told.hash == header.hash

    def above(self, ancestor: Header) -> list[Header]:
        """The told blocks above `ancestor`, oldest first: what a reorganisation down to it orphans."""
        return [header for header in self._headers if header.number > ancestor.number]

    def replace(self, headers: Sequence[Header]) -> None:
        """The window after a step."""
        self._headers = list(headers)[-self.size :]


Verdict = Literal["first", "known", "behind", "child", "ahead", "fork"]
"""first: nothing was told yet. known: a told block again (a duplicate, a node that is behind, or a rollback, which only
patience can tell apart). behind: below all that we keep. child: of the tip. ahead: higher, with blocks between. fork:
another block where we have one."""


def judge(window: Window, head: Header) -> Verdict:
    """What a head can mean."""
    tip = window.tip
    if tip is None:
        return "first"
    if head.number > tip.number:
        return "child" if head.number == tip.number + 1 and head.parent_hash == tip.hash else "ahead"
    if head.number < window.oldest:
        # A node that is syncing names heads far below ours. That is no reorganisation (ponder 2221).
        return "behind"
    return "known" if window.knows(head) else "fork"


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the node for the block with this hash."""

    hash: str


@dataclass(frozen=True, slots=True)
class Found:
    """The newest block that both chains share."""

    ancestor: Header


@dataclass(frozen=True, slots=True)
class TooDeep:
    """The chains part below what may be reorganised: an operator has to look."""

    reason: str


class Walk:
    """
    From a block of the node's chain down, parent by parent, to a block of ours.

    Depth counts what would be retracted, not what has to be read: after a long outage a reorganisation may lie inside
    a gap of any length.
    """

    def __init__(self, window: Window, *, max_depth: int, finalized: int | None, first: int | None) -> None:
        """`first`: the height at which telling began. Below it nothing can be orphaned."""
        self._first = first
        self._window = window
        self._max_depth = max_depth
        self._finalized = finalized

    def receive(self, block: Header) -> Ask | Found | TooDeep:
        """
        What to do after the node showed this block of its chain. Start it with one at, or one above, a height that
        the window holds.
        """
        window = self._window
        tip = window.tip
        if tip is None:
            raise ValueError("nothing was told yet, so there is nothing to walk to")
        if window.knows(block):
            return self._allowed(block, tip)
        parent = window.at(block.number - 1)
        if parent is not None and parent.hash == block.parent_hash:
            return self._allowed(parent, tip)
        if block.number <= window.oldest:
            if self._first is not None and block.number <= self._first == window.oldest:
                # All that was ever told is orphaned, and nothing below it was told. A lower block: by a rollback.
                lowest = block if block.number == self._first else window.headers[0]
                return self._allowed(Header(lowest.number - 1, lowest.parent_hash, "", lowest.timestamp), tip)
            kept = len(window)
            return TooDeep(f"the node's chain shares none of the newest {kept} blocks with what was told")
        # Even the best parent would be too deep: no need to ask for it.
        return self._too_deep(block.number - 2, tip) or Ask(block.parent_hash)

    def _allowed(self, ancestor: Header, tip: Header) -> Found | TooDeep:
        return self._too_deep(ancestor.number, tip) or Found(ancestor)

    def _too_deep(self, ancestor: int, tip: Header) -> TooDeep | None:
        if tip.number - ancestor > self._max_depth:
            return TooDeep(
                f"a reorganisation of {tip.number - ancestor} blocks or more, beyond max_reorg_depth ="
                f" {self._max_depth}"
            )
        if self._finalized is not None and ancestor < self._finalized:
            return TooDeep(f"a reorganisation below block {self._finalized}, which the chain called finalized")
        return None


class Patience:
    """
    Tells a rollback from a node that is behind: both name a lower head that we know.

    Rollbacks push nothing (anvil's `anvil_rollback`, `evm_revert`), so the only sign is that the node, asked again and
    again, does not have our tip. The same answer must come `answers` times over at least `seconds`.
    """

    def __init__(self, *, answers: int = 3, seconds: float = 1.0) -> None:
        self._answers = answers
        self._seconds = seconds
        self._seen: tuple[str, str] | None = None
        self._count = 0
        self._since = 0.0

    def missing(self, tip: Header, head: Header, now: float) -> bool:
        """The node, whose latest block is `head`, does not have `tip`. True: it is gone."""
        seen = (tip.hash, head.hash)
        if seen != self._seen:
            self._seen, self._count, self._since = seen, 0, now
        self._count += 1
        return self._count >= self._answers and now - self._since >= self._seconds

    def present(self) -> None:
        """The node has the tip after all."""
        self._seen = None
