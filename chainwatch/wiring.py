"""Settings become parts: the rules of a chain, its endpoints, its follower; and the settings of the demo."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from chainwatch.chain.evm.block import RpcTransaction
from chainwatch.chain.evm.endpoint import Endpoint
from chainwatch.chain.evm.fetch import Needs
from chainwatch.chain.evm.follow import Follower
from chainwatch.chain.evm.http import HttpEndpoint
from chainwatch.chain.evm.mempool import Inbox, watch_mempool
from chainwatch.chain.evm.profile import WRAPPED, Profile, profile
from chainwatch.chain.evm.websocket import WebSocketEndpoint
from chainwatch.config import ChainSettings, PriceSettings, Settings, TokenSettings, WalletSettings
from chainwatch.derive.rules import FeedRule, Rules, Token
from chainwatch.event import Event
from chainwatch.ingest import Ingest
from chainwatch.log import Log


def rules(chain: ChainSettings, settings: Settings) -> Rules:
    """What of that chain is told."""
    names = {
        wallet.address: wallet.name for wallet in settings.wallets if not wallet.chains or chain.name in wallet.chains
    }
    return Rules(
        chain=chain.name,
        native=chain.native,
        confirmations=chain.confirmations,
        transactions=chain.transactions,
        transfers=chain.tokens,
        pending=chain.pending,
        internal=chain.internal_transfers,
        wrapped=_wrapped(chain, settings),
        wallets=frozenset(names),
        names=names,
        tokens={
            token.address: Token(token.symbol, token.decimals) for token in settings.tokens if token.chain == chain.name
        },
        feeds={
            price.feed: FeedRule(
                symbol=price.symbol,
                quote=price.quote,
                # Each round is told, unless somebody asked for less.
                min_change=price.min_change if "min_change" in price.model_fields_set else None,
                heartbeat=price.heartbeat,
            )
            for price in settings.prices
            if price.source == "chainlink" and price.chain == chain.name and price.feed is not None
        },
    )


def _wrapped(chain: ChainSettings, settings: Settings) -> frozenset[str]:
    """The contracts that wrap the chain's currency: the one that everybody knows, and what is configured as WETH is."""
    symbol = f"W{chain.native}".upper()
    listed = {
        token.address for token in settings.tokens if token.chain == chain.name and token.symbol.upper() == symbol
    }
    known = WRAPPED.get(chain.chain_id)
    return frozenset(listed if known is None else {*listed, known})


def needs(wanted: Rules) -> Needs:
    """What has to be fetched for that."""
    wallets = wanted.wallets

    def receipt(told: RpcTransaction) -> bool:
        """Whose receipt is needed, where the node cannot give all of them at once."""
        if wanted.tells_transaction(told.from_, told.to):
            return True
        return told.from_.lower() in wallets or (told.to is not None and told.to.lower() in wallets)

    return Needs(
        logs=wanted.tells_transfers or bool(wallets or wanted.feeds),
        transaction=receipt if wanted.tells_transactions or wanted.tells_pending or wallets else None,
    )


OnPending = Callable[[Endpoint, RpcTransaction | str, int], None]


class Chain:
    """One chain of the daemon: where its events go, and who follows it."""

    def __init__(self, settings: ChainSettings, ingest: Ingest, follower: Follower, inbox: Inbox | None) -> None:
        """`inbox`: what nodes push of their mempools; None where pending transactions are not told."""
        self.name = settings.name
        self.chain_id = settings.chain_id
        self.ingest = ingest
        self.follower = follower
        self._inbox = inbox

    @classmethod
    async def resume(cls, chain: ChainSettings, settings: Settings, log: Log) -> Chain:
        """Where the log says that this chain was left. `ConfigError` where the log holds another chain of that name."""
        wanted = rules(chain, settings)
        ingest = await Ingest.resume(
            log,
            wanted,
            chain_id=chain.chain_id,
            max_depth=chain.max_reorg_depth,
            sweep=chain.balance_sweep,
            dropped_after=chain.dropped_after,
        )
        special = profile(chain.chain_id)
        inbox = Inbox() if wanted.tells_pending else None
        follower = Follower(
            chain=chain.name,
            endpoints=endpoints(chain, special, inbox.push if inbox is not None else None),
            profile=special,
            needs=needs(wanted),
            sink=ingest,
            start=None if chain.start == "latest" else chain.start,
            max_reorg_depth=chain.max_reorg_depth,
            stall_after=chain.stall_after if chain.stall_after is not None else special.stall_after,
        )
        return cls(chain, ingest, follower, inbox)

    async def run(self) -> None:
        """Follow the chain for ever."""
        await self.ingest.begin()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.follower.run(), name=f"follow {self.name}")
            if self._inbox is not None:
                tasks.create_task(self._watch_mempool(self._inbox), name=f"mempool {self.name}")

    def succeed(self, before: Chain) -> None:
        """
        It goes on from where another one of this daemon was stopped. What that counted counts, but for what it was
        about to count.
        """
        self.ingest.blocks += before.ingest.blocks
        self.follower.reorgs += before.follower.reorgs

    @property
    def statuses(self) -> list[Event]:
        """How its wallets and feeds stood when it was resumed."""
        return self.ingest.statuses

    async def _watch_mempool(self, inbox: Inbox) -> None:
        follower = self.follower
        await watch_mempool(
            self.ingest.pool,
            inbox,
            self.ingest,
            chain=self.name,
            endpoints=follower.endpoints,
            in_use=lambda: follower.at_head,
        )

    def vitals(self) -> dict[str, Any]:
        """What `/v1/stats` and `/health` tell of it."""
        told = {"name": self.name, "chain_id": self.chain_id, **self.follower.vitals(), "blocks": self.ingest.blocks}
        if self._inbox is not None:
            told["mempool"] = {**self._inbox.vitals(), **self.ingest.pool.vitals()}
        return told


def endpoints(
    chain: ChainSettings, special: Profile, pending: OnPending | None = None
) -> Callable[[Callable[[], None]], Sequence[Endpoint]]:
    """What builds the endpoints of that chain, given what to call when one of them changes."""

    def build(changed: Callable[[], None]) -> list[Endpoint]:
        return [
            (WebSocketEndpoint if url.startswith(("ws:", "wss:")) else HttpEndpoint)(
                url,
                chain=chain.name,
                chain_id=chain.chain_id,
                profile=special,
                timeout=chain.request_timeout,
                changed=changed,
                pending=pending,
            )
            for url in chain.endpoints
        ]

    return build


@contextlib.asynccontextmanager
async def demonstration(seed: int) -> AsyncIterator[Callable[[Settings], Settings]]:
    """
    A simulated chain, and what makes settings follow it. Its log is a temporary one, unless the settings name a path:
    the chain begins anew with every start, so its old events would be another chain's. Keys are those that `chainwatch
    keys` makes: whoever made one wants it asked for here too.
    """
    from chainwatch.chain import simulated

    with tempfile.TemporaryDirectory(prefix="chainwatch-demo-") as folder:
        async with simulated.demo(seed) as node:
            chain = ChainSettings(
                name="demo",
                chain_id=simulated.CHAIN_ID,
                endpoints=(node.url,),
                start=0,
                native=simulated.NATIVE_SYMBOL,
                transactions="all",
                tokens="all",
                pending="all",
                internal_transfers=True,
                # What is forgotten there is told while somebody still looks.
                dropped_after=5.0,
                confirmations=(1, 6),
            )
            demo = {
                "chains": (chain,),
                "wallets": tuple(
                    WalletSettings(name=wallet.name, address=wallet.address) for wallet in simulated.WALLETS
                ),
                "tokens": tuple(
                    TokenSettings(
                        chain="demo", symbol=token.symbol, address=token.address, decimals=token.decimals or 0
                    )
                    for token in simulated.TOKENS
                ),
                "prices": (PriceSettings(symbol="ETH", source="chainlink", chain="demo", feed=simulated.FEED),),
            }

            def overlay(settings: Settings) -> Settings:
                log = settings.log
                if "path" not in log.model_fields_set:
                    log = log.model_copy(update={"path": Path(folder) / "events.db"})
                server = settings.server.model_copy(update={"keys_file": settings.keys_file})
                return settings.model_copy(update={**demo, "log": log, "server": server})

            yield overlay
