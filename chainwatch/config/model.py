"""
Every setting there is: its type, its limits, its default, and a description with unit and meaning.

The descriptions are the one source of the documentation. Nothing here reads a file; see `load`.
"""

from __future__ import annotations

import os
from decimal import Decimal
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from chainwatch.config import values
from chainwatch.event import NATIVE
from chainwatch.filter import Vocabulary

Duration = Annotated[float, BeforeValidator(values.duration)]
Size = Annotated[int, BeforeValidator(values.size)]
Address = Annotated[str, BeforeValidator(values.address)]
Endpoint = Annotated[str, BeforeValidator(values.endpoint)]
ChainName = Annotated[str, BeforeValidator(values.chain_name)]
Label = Annotated[str, BeforeValidator(values.label)]
Which = Literal["watched", "all", "none"]

CURRENCIES: Final = {
    1: "ETH", 25: "CRO", 56: "BNB", 61: "ETC", 97: "BNB", 100: "XDAI", 137: "POL", 146: "S", 250: "FTM", 369: "PLS",
    1284: "GLMR", 1285: "MOVR", 2222: "KAVA", 5000: "MNT", 10200: "XDAI", 42220: "CELO", 43113: "AVAX", 43114: "AVAX",
    80002: "POL", 80094: "BERA",
}  # fmt: skip
"""Native currencies by chain id; every other chain is taken to count in ETH, as the rollups do."""


def default_log_path(home: Path, state_home: str) -> Path:
    """Where the log is kept by default: XDG Base Directory Specification; a relative `state_home` does not count."""
    state = Path(state_home) if state_home.startswith("/") else home / ".local" / "state"
    return state / "chainwatch" / "events.db"


class Section(BaseModel):
    """A table of the configuration. Unknown keys are errors; messages never repeat what was given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(Section):
    """`[server]`: where clients connect."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on. Any but loopback needs an API key, or --insecure.",
    )
    port: StrictInt = Field(default=8080, ge=0, le=65_535, description="TCP port; 0 takes any free one, and prints it.")
    allowed_origins: tuple[Annotated[str, BeforeValidator(values.origin)], ...] = Field(
        default=(), description='Origins of web pages that may read streams, such as "https://example.org"; "*" is any.'
    )
    max_connections: StrictInt = Field(default=10_000, ge=1, description="Open streams in total.")
    max_connections_per_key: StrictInt = Field(default=100, ge=1, description="Open connections of one key.")
    max_connections_per_address: StrictInt = Field(
        default=1000, ge=1, description="Open connections of one client address."
    )
    connects_per_minute: StrictInt = Field(
        default=600, ge=1, description="New connections a minute of one client address."
    )
    heartbeat: Duration = Field(
        default=15.0,
        ge=0.1,
        le=3600,
        description="An idle stream gets a comment line after this long, so that it stays open.",
    )
    compression: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Streams and history in gzip or zstd: always for clients that accept it; auto: for those on this "
        "machine only where they ask for just that; never.",
    )
    max_connection_age: Annotated[float | None, BeforeValidator(values.duration)] = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="A stream ends in order after about this long (a tenth more or less), and its client comes back "
        "and goes on, so that balancers can spread clients anew. Default: never.",
    )
    trusted_proxies: tuple[Annotated[str, BeforeValidator(values.network)], ...] = Field(
        default=(),
        description='Addresses and networks of your proxies, such as "127.0.0.1" or "10.0.0.0/8": the client of what '
        "comes from there is the last other address in X-Forwarded-For.",
    )
    keys_file: Annotated[Path, BeforeValidator(values.file)] | None = Field(
        default=None,
        description="The API keys, as `chainwatch keys` keeps them. Default: keys.toml beside the event log.",
    )

    @property
    def loopback(self) -> bool:
        """Only this machine can reach `host`. A name other than localhost is not trusted to stay what it is."""
        return _is_loopback(self.host)


@lru_cache(maxsize=64)  # asked with each request
def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class LogSettings(Section):
    """`[log]`: the append-only event log."""

    path: Annotated[Path, BeforeValidator(values.file)] = Field(
        default_factory=lambda: default_log_path(Path.home(), os.environ.get("XDG_STATE_HOME", "")),
        description="The database file. Default: chainwatch/events.db under $XDG_STATE_HOME (~/.local/state).",
    )
    ttl: Duration = Field(default=604_800.0, ge=1, le=3_153_600_000, description="Events older than this are removed.")
    max_events: StrictInt = Field(
        default=5_000_000, ge=1, description="Beyond this many, the oldest events are removed."
    )
    max_bytes: Size = Field(
        default=4 * 1024**3, ge=1024**2, description="Beyond this size, the oldest events are removed."
    )
    memory: Size = Field(
        default=64 * 1024**2,
        ge=64 * 1024,
        description="The newest events are kept in memory too: this much, never more.",
    )


class ChainSettings(Section):
    """`[[chains]]`: a chain to follow."""

    name: ChainName = Field(description="What events, filters and metrics call it: letters, digits, - and _.")
    chain_id: StrictInt = Field(ge=1, le=2**63 - 1, description="EIP-155 chain id; checked against every endpoint.")
    endpoints: tuple[Endpoint, ...] = Field(
        min_length=1, repr=False, description="Nodes, in order of preference: ws://, wss://, http:// or https:// URLs."
    )
    endpoints_file: str | None = Field(
        default=None,
        description="A file with one URL a line instead, read at start; relative to the configuration file.",
    )
    confirmations: Annotated[tuple[int, ...], BeforeValidator(values.confirmations)] = Field(
        default=(1, 6),
        description="transaction_confirmed is told at each of these counts; inclusion is 1. Each 1 to 1000.",
    )
    start: Annotated[Literal["latest"] | int, BeforeValidator(values.start)] = Field(
        default="latest",
        description='Where a new log begins: "latest" is the head at first start; or a block number, from 0 up.',
    )
    native: Label = Field(
        default_factory=lambda data: CURRENCIES.get(data.get("chain_id", 1), "ETH"),
        description="Symbol of the chain's own currency. Default: known by the chain id.",
    )
    request_timeout: Duration = Field(
        default=10.0,
        ge=0.1,
        le=300,
        description="An endpoint that answers neither requests nor pings this long is left.",
    )
    stall_after: Annotated[float | None, BeforeValidator(values.duration)] = Field(
        default=None,
        ge=0.1,
        le=86_400,
        description="No new head for this long: others are asked. Default: by the chain's pace.",
    )
    max_reorg_depth: StrictInt = Field(
        default=64, ge=1, le=100_000, description="A reorganisation that orphans more blocks than this halts the chain."
    )
    transactions: Which = Field(
        default="watched",
        description="Whose included transactions are told, as confirmed or failed: those that a wallet sent or that "
        "went to one, all, or none.",
    )
    pending: Which = Field(
        default="watched",
        description="Whose transactions are told while they wait, and when they are replaced or dropped: of wallets, "
        "all, or none. Needs endpoints that show their mempool; where one gives only hashes, each costs a request.",
    )
    dropped_after: Duration = Field(
        default=30.0,
        ge=1,
        le=86_400,
        description="A pending transaction that no endpoint has known for this long is told as dropped; so is any that "
        "has waited for three hours. It may be included all the same, and is then told as any other.",
    )
    balance_sweep: Duration = Field(
        default=300.0,
        ge=1,
        le=86_400,
        description="All balances are read this often, at the newest block, beside those that a block could have "
        "moved: so what left no trace in any block is found.",
    )
    tokens: Which = Field(
        default="watched",
        description="Which transfers, approvals and swaps are told: those that touch wallets or listed tokens, all, or "
        "none. What wallet_incoming, wallet_outgoing and balance_changed tell does not hang on it.",
    )
    internal_transfers: StrictBool = Field(
        default=False,
        description="Native currency that contracts pass on inside transactions is told for wallets, and explains "
        "balances. Needs a node with trace_block or debug_traceBlockByHash; each block that ran a contract is traced.",
    )


class WalletSettings(Section):
    """`[[wallets]]`: an address to watch."""

    name: Label = Field(description="What you call it; wallet_status tells it.")
    address: Address = Field(description="0x and 40 hexadecimal digits. Mixed case is checked (EIP-55).")
    chains: tuple[str, ...] = Field(default=(), description="Names of chains on which it is watched. Default: all.")


class TokenSettings(Section):
    """`[[tokens]]`: a token whose symbol is trusted, so that filters can name it, and whose balances are read."""

    chain: str = Field(description="Name of its chain.")
    symbol: Label = Field(
        description="What filters and events call it, whatever the contract says. W and the native symbol, such as "
        "WETH, is taken to wrap the native currency."
    )
    address: Address = Field(description="Its contract.")
    decimals: StrictInt = Field(
        ge=0, le=255, description="Digits behind the point; 0 for tokens that do not divide, such as ERC-721."
    )


class PriceSettings(Section):
    """`[[prices]]`: a price to follow."""

    symbol: Label = Field(description="What is priced, as price_update calls it.")
    quote: Label = Field(default="USD", description="What it is priced in.")
    source: Literal["chainlink", "coingecko", "coinmarketcap"] = Field(
        description="Who tells the price: a feed on a chain, or an API that is asked over HTTP."
    )
    chain: str | None = Field(default=None, description="Chainlink: the chain where the feed's proxy lives.")
    feed: Address | None = Field(
        default=None, description="Chainlink: the feed's proxy, the address at data.chain.link, not its aggregator."
    )
    id: str | None = Field(
        default=None,
        min_length=1,
        description="CoinGecko: the API id, such as ethereum. CoinMarketCap: a number such as 1027, or a slug.",
    )
    url: Annotated[str, BeforeValidator(values.web_address)] | None = Field(
        default=None,
        repr=False,
        description="CoinGecko, CoinMarketCap: another address to ask, http:// or https://; what follows the host is "
        "the beginning of the API's path. A key of CoinGecko's paid plans needs https://pro-api.coingecko.com/api/v3.",
    )
    api_key_file: str | None = Field(
        default=None,
        min_length=1,
        description="CoinGecko, CoinMarketCap: a file that holds the API key and nothing else, read at start; relative "
        "to the configuration file. CoinMarketCap needs one.",
    )
    interval: Duration = Field(
        default=60.0,
        ge=1,
        le=86_400,
        description="CoinGecko, CoinMarketCap: asked this often. Prices with the same source, url and api_key_file are "
        "asked for together, as often as the most frequent of them.",
    )
    monthly_calls: StrictInt | None = Field(
        default=None,
        ge=1,
        description="CoinGecko, CoinMarketCap: requests in a calendar month (UTC). What is left of them is spread over "
        "what is left of the month, so a short interval gets longer. Default: 10000, the free plans', where there is "
        "an API key and no url; else no limit.",
    )
    min_change: Annotated[Decimal, BeforeValidator(values.percent)] = Field(
        default=Decimal("0.1"),
        description='Smaller changes than this from the price told last are not told: "0.1%". Chainlink: each round is '
        "told unless this is set.",
    )
    heartbeat: Duration = Field(
        default=86_400.0,
        ge=1,
        le=31_536_000,
        description="Chainlink: the feed answers at least this often, as its page at data.chain.link says. When it is "
        "silent for a tenth longer, by the time of the chain's blocks, source_status says that it is failing.",
    )


class Settings(Section):
    """The whole configuration. Without `[[chains]]` there are no chains."""

    server: ServerSettings = Field(default_factory=ServerSettings, description="Where clients connect.")
    log: LogSettings = Field(default_factory=LogSettings, description="The append-only event log.")
    chains: tuple[ChainSettings, ...] = Field(default=(), description="The chains to follow.")
    wallets: tuple[WalletSettings, ...] = Field(default=(), description="The addresses to watch.")
    tokens: tuple[TokenSettings, ...] = Field(default=(), description="The tokens that filters can name.")
    prices: tuple[PriceSettings, ...] = Field(default=(), description="The prices to follow.")

    @property
    def keys_file(self) -> Path:
        """Where the API keys are."""
        return self.server.keys_file or self.log.path.parent / "keys.toml"


def vocabulary(settings: Settings) -> Vocabulary:
    """The words that filters can use: of chains, wallets, prices, native currencies and the configured tokens."""
    tokens: dict[str, tuple[tuple[str, str], ...]] = {}
    meanings: list[tuple[str, tuple[str, str]]] = [
        *((chain.native, (chain.name, NATIVE)) for chain in settings.chains),
        *((token.symbol, (token.chain, token.address)) for token in settings.tokens),
    ]
    for symbol, meaning in meanings:
        tokens[symbol.upper()] = (*tokens.get(symbol.upper(), ()), meaning)
    return Vocabulary(
        chains=tuple(chain.name for chain in settings.chains),
        tokens=tokens,
        wallets={wallet.name: (wallet.address.lower(), wallet.chains) for wallet in settings.wallets},
        prices=tuple((price.symbol, price.quote, price.chain) for price in settings.prices),
    )


TABLES: Final[dict[str, Any]] = {
    "server": ServerSettings, "log": LogSettings, "chains": ChainSettings,
    "wallets": WalletSettings, "tokens": TokenSettings, "prices": PriceSettings,
}  # fmt: skip
"""The model of each table, by its name in the file."""
