"""
Chains that `chainwatch init` offers: endpoints that need no key, of several operators, tokens whose contracts are the
issuers' own, and feeds of Chainlink. Whoever has a node of their own prefers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Known(NamedTuple):
    """A well-known chain."""

    name: str
    chain_id: int
    endpoints: tuple[str, ...]
    tokens: tuple[tuple[str, str, int], ...] = ()
    """Symbol, contract, decimals."""
    feeds: Mapping[str, tuple[str, str]] = {}
    """Chainlink's proxies by what they price in USD, each with the heartbeat of its page."""


_ALL: Final = (
    Known(
        "ethereum",
        1,
        # Of several operators, so that one that is down or limits us is not the end.
        (
            "wss://ethereum-rpc.publicnode.com", "wss://eth.drpc.org", "https://eth.merkle.io", "https://1rpc.io/eth",
        ),
        (
            ("USDC", "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", 6),
            ("USDT", "0xdAC17F958D2ee523a2206206994597C13D831ec7", 6),
            ("WETH", "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", 18),
            ("DAI", "0x6B175474E89094C44Da98b954EedeAC495271d0F", 18),
        ),
        {
            "ETH": ("0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419", "1h"),
            "BTC": ("0xF4030086522a5bEEa4988F8cA5B36dbC97BeE88c", "1h"),
            "LINK": ("0x2c1d072e956AFFC0D435Cb7AC38EF18d24d9127c", "1h"),
        },
    ),
    Known(
        "base",
        8453,
        ("wss://base-rpc.publicnode.com", "wss://base.drpc.org", "https://mainnet.base.org"),
        (
            ("USDC", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", 6),
            ("WETH", "0x4200000000000000000000000000000000000006", 18),
        ),
        {"ETH": ("0x71041dddad3595F9CEd3DcCFBe3D1F4b0a16Bb70", "20m")},
    ),
    Known(
        "arbitrum",
        42161,
        ("wss://arbitrum-one-rpc.publicnode.com", "wss://arbitrum.drpc.org", "https://arb1.arbitrum.io/rpc"),
        (
            ("USDC", "0xaf88d065e77c8cC2239327C5EDb3A432268e5831", 6),
            ("WETH", "0x82aF49447D8a07e3bd95BD0d56f35241523fBab1", 18),
        ),
        {"ETH": ("0x639Fe6ab55C921f74e7fac1ee960C0B6293ba612", "24h")},
    ),
    Known(
        "optimism",
        10,
        ("wss://optimism-rpc.publicnode.com", "wss://optimism.drpc.org", "https://mainnet.optimism.io"),
        (
            ("USDC", "0x0b2C639c533813f4Aa9D7837CAf62653d097Ff85", 6),
            ("WETH", "0x4200000000000000000000000000000000000006", 18),
        ),
        {"ETH": ("0x13e3Ee699D1909E989722E753853AE30b17e08c5", "20m")},
    ),
    Known(
        "polygon",
        137,
        ("wss://polygon-bor-rpc.publicnode.com", "wss://polygon.drpc.org", "https://1rpc.io/matic"),
        (("USDC", "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359", 6),),
        {"POL": ("0xAB594600376Ec9fD91F8e885dADF0CE036862dE0", "24h")},
    ),
    Known(
        "bnb",
        56,
        ("wss://bsc-rpc.publicnode.com", "wss://bsc.drpc.org", "https://bsc-dataseed.bnbchain.org"),
        (
            ("USDC", "0x8AC76a51cc950d9822D68b83fE1Ad97B32Cd580d", 18),
            ("USDT", "0x55d398326f99059fF775485246999027B3197955", 18),
        ),
        {"BNB": ("0x0567F2323251f0Aab15c8dFb1967E4e8A7D42aeE", "24h")},
    ),
    Known(
        "gnosis",
        100,
        ("wss://gnosis-rpc.publicnode.com", "wss://gnosis.drpc.org", "https://rpc.gnosischain.com"),
    ),
    Known(
        "avalanche",
        43114,
        ("wss://avalanche-c-chain-rpc.publicnode.com", "https://api.avax.network/ext/bc/C/rpc"),
        (("USDC", "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E", 6),),
        {"AVAX": ("0x0A77230d17318075983913bC2145DB16C7366156", "24h")},
    ),
    Known(
        "sepolia",
        11155111,
        ("wss://ethereum-sepolia-rpc.publicnode.com", "wss://sepolia.drpc.org"),
        (("USDC", "0x1c7D4B196Cb0C7B01d743Fbc6116a902379C7238", 6),),
        {"ETH": ("0x694AA1769357215DE4FAC081bf1f309aDC325306", "24h")},
    ),
)  # fmt: skip

CHAINS: Final[dict[str, Known]] = {chain.name: chain for chain in _ALL}


def by_id(chain_id: int) -> Known | None:
    """The one of that id."""
    return next((chain for chain in CHAINS.values() if chain.chain_id == chain_id), None)


def token_tables(chain: str, known: Known) -> list[dict[str, Any]]:
    """Its tokens, as tables of the configuration of a chain that is called so."""
    return [
        {"chain": chain, "symbol": symbol, "address": address, "decimals": decimals}
        for symbol, address, decimals in known.tokens
    ]


def price_table(chain: str, known: Known, symbol: str) -> dict[str, Any]:
    """One of its feeds, likewise."""
    feed, heartbeat = known.feeds[symbol]
    return {"symbol": symbol, "source": "chainlink", "chain": chain, "feed": feed, "heartbeat": heartbeat}
