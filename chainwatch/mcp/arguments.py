"""
What each tool takes and gives, as the JSON Schemas that a model reads.

Lists may be given as one text with commas, numbers as text, and null for what is left out: models do that, and it means
the same.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from chainwatch.mcp.subscriptions import DEFAULT, LONGEST, SHORTEST

LONGEST_WAIT: Final = 50
"""Seconds of one wait: hosts give up on a call after 60."""
LONGEST_STREAM: Final = 300
"""Seconds of one `get_event_stream`: progress keeps the call alive."""
MOST_EVENTS: Final = 100


def _listed(value: Any) -> Any:
    return [word for word in map(str.strip, value.split(",")) if word] if isinstance(value, str) else value


def _text(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():  # 1e18
        value = int(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Names = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=list[str])]


class Arguments(BaseModel):
    """What a tool takes. What it does not know is an error, so that nothing is silently ignored."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: one for name, one in given.items() if one is not None or name not in cls.model_fields}


class Wanted(Arguments):
    """Which events."""

    filters: Names = Field(
        default=[],
        max_length=50,
        description="Event types or categories, any of them: block, transaction, wallet, balance, token, price, "
        "system, custom, or types such as wallet_incoming, balance_changed, token_transfer. Empty: all.",
    )
    chains: Names = Field(default=[], max_length=50, description="Names of chains, any of them. Empty: all.")
    address: Names = Field(
        default=[],
        max_length=100,
        description="0x addresses, any of which an event has to touch: wallets, counterparties, contracts.",
    )
    token: Names = Field(
        default=[],
        max_length=50,
        description="Tokens, any of them: contract addresses, or symbols of the configured tokens such as USDC.",
    )
    min_amount: Annotated[str | None, BeforeValidator(_text, json_schema_input_type=str | None)] = Field(
        default=None,
        max_length=90,
        description="The least amount, in base units (1 ETH is 1000000000000000000).",
    )
    where: str | None = Field(
        default=None,
        max_length=4000,
        description='A CEL expression that must hold for the event, such as: data.amount > 1e18 && data.token == "ETH"',
    )

    def words(self) -> dict[str, list[str]]:
        """The same as stream parameters."""
        given = {"filters": self.filters, "chains": self.chains, "address": self.address, "token": self.token}
        single = {"min_amount": self.min_amount, "where": self.where}
        return {name: list(texts) for name, texts in given.items() if texts} | {
            name: [text] for name, text in single.items() if text
        }


class Subscribe(Wanted):
    ttl_s: int = Field(
        default=int(DEFAULT),
        ge=int(SHORTEST),
        le=int(LONGEST),
        description="Seconds that it is kept without being asked for.",
    )


class Named(Arguments):
    subscription_id: str = Field(max_length=100, description="As subscribe_to_events gave it.")


class Nothing(Arguments):
    pass


class Wait(Named):
    cursor: str | None = Field(
        default=None,
        max_length=100,
        description="Where to go on: the cursor of the call before. Left out: where the subscription began.",
    )
    timeout_s: float = Field(
        default=25, ge=0, le=LONGEST_WAIT, description="Seconds to wait for an event, where there is none yet."
    )
    max_events: int = Field(default=20, ge=1, le=MOST_EVENTS, description="At most so many events.")


class Streamed(Wanted):
    duration_s: float = Field(
        default=30, ge=0, le=LONGEST_STREAM, description="Seconds to listen; the call lasts that long."
    )
    max_events: int = Field(default=20, ge=1, le=MOST_EVENTS, description="End as soon as so many have come.")
    cursor: str | None = Field(
        default=None, max_length=100, description="Begin behind this cursor of an earlier answer. Left out: now."
    )


class Recent(Wanted):
    limit: int = Field(default=20, ge=1, le=MOST_EVENTS, description="At most so many, the newest.")
    since: str | None = Field(
        default=None,
        max_length=40,
        description="Those from then on instead, the oldest first: an age (15m, 2h) or a time (2025-06-24T07:00:00Z).",
    )


class Send(Arguments):
    type: str = Field(
        max_length=64, description="A name of your own: a small letter, then small letters, digits and _."
    )
    data: dict[str, Any] = Field(description="What to tell, any JSON object of up to 60 KiB.")
    idempotency_key: str | None = Field(
        default=None,
        max_length=255,
        description="Calls with the same key publish once: give one when you may have to repeat a call.",
    )


class Whose(Arguments):
    address: str | None = Field(
        default=None,
        max_length=100,
        description="A watched wallet, by its address or its configured name. Left out: all.",
    )
    chains: Names = Field(default=[], max_length=50, description="Names of chains. Empty: all.")


# --- what comes back ----------------------------------------------------------------------------------------------


class Subscribed(BaseModel):
    subscription_id: str
    cursor: str = Field(description="Give it to the first wait_for_event.")
    resource_uri: str = Field(description="A resource that can be read and subscribed to.")
    expires_at: str = Field(description="RFC 3339; it lives on when it is asked for.")


class Unsubscribed(BaseModel):
    subscription_id: str
    removed: bool


class Listed(BaseModel):
    subscription_id: str
    filters: dict[str, list[str]] = Field(description="What it asks for, as stream parameters.")
    cursor: str = Field(description="Where it began.")
    resource_uri: str
    created_at: str
    expires_at: str


class Subscriptions(BaseModel):
    subscriptions: list[Listed] = Field(description="Oldest first.")
    omitted: int = Field(description="So many more do not fit into this answer.")


class Events(BaseModel):
    events: list[dict[str, Any]] = Field(description="Oldest first.")
    cursor: str = Field(description="Give it to the next call: nothing is missed and nothing comes twice.")
    has_more: bool = Field(description="More is there already: call again at once.")
    truncated: bool = Field(description="Some of what was asked for is too old and gone.")


class Waited(Events):
    timed_out: bool = Field(description="Nothing came within the time: call again with this cursor.")


class Sent(BaseModel):
    id: str
    cursor: str


class Status(BaseModel):
    version: str
    chains: list[dict[str, Any]] = Field(description="State, head and lag of each chain.")
    sources: list[dict[str, Any]] = Field(description="State of each source of prices.")
    ready: bool = Field(description="Every chain is followed at its head.")


class Balances(BaseModel):
    wallets: list[dict[str, Any]] = Field(description="Balances are decimal texts in base units, beside `decimals`.")
    omitted: int = Field(description="So many more do not fit into this answer: ask for some by address or chains.")
