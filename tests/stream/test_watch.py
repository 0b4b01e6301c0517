"""Time for all streams: see also tests/server/test_streams.py, where it passes for clients."""

from __future__ import annotations

from pathlib import Path

import uvloop
from server.house import serve


def test_a_time_that_has_come_keeps_no_other_stream_waiting(tmp_path: Path) -> None:
    """uvloop gives a handle of another kind for it, one that does not say when it is due."""

    async def story() -> None:
        house = await serve(tmp_path / "events.db")
        try:
            await house.stream()
            await house.stream()
            late, soon = house.hub.streams.values()
            now = house.hub.now()
            house.hub.watch.put_at(late, now - 1)
            house.hub.watch.put_at(soon, now - 2)
            slots = late.slot, soon.slot
            await house.until(lambda: late.slot > slots[0] and soon.slot > slots[1])
        finally:
            await house.close()

    uvloop.run(story())
