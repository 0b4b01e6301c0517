"""What is special about a chain, by its id: block time, native currency, and what of the standard it does not keep."""

from __future__ import annotations

import msgspec


class Profile(msgspec.Struct, frozen=True):
    """Defaults are those of an unknown EVM chain."""

    block_time: float = 2.0
    """Seconds between blocks, as a rule: how long a silence is suspicious."""
    bloom: bool = True
    """The headers' logs bloom is the logs'. zkSync leaves it zero; bor's does not know the logs of state syncs."""
    position_manager: str | None = None
    """Uniswap v4's PositionManager, which knows the keys of pools (Uniswap's list of deployments). What it says is
    proven by the pool's id, so that a wrong address here does no harm."""
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
    1: Profile(block_time=12.0, position_manager="0xbd216513d74c8cf14cf4747e6aaa6420ff64ee9e"),
    10: Profile(block_time=2.0, position_manager="0x3c3ea4b57a46241e54610e5f022e5c45859a1017"),
    56: Profile(block_time=0.45, position_manager="0x7a4a5c919ae2541aed11041a1aeee68f1287f95b"),
    100: Profile(block_time=5.0),
    137: Profile(block_time=2.0, bloom=False, position_manager="0x1ec2ebf4f37e7363fdfe3551602425af0b3ceef9"),
    300: Profile(block_time=1.0, bloom=False),
    324: Profile(block_time=1.0, bloom=False),
    1337: Profile(development=True),
    8453: Profile(block_time=2.0, position_manager="0x7c5f5a4bbd8fd63184577525326123b519429bdc"),
    31337: Profile(development=True),
    42161: Profile(block_time=0.25, position_manager="0xd88f38f930b7952f2db2432cb002e7abbf3dd869"),
    43114: Profile(block_time=1.5, position_manager="0xb74b1f14d2754acfcbbe1a221023a5cf50ab8acd"),
    59144: Profile(block_time=2.0),
    80002: Profile(block_time=2.0, bloom=False),
    11155111: Profile(block_time=12.0, position_manager="0x429ba70129df741b2ca2a85bc3a2a3328e5c09b4"),
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
