"""
Every setting there is: its type, its limits, its default, and a description with unit and meaning.

The descriptions are the one source of the documentation: `python man/build.py` writes chainwatch.example.toml and
man/chainwatch.toml.5 from them (`document` knows how), and `chainwatch init` its file. Run it after every change here.
A key without a default, or whose default depends, has `examples`: the first is what the example shows, as it is written
in TOML. A table has its name in `Settings` and in `TABLES`, and may live in a module of its own, as `prices` does.
Nothing here reads a file; see `load`.
"""

from __future__ import annotations

import os
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt

from chainwatch.config import values
from chainwatch.config.prices import PriceSettings
from chainwatch.config.section import Address, ChainName, Duration, Endpoint, Label, Section, Size, Which
from chainwatch.config.webhooks import WebhookSettings
from chainwatch.event import NATIVE
from chainwatch.filter import Vocabulary

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


class ServerSettings(Section):
    """`[server]`: where clients connect."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on. Any but loopback needs a key (`chainwatch keys create`), or "
        "`serve --insecure`.",
    )
    port: StrictInt = Field(
        default=8080, ge=0, le=65_535, description="TCP port; 0 takes any free one, which the line on stdout tells."
    )
    allowed_origins: tuple[Annotated[str, BeforeValidator(values.origin)], ...] = Field(
        default=(), description='Origins of web pages that may read streams, such as "https://example.org"; "*" is any.'
    )
    max_connections: StrictInt = Field(
        default=10_000, ge=1, description="Open connections in total. Each takes a file descriptor."
    )
    max_connections_per_key: StrictInt = Field(default=100, ge=1, description="Open connections of one key.")
    max_connections_per_address: StrictInt = Field(
        default=1000, ge=1, description="Open connections of one client address (of IPv6: one /64)."
    )
    connects_per_minute: StrictInt = Field(
        default=600,
        ge=1,
        description="New connections a minute of one client address. Clients that come back with a cursor are not new.",
    )
    heartbeat: Duration = Field(
        default=15.0,
        ge=0.1,
        le=3600,
        description="An idle stream gets a comment line after this long, so that nothing between closes it.",
    )
    compression: Literal["auto", "always", "never"] = Field(
        default="auto",
        description='Streams and history in gzip or zstd, where the client accepts it: "always", "never", or "auto". '
        'That is "always", but not for clients on this machine, which gain nothing by it; one that names gzip or zstd '
        "alone gets it all the same.",
    )
    max_connection_age: Annotated[float | None, BeforeValidator(values.duration)] = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="A stream ends in order after about this long (a tenth more or less), and its client comes back "
        "and goes on, so that balancers can spread clients anew. By default none does.",
        examples=["1h"],
    )
    trusted_proxies: tuple[Annotated[str, BeforeValidator(values.network)], ...] = Field(
        default=(),
        description='Addresses and networks of your proxies, such as "127.0.0.1" or "10.0.0.0/8": the client of what '
        "comes from there is the last other address in X-Forwarded-For, for limits, logs and statistics.",
    )
    keys_file: Annotated[Path, BeforeValidator(values.file)] | None = Field(
        default=None,
        description="The API keys, as `chainwatch keys` keeps them: nothing else writes this file. Default: keys.toml "
        "beside the event log.",
        examples=["~/.local/state/chainwatch/keys.toml"],
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
        examples=["~/.local/state/chainwatch/events.db"],
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

    name: ChainName = Field(
        description="What events, filters and metrics call it: lower-case letters, digits, - and _.",
        examples=["ethereum"],
    )
    chain_id: StrictInt = Field(
        ge=1, le=2**63 - 1, description="EIP-155 chain id; an endpoint that says otherwise is not used.", examples=[1]
    )
    endpoints: tuple[Endpoint, ...] = Field(
        min_length=1,
        repr=False,
        description="Nodes in order of preference: ws://, wss://, http://, https://. Their paths and queries are never "
        "logged.",
        examples=[["wss://ethereum-rpc.publicnode.com", "wss://eth.drpc.org", "https://eth.merkle.io"]],
    )
    endpoints_file: str | None = Field(
        default=None,
        description="Instead of `endpoints`, a file with one URL a line, which can have its own permissions.",
        examples=["ethereum.endpoints"],
    )
    confirmations: Annotated[tuple[int, ...], BeforeValidator(values.confirmations)] = Field(
        default=(1, 6),
        description="transaction_confirmed is told at each of these numbers of confirmations; a transaction's own "
        "block is 1. Each 1 to 1000.",
    )
    start: Annotated[Literal["latest"] | int, BeforeValidator(values.start)] = Field(
        default="latest",
        description='Where a new log begins: "latest" is the head at first start; a block number, from 0 up, ingests '
        "history first.",
    )
    native: Label = Field(
        default_factory=lambda data: CURRENCIES.get(data.get("chain_id", 1), "ETH"),
        description="Symbol of the chain's own currency. Default: known by the chain id.",
        examples=["ETH"],
    )
    request_timeout: Duration = Field(
        default=10.0,
        ge=0.1,
        le=300,
        description="An endpoint that does not answer, or whose socket is silent to pings, is left after this.",
    )
    stall_after: Annotated[float | None, BeforeValidator(values.duration)] = Field(
        default=None,
        ge=0.1,
        le=86_400,
        description="No new head for this long, and others are asked, and it is told. Default: by the chain's block "
        "time.",
        examples=["1m"],
    )
    max_reorg_depth: StrictInt = Field(
        default=64,
        ge=1,
        le=100_000,
        description="A reorganisation that orphans more blocks than this halts the chain, and nothing is thrown away.",
    )
    transactions: Which = Field(
        default="watched",
        description='Whose included transactions are told, as confirmed or failed: "watched" are those that '
        '[[wallets]] sent or that went to one; "all"; "none".',
    )
    pending: Which = Field(
        default="watched",
        description="Whose transactions are told while they wait in the mempool, and when they are replaced or "
        'dropped: "watched", "all", "none". It needs endpoints that show their mempool; where one gives only hashes, '
        "each of them costs a request.",
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
        description="All balances of [[wallets]] are read this often at the newest block, beside those that a block "
        "could have moved, so that what left no trace in any block is found.",
    )
    tokens: Which = Field(
        default="watched",
        description='Which transfers, approvals and swaps are told: "watched" touch [[wallets]] or listed [[tokens]]; '
        '"all"; "none". What wallet_incoming, wallet_outgoing and balance_changed tell does not hang on it.',
    )
    internal_transfers: StrictBool = Field(
        default=False,
        description="Native currency that contracts pass on inside transactions is told for wallets, and explains "
        "their balances. It needs a node with trace_block or debug_traceBlockByHash, and traces each block that ran a "
        "contract.",
    )


class WalletSettings(Section):
    """`[[wallets]]`: an address to watch."""

    name: Label = Field(description="What you call it; wallet_status tells it.", examples=["treasury"])
    address: Address = Field(
        description="0x and 40 hexadecimal digits. Mixed case is a checksum (EIP-55), and has to be right.",
        examples=["0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"],
    )
    chains: tuple[str, ...] = Field(default=(), description="Names of chains on which it is watched; [] is all.")


class TokenSettings(Section):
    """`[[tokens]]`: a token whose symbol is trusted, so that filters can name it, and whose balances are read."""

    chain: str = Field(description="Name of its chain.", examples=["ethereum"])
    symbol: Label = Field(
        description="What filters and events call it, whatever its contract says. WETH, or W and another native "
        "symbol, is taken to wrap the native currency; the usual contracts for that are known without being listed.",
        examples=["USDC"],
    )
    address: Address = Field(description="Its contract.", examples=["0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"])
    decimals: StrictInt = Field(
        ge=0,
        le=255,
        description="Digits behind the point of a whole token; 0 for tokens that do not divide, such as ERC-721.",
        examples=[6],
    )


class McpSettings(Section):
    """`[mcp]`: AI agents at `/mcp`. Needs `pip install 'chainwatch[mcp]'`."""

    events: StrictBool = Field(
        default=False,
        description="MCP Events (the extension io.modelcontextprotocol/events): hosts list, poll, stream and subscribe "
        "to events themselves, without the model. Deliveries to addresses that hosts name need an API key.",
    )


class Settings(Section):
    """The whole configuration. Without `[[chains]]` there are no chains."""

    server: ServerSettings = Field(default_factory=ServerSettings, description="Where clients connect.")
    log: LogSettings = Field(default_factory=LogSettings, description="The append-only event log.")
    chains: tuple[ChainSettings, ...] = Field(
        default=(), description="A chain to follow, one table for each. Without any, none is followed."
    )
    wallets: tuple[WalletSettings, ...] = Field(
        default=(),
        description="An address to watch. Its balances of the native currency and of the listed tokens of its chains "
        "are read.",
    )
    tokens: tuple[TokenSettings, ...] = Field(
        default=(),
        description="A token that filters can name, and whose balances are read. Only listed tokens have a symbol in "
        "filters: a scam that calls itself USDC is not USDC.",
    )
    prices: tuple[PriceSettings, ...] = Field(
        default=(), description="A price to follow: told by a Chainlink feed on a chain, or asked for over HTTP."
    )
    webhooks: tuple[WebhookSettings, ...] = Field(
        default=(),
        description="An address that is called with each event that matches, in order and at least once. What its "
        "receiver does not take waits in the log, and after three days it is a dead letter.",
    )
    mcp: McpSettings = Field(default_factory=McpSettings, description="AI agents, which connect at /mcp.")

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
    "webhooks": WebhookSettings, "mcp": McpSettings,
}  # fmt: skip
"""The model of each table, by its name in the file."""

SINGLE: Final[tuple[str, ...]] = tuple(name for name in TABLES if Settings.model_fields[name].default_factory)
"""The tables that are there once; the others are arrays of tables."""
