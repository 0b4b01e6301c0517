"""What is special about a chain, by its id: block time, native currency, and what of the standard it does not keep."""

from __future__ import annotations

import msgspec


class Profile(msgspec.Struct, frozen=True):
    """Defaults are those of an unknown EVM chain."""

    block_time: float = 2.0
    """Seconds between blocks, as a rule: how long a silence is suspicious."""
    bloom: bool = True
    """The headers' logs bloom is the logs'. zkSync leaves it zero; bor's does not know the logs of state syncs."""
    development: bool = False
    """Blocks come when somebody mines them: a silence is nothing to report."""

    @property
    def quiet(self) -> float:
        """Seconds without a pushed head after which the node is asked for its latest block."""
        return 0.5 if self.development else min(max(self.block_time * 1.5, 1.0), 20.0)

    @property
    def stall_after(self) -> float | None:
        """Seconds without a new head after which a chain counts as stalled; None: never."""
        return None if self.development else max(15.0, self.block_time * 5)


PROFILES = {
    1: Profile(block_time=12.0),
    10: Profile(block_time=2.0),
    56: Profile(block_time=0.45),
    100: Profile(block_time=5.0),
    137: Profile(block_time=2.0, bloom=False),
    300: Profile(block_time=1.0, bloom=False),
    324: Profile(block_time=1.0, bloom=False),
    1337: Profile(development=True),
    8453: Profile(block_time=2.0),
    31337: Profile(development=True),
    42161: Profile(block_time=0.25),
    43114: Profile(block_time=1.5),
    59144: Profile(block_time=2.0),
    80002: Profile(block_time=2.0, bloom=False),
    11155111: Profile(block_time=12.0),
}


def profile(chain_id: int) -> Profile:
    return PROFILES.get(chain_id) or Profile()
