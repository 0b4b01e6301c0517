"""
Durable streams: the daemon keeps the filter and the place of an agent, by its name, and tells it each event at least
once. Whoever connects, from whichever machine, goes on behind what was acknowledged last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from chainwatch.client.request import answer, base_url, body, key_headers, open_session
from chainwatch.client.subscription import Trouble, decoded
from chainwatch.errors import ChainwatchError, Refused

_SILENCE: Final = 15.0
_AGAIN: Final = 1.0
"""Seconds until an acknowledgement is sent again."""
_MAX_ANSWER: Final = 1024 * 1024


class Agent(msgspec.Struct, frozen=True):
    """How an agent stands."""

    agent: str
    cursor: str = ""
    """Of the last event that was acknowledged."""
    lag: int = 0
    """Events of the log behind that, whether or not they pass its filter."""
    parameters: Mapping[str, Sequence[str]] = {}
    """Its filter, as it was given."""
    connected: bool = False
    stream: str | None = None
    """The one that is open."""


_AGENT: Final = msgspec.json.Decoder(Agent)


def agent_path(name: str) -> str:
    return f"/agents/{quote(name, safe='')}"


async def ensure_agent(
    url: str, name: str, wanted: Mapping[str, Any], start: Mapping[str, Any], *, key: str | None = None
) -> tuple[Agent, bool]:
    """
    The agent of that name, and whether it is new. `wanted` are stream parameters: its filter from now on, its place
    stays; where there are none, one that is there keeps the filter it has. `start` (`since`, `last`): where a new one
    begins, by default now. Raises what `stats` raises.
    """
    base, headers = base_url(url), key_headers(key)
    given = {parameter: value for parameter, value in wanted.items() if value}
    async with open_session(_SILENCE) as session:
        try:
            if not given:
                found = await ask_agent(session, base, name, headers)
                if found is not None:
                    return found, False
            posted = msgspec.json.encode(given | {word: value for word, value in start.items() if value is not None})
            async with answer(session, base, agent_path(name), (), headers, posted=posted, method="PUT") as response:
                told = decoded(await body(response, base, _MAX_ANSWER), _AGENT, base)
                return told, response.status == 201
        except Trouble as trouble:
            raise trouble.fatal or ChainwatchError(trouble.reason, hint=trouble.hint) from None


async def ask_agent(session: aiohttp.ClientSession, base: str, name: str, headers: Mapping[str, str]) -> Agent | None:
    """How it stands; None where there is none."""
    try:
        async with answer(session, base, agent_path(name), (), dict(headers)) as response:
            return decoded(await body(response, base, _MAX_ANSWER), _AGENT, base)
    except Refused as refused:
        if refused.status == 404:
            return None
        raise


class Acknowledger:
    """
    Tells the daemon how far an agent has come: the newest place alone, one request at a time, so that many events cost
    few. What could not be told is told again; what never was is told to the agent once more, and to nobody else.
    """

    def __init__(self, url: str, name: str, *, key: str | None = None) -> None:
        self._base = base_url(url)
        self._path = f"{agent_path(name)}/ack"
        self._headers = key_headers(key)
        self._told = self._wanted = ""
        self._more = asyncio.Event()

    def came_to(self, cursor: str) -> None:
        """All up to there was handled."""
        self._wanted = cursor
        self._more.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with open_session(_SILENCE) as session:
            while True:
                await self._more.wait()
                self._more.clear()
                while self._told != self._wanted and not await self._tell(session):  # noqa: ASYNC110  # it is far away
                    await asyncio.sleep(_AGAIN)

    async def finish(self, patience: float) -> None:
        """Tell the last place, for so many seconds. No error: it is not known to be handled then, and told again."""
        if self._told != self._wanted:
            async with open_session(_SILENCE) as session:
                try:
                    async with asyncio.timeout(patience):
                        await self._tell(session)
                except TimeoutError:
                    return

    async def _tell(self, session: aiohttp.ClientSession) -> bool:
        cursor = self._wanted
        posted = msgspec.json.encode({"cursor": cursor})
        try:
            async with answer(session, self._base, self._path, (), self._headers, posted=posted):
                self._told = cursor
        except Trouble:
            return False
        except ChainwatchError:  # it is gone, or the log is another one: its stream says so
            self._told = cursor
        return True
