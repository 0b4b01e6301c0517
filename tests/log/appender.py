"""
A daemon to be killed: appends batches with a state that counts them, and prints each sequence once it is delivered.

    appender.py PATH SEED [file size limit in bytes]
"""

from __future__ import annotations

import asyncio
import random
import resource
import sys

from chainwatch.errors import LogError, LogFull
from chainwatch.event import Event, event_id
from chainwatch.log import Drop, Put
from chainwatch.log.store import open_log


def event(number: int, size: int) -> Event:
    return Event(
        id=event_id("appended", number),
        type="note",
        timestamp="2025-06-24T07:00:00.000Z",
        observed_at="2025-06-24T07:00:00.000Z",
        chain=None,
        data={"number": number, "address": f"0x{number % 50:040x}", "text": "x" * size},
    )


async def main(path: str, seed: int) -> None:
    chance = random.Random(seed)
    log = await open_log(path, ttl=1e6, max_events=5000, max_bytes=1 << 30, memory=100_000)
    log.listen(lambda entries: print(entries[-1].sequence, flush=True))
    number = int(await log.get("number") or b"0")
    while True:
        batch = [event(number + place, chance.choice([10, 300, 3000])) for place in range(1, chance.randrange(2, 60))]
        number += len(batch)
        window = [Drop("window/", "window0"), *(Put(f"window/{one.data['number']}", b"") for one in batch)]
        await log.append(batch, [*window, Put("number", str(number).encode())])


async def fill(path: str, seed: int) -> None:
    """Append until there is no room, then again with room."""
    log = await open_log(path, ttl=1e6, max_events=10**6, max_bytes=1 << 30, memory=100_000)
    heard: list[int] = []
    log.listen(lambda entries: heard.extend(entry.sequence for entry in entries))
    number = 0
    while True:
        batch = [event(number + place, 500) for place in range(1, 41)]
        try:
            await log.append(batch, [Put("number", str(number + 40).encode())])
        except LogFull:
            break
        number += 40
    head = log.head
    assert heard == list(range(1, head + 1))
    assert await log.get("number") == str(number).encode() if number else True
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    again = await log.append(batch, [Put("number", str(number + 40).encode())])
    assert [entry.sequence for entry in again] == list(range(head + 1, head + 41))
    await log.close()
    print(f"full at {head}, then {again[-1].sequence}")


if __name__ == "__main__":
    try:
        if len(sys.argv) > 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
            asyncio.run(fill(sys.argv[1], int(sys.argv[2])))
        else:
            asyncio.run(main(sys.argv[1], int(sys.argv[2])))
    except LogError as error:
        sys.exit(f"{type(error).__name__}: {error}")
