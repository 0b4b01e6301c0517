"""
What a configuration that was read again changes in a daemon that runs. Pure: settings before, settings now, and what is
to be done and said.

    applied at once    wallets, tokens, prices, webhooks, chains with all that is set of them, whole chains that come
                       and go; the limits of the server, for what comes next
    needs a restart    where it listens, the log, and another chain id under a name that the log knows: what runs stays
                       as it is

What is said names things and keys. It never shows an endpoint, an address of an API or a key: these hold secrets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from chainwatch.config import ChainSettings, PriceSettings, Settings
from chainwatch.config.section import Section
from chainwatch.wiring import rules

SERVER: Final = frozenset(
    {
        "allowed_origins", "compression", "connects_per_minute", "heartbeat", "max_connection_age", "max_connections",
        "max_connections_per_address", "max_connections_per_key", "trusted_proxies",
    }
)  # fmt: skip
"""The keys of `[server]` that apply to whatever comes next; any other needs a restart."""
_OF_ITS_LOG: Final = "chain_id"
_NO_VALUE: Final = frozenset({"endpoints_file"})
"""Keys that say where a value is, and not what it is: a value that is now elsewhere is the same."""

Kind = Literal["wallet", "token", "price", "webhook", "chain", "server"]
How = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is another from now on."""

    kind: Kind
    how: How
    name: str
    keys: tuple[str, ...] = ()
    """What of it changed."""

    @property
    def note(self) -> str:
        """What a person may not expect."""
        return "start counts only where the log has nothing of the chain yet" if "start" in self.keys else ""

    @property
    def label(self) -> str:
        """For a list of such."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A key whose new value counts only after a restart."""

    key: str
    """`server.port`, `chains.ethereum.chain_id`."""
    running: object = None
    """The value that stays for now; None where it may hold a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done."""

    settings: Settings
    """What holds from now on: the new settings, but for what needs a restart."""
    changes: tuple[Change, ...]
    restart: tuple[Waiting, ...]
    added: tuple[ChainSettings, ...]
    removed: tuple[str, ...]
    replaced: tuple[ChainSettings, ...]
    """Chains of which something else is told from now on, or in another way."""
    quotes: bool
    """The prices that are asked for over HTTP are others, or are asked for in another way."""

    @property
    def empty(self) -> bool:
        """Nothing is to be done, and nothing said but that."""
        return not (self.changes or self.restart or self.replaced or self.quotes)

    def done(self, failed: Collection[str] = ()) -> list[Change]:
        """What changed, where these, by their labels, could not be taken up."""
        return [change for change in self.changes if change.label not in failed]

    def summary(self, failed: Collection[str] = ()) -> dict[str, list[str]]:
        """
        The names of what was added, removed, changed, what failed to be, and the keys that need a restart; without what
        is empty.
        """
        told = {
            how: [change.label for change in self.done(failed) if change.how == how]
            for how in ("added", "removed", "changed")
        }
        told["failed"] = list(failed)
        told["needs_restart"] = [waiting.key for waiting in self.restart]
        return {name: labels for name, labels in told.items() if labels}


def compare(
    before: Settings,
    now: Settings,
    *,
    api_keys: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    stale: Collection[str] = (),
    stale_quotes: bool = False,
) -> Plan:
    """
    What it takes to get from the settings that run to those that were read `now`.

    `api_keys`: by their files, as they are used and as they were read. `stale`: chains that run by older settings than
    `before`, since they could not be taken up by those; `stale_quotes`: the same of the prices over HTTP.
    """
    restart = tuple(_restart(before, now))
    settings = _held(before, now)
    old = {chain.name: chain for chain in before.chains}
    new = {chain.name: chain for chain in settings.chains}
    rotated = {path for path, key in api_keys[1].items() if api_keys[0].get(path, key) != key}
    return Plan(
        settings=settings,
        changes=(
            *_things("chain", _named_chains(before), _named_chains(settings)),
            *_things("wallet", _named_wallets(before, settings), _named_wallets(settings, settings)),
            *_things("token", _named_tokens(before), _named_tokens(settings)),
            *_things("price", _named_prices(before, ()), _named_prices(settings, rotated)),
            *_things("webhook", _named_webhooks(before, ()), _named_webhooks(settings, rotated)),
            *(
                Change("server", "changed", key)
                for key in sorted(_differing(_fields(before.server), _fields(settings.server)))
            ),
        ),
        restart=restart,
        added=tuple(chain for name, chain in new.items() if name not in old),
        removed=tuple(name for name in old if name not in new),
        replaced=tuple(
            chain
            for name, chain in new.items()
            if name in old
            and (
                name in stale
                or _differing(_fields(old[name]), _fields(chain))
                or rules(old[name], before) != rules(chain, settings)
            )
        ),
        quotes=stale_quotes or _asked(before, ()) != _asked(settings, rotated),
    )


# --- what needs a restart -----------------------------------------------------------------------------------------


def _restart(before: Settings, now: Settings) -> Iterator[Waiting]:
    for key in sorted(_differing(_fields(before.server), _fields(now.server)) - SERVER):
        yield Waiting(f"server.{key}", getattr(before.server, key))
    for key in sorted(_differing(_fields(before.log), _fields(now.log))):
        yield Waiting(f"log.{key}", getattr(before.log, key))
    for key in sorted(_differing(_fields(before.mcp), _fields(now.mcp))):
        yield Waiting(f"mcp.{key}", getattr(before.mcp, key))
    old = {chain.name: chain for chain in before.chains}
    for chain in now.chains:
        if chain.name in old and (was := old[chain.name]).chain_id != chain.chain_id:
            # It is another chain: endpoints and all that is set with it are that chain's.
            for key in sorted(_differing(_fields(was), _fields(chain))):
                shown = was.chain_id if key == _OF_ITS_LOG else None
                yield Waiting(f"chains.{chain.name}.{key}", shown)


def _held(before: Settings, now: Settings) -> Settings:
    """The settings of now, with what needs a restart as it was."""
    stays = {key: getattr(before.server, key) for key in type(before.server).model_fields if key not in SERVER}
    old = {chain.name: chain for chain in before.chains}
    return now.model_copy(
        update={
            "server": now.server.model_copy(update=stays),
            "log": before.log,
            "mcp": before.mcp,
            "chains": tuple(
                old[chain.name] if chain.name in old and old[chain.name].chain_id != chain.chain_id else chain
                for chain in now.chains
            ),
        }
    )


# --- what changed, by name ----------------------------------------------------------------------------------------

_Things = dict[Any, tuple[str, dict[str, object]]]
"""By what makes it the same thing: what people call it, and what counts of it."""


def _things(kind: Kind, old: _Things, new: _Things) -> Iterator[Change]:
    for key, (name, _) in old.items():
        if key not in new:
            yield Change(kind, "removed", name)
    for key, (name, fields) in new.items():
        if key not in old:
            yield Change(kind, "added", name)
        elif keys := _differing(old[key][1], fields):
            yield Change(kind, "changed", name, tuple(sorted(keys)))


def _named_chains(settings: Settings) -> _Things:
    return {chain.name: (chain.name, _fields(chain)) for chain in settings.chains}


def _named_wallets(settings: Settings, now: Settings) -> _Things:
    """By their names now: one that has another name is the same by its address."""
    old = {wallet.name: wallet for wallet in settings.wallets}
    new = {wallet.name: wallet for wallet in now.wallets}
    renamed = {wallet.address: name for name, wallet in new.items() if name not in old}
    return {
        name if name in new else renamed.pop(wallet.address, name): (name, _fields(wallet))
        for name, wallet in old.items()
    }


def _named_tokens(settings: Settings) -> _Things:
    return {
        (token.chain, token.address): (f"{token.symbol} of {token.chain}", _fields(token)) for token in settings.tokens
    }


def _named_prices(settings: Settings, rotated: Collection[str]) -> _Things:
    return {
        (price.source, price.chain, price.symbol, price.quote): (
            f"{price.symbol}/{price.quote} by {price.source}" + (f" of {price.chain}" if price.chain else ""),
            _price(price, rotated),
        )
        for price in settings.prices
    }


def _named_webhooks(settings: Settings, rotated: Collection[str]) -> _Things:
    return {
        webhook.name: (
            webhook.name,
            _fields(webhook) | ({"secret": "another"} if webhook.secret_file in rotated else {}),
        )
        for webhook in settings.webhooks
    }


def _price(price: PriceSettings, rotated: Collection[str]) -> dict[str, object]:
    """What counts of a price; that it has another key, too, which is not in the settings."""
    told = _fields(price)
    if price.source == "chainlink" and "min_change" not in price.model_fields_set:
        told["min_change"] = None  # then each round is told, which is not what the default means elsewhere
    if price.api_key_file in rotated:
        told["api_key"] = "another"
    return told


def _asked(settings: Settings, rotated: Collection[str]) -> list[dict[str, object]]:
    """The prices over HTTP in their order, by which their sources are named."""
    return [_price(price, rotated) for price in settings.prices if price.source != "chainlink"]


def _fields(section: Section) -> dict[str, object]:
    return {key: getattr(section, key) for key in type(section).model_fields if key not in _NO_VALUE}


def _differing(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
