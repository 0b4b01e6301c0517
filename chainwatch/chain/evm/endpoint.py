"""
One endpoint of a chain: the thin shell that carries out what its `Link` decides, and counts what it sees.

`WebSocketEndpoint` and `HttpEndpoint` add the transport. An endpoint runs for ever; a request is a future that ends
with the raw JSON of the result, or with `CallFailed`. A request that is not answered in time ends the whole connection:
a node that answers some and not others is not one to stay with.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import msgspec
import structlog

from chainwatch.chain.evm import link, rpc
from chainwatch.chain.evm.block import MALFORMED, Header, RpcTransaction, header_decoder, header_of, quantity
from chainwatch.chain.evm.profile import Profile
from chainwatch.chain.evm.ways import Ways
from chainwatch.text import HIDDEN, printable, redact, redact_url, secret_parts

ID_SPAN = 1 << 53
"""Request ids stay whole numbers in every JSON library."""

COMPANION_TIMEOUT = 60.0
"""Seconds that a companion waits for an answer."""


class CallFailed(Exception):
    """A request that gave no result. `kind` is one of `rpc.Kind`, or `lost`: the connection ended or was silent."""

    def __init__(self, method: str, kind: str, reason: str, retry_after: float | None = None, data: Any = None) -> None:
        super().__init__(f"{method}: {reason}")
        self.kind = kind
        self.reason = reason
        self.retry_after = retry_after
        self.data = data
        """`data` of the node's error: what a reverted call returned."""


class Refused(Exception):
    """The endpoint turned the connection, or a request, away for a while (HTTP 429, 503)."""

    def __init__(self, reason: str, retry_after: float | None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Endpoint(ABC):
    """One endpoint. `run` is its task; `changed` is called when its state or its head changes."""

    def __init__(
        self,
        url: str,
        *,
        chain: str,
        chain_id: int,
        profile: Profile,
        timeout: float,
        changed: Callable[[], None],
        random: Random | None = None,
        heads: bool = True,
        pending: Callable[[Endpoint, RpcTransaction | str, int], None] | None = None,
    ) -> None:
        """
        `heads`: it follows the chain's head; False for a companion, which serves requests and nothing else. `pending`:
        where the mempool is wanted, called with each transaction, or hash, that comes into it, and when (Unix ms).
        """
        self.url = url
        self.heads = heads
        self.name = redact_url(url)
        self._secret = secret_parts([url])
        self.profile = profile
        self.link = link.Link(chain_id, random or Random())  # noqa: S311 - jitter, no secret
        self.head: Header | None = None
        """The newest block that it named."""
        self.head_arrived = 0
        """Unix milliseconds at which it did."""
        self.heard = 0.0
        """Monotonic time at which a head came, told or asked for."""
        self.polls = 0
        """Answers to «what is your latest block?»; each wakes the follower, whatever it says."""
        self.behind_since: float | None = None
        self.benched_until = 0.0
        self._benched_for: str | None = None
        self.resting_until = 0.0
        """It said «too many requests»: nothing is asked before that monotonic time."""
        self.ready_since = 0.0
        self.block_receipts = True
        """Whether the node has `eth_getBlockReceipts`; found out by asking."""
        self.finality = True
        """Whether the node knows the tags `safe` and `finalized`."""
        self.ways = Ways()
        self.span = rpc.Span()
        self.connects = 0
        self.failures = 0
        self.requests = 0
        self.round_trips: deque[float] = deque(maxlen=128)
        """Seconds from a request to its answer, the newest last."""
        self._timeout = timeout
        self._changed = changed
        self._on_pending = pending
        self._mempool_refused = False
        self._next_id = 0
        self._said: str | None = None
        self._pending: dict[int, tuple[asyncio.Future[msgspec.Raw], str, float]] = {}
        self._lost: asyncio.Future[str] | None = None
        self._chain = chain
        self._chain_id = chain_id
        self._logger = structlog.get_logger().bind(chain=chain, endpoint=self.name)
        if not heads:
            self._logger = self._logger.bind(companion=True)
        self._companion: tuple[Endpoint, asyncio.Event, asyncio.Task[None]] | None = None

    @property
    def ready(self) -> bool:
        return self.link.ready

    # --- the life of the connection ---

    async def run(self) -> None:
        """Keep a connection for ever."""
        event: link.Event = link.Due()
        try:
            while True:
                before = self.link.state
                action = self.link.receive(event, time.monotonic())
                self._tell(before, action)
                event = await self._perform(action)
        finally:
            await self._close()
            self._fail_pending("chainwatch is stopping")
            await self._end_companion()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """
        Connected for as long as questions are put to it, without `run`: whichever chain it serves, and once. Raises
        what `_open` does.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._open()
            self._lost = asyncio.get_running_loop().create_future()
            yield
        finally:
            await self._close()

    async def companion(self) -> Endpoint:
        """
        Another connection to the same node, ready, for what takes long: a node that works on one answer may hold back
        all others of that connection, and its pongs. Made when it is first asked for, and kept as long as this one.
        """
        if self._companion is None:
            woken = asyncio.Event()
            twin = type(self)(
                self.url,
                chain=self._chain,
                chain_id=self._chain_id,
                profile=self.profile,
                timeout=max(self._timeout, COMPANION_TIMEOUT),
                changed=woken.set,
                heads=False,
            )
            task = asyncio.create_task(twin.run(), name=f"companion {self.name}")
            self._companion = twin, woken, task
        twin, woken, _ = self._companion
        while not twin.ready:
            woken.clear()
            await woken.wait()
        return twin

    async def _end_companion(self) -> None:
        if self._companion is not None:
            _, _, task = self._companion
            self._companion = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _tell(self, before: str, action: link.Action) -> None:
        state = self.link.state
        if state != before:
            if state == "ready":
                self.connects += 1
                self._said = None
                self.ready_since = time.monotonic()
                self.block_receipts = self.finality = True
                self.ways = Ways()
                self._logger.info("endpoint ready", head=self.head.number if self.head else None)
            elif isinstance(action, link.Wait):
                self.failures += 1
                level = logging.ERROR if state == "refused" else logging.WARNING
                if self.link.reason == self._said:  # the same again and again is one piece of news
                    level = logging.DEBUG
                self._said = self.link.reason
                self._logger.log(
                    level, "endpoint out", state=state, reason=self.link.reason, again_in=round(action.seconds, 2)
                )
        self._changed()

    async def _perform(self, action: link.Action) -> link.Event:
        try:
            match action:
                case link.Wait(seconds):
                    await self._close()
                    self._fail_pending(self.link.reason or "not connected")
                    await asyncio.sleep(seconds)
                    return link.Due()
                case link.Open():
                    async with asyncio.timeout(self._timeout):
                        await self._open()
                    # Not before: a request made while the connection is being opened would never be sent.
                    self._lost = asyncio.get_running_loop().create_future()
                    return link.Opened()
                case link.Identify():
                    async with asyncio.timeout(self._timeout):
                        told = await self.start("eth_chainId", [])
                    return link.Identified(quantity(msgspec.json.decode(told, type=str)))
                case link.Subscribe():
                    async with asyncio.timeout(self._timeout):
                        await self._subscribe()
                    return link.Subscribed()
                case link.Serve():
                    return link.Dropped(await self._serve())
        except Refused as refused:
            return link.Limited(str(refused), refused.retry_after)
        except CallFailed as failed:
            if failed.kind == "limited":
                return link.Limited(failed.reason, failed.retry_after)
            return link.Dropped(str(failed))
        except TimeoutError:
            return link.Dropped(f"no answer within {self._timeout:g} s")
        except (OSError, EOFError, *MALFORMED) as error:
            return link.Dropped(self.explain(error))

    @abstractmethod
    async def _open(self) -> None:
        """Connect. `Refused`, or `OSError`, `EOFError`, `TimeoutError`, `ValueError` where that fails."""

    @abstractmethod
    async def _close(self) -> None:
        """Let the connection go; safe to call at any time."""

    @abstractmethod
    async def _subscribe(self) -> None:
        """See to it that heads come, and read the latest block."""

    @abstractmethod
    async def _serve(self) -> str:
        """Wait until the connection ends; say why."""

    @abstractmethod
    def _transmit(self, number: int, method: str, params: list[Any]) -> None:
        """Send a request; the answer comes through `_received`. Never raises."""

    def clean(self, text: str) -> str:
        """Its words, fit for people: no control characters, nothing of a URL that may be a key, no novel."""
        shown = redact(text)
        return printable(self._secret.sub(HIDDEN, shown) if self._secret else shown, 200)

    def explain(self, error: BaseException) -> str:
        """An exception in words, without secrets."""
        return self.clean(str(error)) or type(error).__name__

    # --- requests ---

    def start(self, method: str, params: list[Any]) -> asyncio.Future[msgspec.Raw]:
        """Send a request; the future ends with the result's JSON or with `CallFailed`."""
        future: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        if self._lost is None or self._lost.done():
            fail(future, CallFailed(method, "lost", "not connected"))
            return future
        self._next_id = (self._next_id + 1) % ID_SPAN
        self._pending[self._next_id] = (future, method, time.monotonic())
        self.requests += 1
        self._transmit(self._next_id, method, params)
        return future

    async def latest(self) -> Header:
        """Ask for the newest block, and take it as a head."""
        told = header_decoder.decode(await self.start("eth_getBlockByNumber", ["latest", False]))
        if told is None:
            raise CallFailed("eth_getBlockByNumber", "unknown", "the node has no latest block")
        head = header_of(told)
        self.polls += 1
        self._saw(head)
        return head

    def overdue(self, now: float) -> str | None:
        """The method of a request that has waited too long, in words."""
        # Ids count up, so the first pending request is the oldest.
        for _, method, since in self._pending.values():
            return f"{method} was not answered within {self._timeout:g} s" if now - since > self._timeout else None
        return None

    def standing(self, now: float) -> link.Standing:
        """How it stands among the others."""
        return link.Standing(
            ready=self.link.ready and self.resting_until <= now,
            head=self.head.number if self.head else None,
            behind_since=self.behind_since,
            benched_until=self.benched_until,
            ready_since=self.ready_since,
        )

    def rest(self, seconds: float) -> None:
        """Leave the endpoint alone, as it asks."""
        self.resting_until = max(self.resting_until, time.monotonic() + min(seconds, link.LONGEST_ASKED))

    def vitals(self) -> dict[str, Any]:
        """What `/v1/stats` tells of it: seconds, block numbers, counts."""
        trips = sorted(self.round_trips)
        return {
            "endpoint": self.name,
            "state": "limited" if self.link.ready and self.resting_until > time.monotonic() else self.link.state,
            "reason": self.link.reason,
            "head": self.head.number if self.head else None,
            "rtt_p50_seconds": round(trips[len(trips) // 2], 6) if trips else None,
            "rtt_p95_seconds": round(trips[len(trips) * 95 // 100], 6) if trips else None,
            "connects": self.connects,
            "failures": self.failures,
            "requests": self.requests,
        }

    def bench(self, seconds: float, reason: str) -> None:
        """Rather use another endpoint for a while."""
        self.benched_until = max(self.benched_until, time.monotonic() + seconds)
        self._benched_for = reason

    def trouble(self, now: float) -> str | None:
        """Why it is not used, where it is its own fault."""
        return self.link.reason or (self._benched_for if now < self.benched_until else None)

    def _saw(self, head: Header) -> None:
        self.head = head
        self.head_arrived = time.time_ns() // 1_000_000
        self.heard = time.monotonic()
        self._changed()

    @property
    def wants_pending(self) -> bool:
        return self._on_pending is not None

    def heard_pending(self, told: RpcTransaction | str, now: int) -> None:
        """The node says that this came into its mempool. `now` in Unix milliseconds."""
        if self._on_pending is not None:
            self._on_pending(self, told, now)

    def _refuse_mempool(self, reason: str) -> None:
        """The node shows no mempool: said once, and nothing to leave it for."""
        if not self._mempool_refused:
            self._mempool_refused = True
            self._logger.warning("endpoint shows no mempool: pending transactions do not come from it", reason=reason)

    def _received(self, message: rpc.Message) -> None:
        """A reply came in."""
        if not isinstance(message.id, int):
            if message.error is not None:
                self._lose(f"the node says: {self.clean(message.error.message)}")
            return
        waiting = self._pending.pop(message.id, None)
        if waiting is None:
            return  # an answer to something that nobody waits for any more
        future, method, since = waiting
        if future.done():
            return
        self.round_trips.append(time.monotonic() - since)
        error = message.error
        if error is None:
            future.set_result(message.result)
        else:
            fail(future, CallFailed(method, error.kind, self.clean(error.message), error.retry_after, error.data))

    def _lose(self, reason: str) -> None:
        """The connection is of no more use."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(reason)
        self._fail_pending(reason)

    def _fail_pending(self, reason: str) -> None:
        pending, self._pending = self._pending, {}
        for future, method, _ in pending.values():
            if not future.done():
                fail(future, CallFailed(method, "lost", reason))


def fail(future: asyncio.Future[msgspec.Raw], error: CallFailed) -> None:
    """End a request with an error. A request given up meanwhile, which nobody waits for, is no fault to report."""
    future.set_exception(error)
    future.exception()


def retry_after(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header (RFC 9110, 10.2.3): a number, or a date."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
