"""`[[prices]]`: what a price is called, who tells it, and how often. See `model` for what the descriptions are for."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictInt

from chainwatch.config import values
from chainwatch.config.section import Address, Duration, Label, Section


class PriceSettings(Section):
    """`[[prices]]`: a price to follow."""

    symbol: Label = Field(description="What is priced, as price_update calls it.", examples=["ETH"])
    quote: Label = Field(default="USD", description="What it is priced in.")
    source: Literal["chainlink", "coingecko", "coinmarketcap"] = Field(
        description='Who tells the price: a "chainlink" feed on a chain, or "coingecko" or "coinmarketcap", asked '
        "over HTTP.",
        examples=["chainlink", "coingecko"],
    )
    chain: str | None = Field(
        default=None, description="Chainlink: the chain where the feed's proxy lives.", examples=["ethereum"]
    )
    feed: Address | None = Field(
        default=None,
        description="Chainlink: the feed's proxy, the address at data.chain.link, not its aggregator.",
        examples=["0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419"],
    )
    id: str | None = Field(
        default=None,
        min_length=1,
        description='CoinGecko: the API id, such as "ethereum". CoinMarketCap: a number such as "1027", or a slug.',
        examples=["ethereum"],
    )
    url: Annotated[str, BeforeValidator(values.web_address)] | None = Field(
        default=None,
        repr=False,
        description="CoinGecko, CoinMarketCap: another address to ask, http:// or https://; what follows the host is "
        "the beginning of the API's path. A key of CoinGecko's paid plans needs https://pro-api.coingecko.com/api/v3.",
        examples=["https://pro-api.coingecko.com/api/v3"],
    )
    api_key_file: str | None = Field(
        default=None,
        min_length=1,
        description="CoinGecko, CoinMarketCap: a file that holds the API key and nothing else, read at start; relative "
        "to the configuration file. CoinMarketCap needs one.",
        examples=["coingecko.key"],
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
        examples=[100_000],
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
