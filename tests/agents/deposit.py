"""
An agent that waits for deposits to a wallet and acts on each exactly once: `deposit.py URL ADDRESS JOURNAL ERA`.

No model is needed to see what one needs. All that it knows is in its journal: a line for each answer of the daemon,
with the cursor to go on from and what was done about its events. A line is written whole, and is on disk before the
next call; so whatever is killed when, an answer was either dealt with or comes again, and never both. Here the deed is
the line itself; one that is done elsewhere takes the event's id along, so that it is done once there too.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client, MCPError

WAIT = 5.0
"""Seconds of one call. Short, since an answer that is lost with its daemon is noticed by its time alone."""
AGAIN = 0.2
"""Seconds until a daemon that is away is asked again."""


class Journal:
    """What was done, and where to go on."""

    def __init__(self, path: Path) -> None:
        self.subscription = ""
        self.cursor = ""
        self.deeds: dict[str, int] = {}
        """Amounts that were acted on, by the ids of their events."""
        self._file = path.open("a+b")
        self._file.seek(0)
        whole = self._file.read()
        for line in whole[: whole.rfind(b"\n") + 1].splitlines():
            self._apply(json.loads(line))
        self._file.truncate(whole.rfind(b"\n") + 1)  # what was not written whole was not done

    def write(self, **entry: Any) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._apply(entry)

    def _apply(self, entry: dict[str, Any]) -> None:
        self.subscription = entry.get("subscription", self.subscription)
        self.cursor = entry.get("cursor", self.cursor)
        for name, amount in entry.get("acts", {}).items():
            if name in self.deeds:
                raise RuntimeError(f"acted twice on {name}")
            self.deeds[name] = amount
        for name in entry.get("undoes", ()):
            del self.deeds[name]


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any] | None:
    """What a tool gives; None where it says that something is wrong with the call."""
    found = await client.call_tool(tool, arguments, read_timeout_seconds=WAIT + 5)
    if found.is_error:
        print(found.content[0].text, file=sys.stderr, flush=True)
        return None
    return found.structured_content


async def attend(client: Client, address: str, journal: Journal) -> None:
    """Deal with deposits until the connection is lost."""
    while True:
        page = None
        if journal.subscription:
            page = await call(
                client, "wait_for_event", subscription_id=journal.subscription, cursor=journal.cursor, timeout_s=WAIT
            )
        if page is None:  # there is none, or not any more; the cursor is as good for another one
            made = await call(client, "subscribe_to_events", filters="wallet_incoming", address=address)
            if made is not None:
                journal.write(subscription=made["subscription_id"], cursor=journal.cursor or made["cursor"])
            continue
        deal(page, journal)


def deal(page: dict[str, Any], journal: Journal) -> None:
    """Act on deposits, and take back what was done for those that a reorganisation took back."""
    if page["truncated"]:
        raise SystemExit("deposits may have been missed: a person has to look")
    acts: dict[str, int] = {}
    undoes: list[str] = []
    for event in page["events"]:
        if not event.get("removed"):
            acts[event["id"]] = int(event["data"]["amount"])
        elif acts.pop(event["retracts"], None) is None:
            undoes.append(event["retracts"])
    journal.write(cursor=page["cursor"], acts=acts, undoes=undoes)


async def main(url: str, address: str, path: str, era: str) -> None:
    journal = Journal(Path(path))
    while True:
        try:
            async with Client(f"{url}/mcp", mode=era) as client:
                await attend(client, address, journal)
        except* (MCPError, httpx2.HTTPError, OSError, TimeoutError) as lost:
            print(f"again: {lost.exceptions}", file=sys.stderr, flush=True)
        await asyncio.sleep(AGAIN)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
