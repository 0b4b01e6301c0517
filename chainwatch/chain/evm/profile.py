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


WRAPPED = {
    1: "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2",
    10: "0x4200000000000000000000000000000000000006",
    56: "0xbb4cdb9cbd36b01bd1cbaebf2de08d9173bc095c",
    100: "0xe91d153e0b41518a2ce8dd3d7944fa863463a97d",
    130: "0x4200000000000000000000000000000000000006",
    137: "0x0d500b1d8e8ef31e21c99d1db9a6444d3adf1270",
    250: "0x21be370d5312f44cb42ce377bc9b8a0cef1a4c83",
    324: "0x5aea5775959fbc2557cc8789bc1bf90a239d9a91",
    5000: "0x78c1b0c915c4faa5fffa6cabf0219da63d7f4cb8",
    8453: "0x4200000000000000000000000000000000000006",
    42161: "0x82af49447d8a07e3bd95bd0d56f35241523fbab1",
    43114: "0xb31f66aa3c1e785363f0875a1b74e27b85fd66c7",
    59144: "0xe5d7c2a44ffddf6b295a15c148167daaaf5cf34f",
    11155111: "0xfff9976782d46cc05630d1f6ebab18b2324d6b14",
}
"""The contract that wraps the native currency of a chain, by its id: WETH9, WBNB, WXDAI, WPOL, WAVAX and so on."""
