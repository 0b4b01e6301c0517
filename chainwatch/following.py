"""
What is followed now: the chains and the sources of prices, each run by a task of its own, and how one is exchanged for
another while the daemon runs.

exchange    the task is ended between two commits; when all that it handed to the log is on disk, another part is
            resumed from there. What was told is in the log and all that a part remembers beside it, so nothing is
            missed and nothing told twice: it is a restart of that part alone
fault       a part that cannot be resumed by new settings goes on by those it had; where that fails as well, it is tried
            for ever, and everybody who asks how it stands is told
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from chainwatch.config import ChainSettings, Settings, api_keys
from chainwatch.errors import ChainwatchError, LogError, LogFull
from chainwatch.event import Event
from chainwatch.log import Drop, Log
from chainwatch.progress import show_progress
from chainwatch.quotes import Quotes
from chainwatch.reload import Plan
from chainwatch.server.present import Present
from chainwatch.wiring import Chain

AGAIN: Final = 5.0
"""Seconds until a part that could not be resumed is tried again."""

_log = structlog.get_logger()
Ended = Callable[[asyncio.Task[None]], None]


class Part(Protocol):
    """What runs for ever, and goes on from where the log says that it was left."""

    @property
    def statuses(self) -> list[Event]:
        """What it told last of how its things stand, when it was resumed."""

    async def run(self) -> None:
        """For ever. An error ends the daemon."""


P = TypeVar("P", bound=Part)
Make = Callable[[], Awaitable[P]]


class Post(Generic[P]):
    """A part, and the task that runs it."""

    def __init__(self, name: str, log: Log, part: P, make: Make[P], resumed: Callable[[P | None, P], None]) -> None:
        """
        `make` resumes such a part; `resumed` is told of each: the one before, the new one. `name` is what the task is
        called.
        """
        self.name = name
        self.part = part
        self.trouble: str | None = None
        """Why nobody runs it for now."""
        self._log = log
        self._make = make
        self._resumed = resumed
        self._task: asyncio.Task[None] | None = None
        self._ended: Ended | None = None

    def start(self, ended: Ended) -> None:
        """Run it; `ended` is told when it ends by itself."""
        self._ended = ended
        self._task = asyncio.create_task(self._run(), name=self.name)
        self._task.add_done_callback(ended)

    async def stop(self) -> None:
        """End it; what it handed to the log is committed when this returns, or never will be."""
        if (task := self._task) is None:
            return
        if self._ended is not None:
            task.remove_done_callback(self._ended)  # what fails while it is ended is no reason to end all
        task.cancel()
        for error in await asyncio.gather(task, return_exceptions=True):
            if isinstance(error, Exception):
                _log.warning("this failed while it was stopped", task=self.name, exc_info=error)
        with contextlib.suppress(LogFull):  # nothing of it was written, then
            # An append that is cancelled may be committed all the same; they are committed in order, so one of nothing
            # is behind it.
            await self._log.append((), (Drop("", ""),))

    async def exchange(self, make: Make[P]) -> str | None:
        """Resume by `make` from now on; why not, where that fails: then all is as it was before."""
        try:
            await self.stop()
            failed = await self._take(make)
        except LogError as error:  # nobody knows what of it is on disk
            failed = _words(error)
        if failed is None:
            self._make, self.trouble = make, None
        else:
            self.trouble = await self._take(self._make)
        if self._ended is not None:
            self.start(self._ended)
        return failed

    async def _take(self, make: Make[P]) -> str | None:
        """Have it resumed; why not."""
        before = self.part
        try:
            self.part = await make()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said, and must not end what works
            _log.debug("this cannot be resumed", task=self.name, exc_info=error)
            return _words(error)
        self._resumed(before, self.part)
        return None

    async def _run(self) -> None:
        while self.trouble is not None:
            _log.error("this does not run, and is tried again", task=self.name, reason=self.trouble, seconds=AGAIN)
            await asyncio.sleep(AGAIN)
            self.trouble = await self._take(self._make)
        await self.part.run()


class Following:
    """The chains and the prices that the configuration names."""

    def __init__(self, settings: Settings, keys: Mapping[str, str], log: Log, present: Present) -> None:
        """`resume` makes one."""
        self.settings = settings
        """What holds now."""
        self.keys = keys
        """The API keys in use, by their files."""
        self.stale: set[str] = set()
        """Chains that could not be taken up by `settings`, and run by those before."""
        self.stale_quotes = False
        self._log = log
        self._present = present
        self._chains: dict[str, Post[Chain]] = {}
        self._quotes: Post[Quotes]
        self._ended: Ended | None = None

    @classmethod
    async def resume(cls, settings: Settings, log: Log, present: Present) -> Following:
        """Where the log says that all was left. `ConfigError` where the log, or a file with a key, is another one."""
        found = cls(settings, api_keys(settings), log, present)
        for chain in settings.chains:
            found._chains[chain.name] = await found._post(chain, settings)
        make = found._quotes_of(settings, found.keys)
        quotes = await make()
        found._quotes = Post("prices", log, quotes, make, lambda _, fresh: present.restate(None, fresh.statuses))
        present.restate(None, quotes.statuses)
        return found

    def chains(self) -> list[dict[str, Any]]:
        """The vitals of each chain, see `Context.chains`."""
        return [_standing(post, post.part.vitals()) for post in self._chains.values()]

    def sources(self) -> list[dict[str, Any]]:
        """The vitals of each source of prices, see `Context.sources`."""
        return [
            *(_standing(self._quotes, one) for one in self._quotes.part.vitals()),
            *(
                _standing(post, feed)
                for post in self._chains.values()
                for feed in post.part.ingest.feeds.vitals()
            ),
        ]  # fmt: skip

    def wallets(self) -> list[dict[str, Any]]:
        """What the watched wallets hold, see `Context.wallets`."""
        return [wallet for post in self._chains.values() for wallet in post.part.ingest.wallets()]

    @contextlib.asynccontextmanager
    async def running(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """All of it runs while inside. An error that is no setback of a node sets `stop`, and is raised at the end."""
        failed: list[BaseException] = []

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                failed.append(error)
                stop.set()

        self._ended = ended
        progress = asyncio.create_task(show_progress(self.chains), name="progress")
        progress.add_done_callback(ended)
        for post in self._posts():
            post.start(ended)
        try:
            yield
        finally:
            progress.cancel()
            await asyncio.gather(progress, *(post.stop() for post in self._posts()), return_exceptions=True)
        if failed:
            raise _first(failed[0])

    async def take_up(self, plan: Plan, keys: Mapping[str, str]) -> dict[str, str]:
        """
        Follow what a new configuration names, each part on its own; what does not change goes on untouched. Name of
        what could not be taken up (`chain ethereum`, `prices`) -> why: it goes on as before.
        """
        faults: dict[str, str] = {}
        settings = plan.settings
        await asyncio.gather(
            *(self._remove(name) for name in plan.removed),
            *(self._add(chain, settings, faults) for chain in plan.added),
            *(self._replace(chain, settings, faults) for chain in plan.replaced),
            *([self._ask_others(settings, keys, faults)] if plan.quotes else ()),
        )
        # In the order of the configuration, as after a start.
        self._chains = {chain.name: self._chains[chain.name] for chain in settings.chains if chain.name in self._chains}
        old = {chain.name: chain for chain in self.settings.chains}
        self.stale = {name for name, post in self._chains.items() if post.name in faults}
        self.settings = settings.model_copy(
            update={
                "chains": tuple(
                    old[chain.name] if chain.name in self.stale else chain
                    for chain in settings.chains
                    if chain.name in self._chains
                )
            }
        )
        self.keys = keys
        return faults

    async def _replace(self, chain: ChainSettings, settings: Settings, faults: dict[str, str]) -> None:
        post = self._chains[chain.name]
        if (fault := await post.exchange(lambda: Chain.resume(chain, settings, self._log))) is None:
            return
        faults[post.name] = fault
        if post.trouble is not None:
            await _tell(post.part, "halted", post.trouble)

    async def _add(self, chain: ChainSettings, settings: Settings, faults: dict[str, str]) -> None:
        try:
            post = self._chains[chain.name] = await self._post(chain, settings)
        except Exception as error:  # noqa: BLE001 - it is said, and what is followed already goes on
            faults[f"chain {chain.name}"] = _words(error)
            return
        if self._ended is not None:
            post.start(self._ended)

    async def _remove(self, name: str) -> None:
        post = self._chains.pop(name)
        with contextlib.suppress(LogError):  # whoever goes on will find the same
            await post.stop()
        await _tell(post.part, "disconnected", "the configuration has it no more")
        self._present.forget(name)

    async def _ask_others(self, settings: Settings, keys: Mapping[str, str], faults: dict[str, str]) -> None:
        fault = await self._quotes.exchange(self._quotes_of(settings, keys))
        self.stale_quotes = fault is not None
        if fault is not None:
            faults[self._quotes.name] = fault

    async def _post(self, chain: ChainSettings, settings: Settings) -> Post[Chain]:
        def make() -> Awaitable[Chain]:
            return Chain.resume(chain, settings, self._log)

        def resumed(before: Chain | None, fresh: Chain) -> None:
            if before is not None:
                fresh.succeed(before)
            self._present.restate(chain.name, fresh.statuses)

        made = await make()
        resumed(None, made)
        return Post(f"chain {chain.name}", self._log, made, make, resumed)

    def _quotes_of(self, settings: Settings, keys: Mapping[str, str]) -> Make[Quotes]:
        return lambda: Quotes.resume(settings, self._log, keys)

    def _posts(self) -> Collection[Post[Any]]:
        return [*self._chains.values(), self._quotes]


async def _tell(chain: Chain, state: str, reason: str) -> None:
    """Tell of a chain that is not followed now."""
    with contextlib.suppress(LogError):
        await chain.ingest.status(state, None, reason)


def _words(error: Exception) -> str:
    """Why, for a line."""
    return (
        "; ".join(str(error).splitlines()) if isinstance(error, ChainwatchError) else f"{type(error).__name__}: {error}"
    )


def _standing(post: Post[Any], vitals: dict[str, Any]) -> dict[str, Any]:
    """Its vitals, where nobody runs it as well."""
    return vitals if post.trouble is None else vitals | {"state": "halted", "ready": False, "reason": post.trouble}


def _first(error: BaseException) -> BaseException:
    """The error that a person should see, out of the groups in which tasks wrap it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
