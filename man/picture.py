"""
The picture of the monitor for the README: `python man/picture.py`, a minute at most.

It starts `chainwatch serve --demo`, looks at it with the monitor as anybody's is, and draws the screen into
man/monitor.svg once there is something of everything to see. Look at it before you commit it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path

from chainwatch import client
from chainwatch.tui.app import Monitor
from chainwatch.tui.feed import Feed
from chainwatch.tui.model import Model

PICTURE = Path(__file__).with_name("monitor.svg")
SIZE = (132, 42)
SEED = "7"
KINDS = 9
"""Types of events that there are to see."""
LISTENERS = (
    {"types": "token_transfer", "token": "USDC"},
    {"where": "data.amount > 1e18 && !removed"},
    {"filters": "wallet"},
)
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # they would be asked of a stranger's server


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        daemon = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chainwatch", "serve", "--demo", "--seed", SEED, "--port", "0"),
            *("--log", f"{folder}/events.db"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            url = (await daemon.stdout.readline()).decode().removeprefix("listening on ").strip()
            PICTURE.write_text(_FONTS.sub("", await look(url)))
        finally:
            daemon.terminate()
            await daemon.wait()


async def look(url: str) -> str:
    """The screen, once there was a reorganisation and many types can be seen; after a minute whatever it shows."""
    model = Model("http://127.0.0.1:8080")
    app = Monitor(model, Feed(url, None, model))
    async with asyncio.TaskGroup() as tasks, app.run_test(size=SIZE) as pilot:
        listening = [tasks.create_task(listen(url, wanted)) for wanted in LISTENERS]
        for _ in range(600):
            await asyncio.sleep(0.1)
            seen = {json.loads(line)["type"] for line in model.view.shown_lines()[-18:]}
            reorgs = model.vitals.chains[0].reorgs if model.vitals and model.vitals.chains else 0
            if reorgs and len(model.past.of("events")) > 24 and len(seen) >= KINDS and "token_swap" in seen:
                break
        await pilot.pause()
        for task in listening:
            task.cancel()
        return app.export_screenshot(title="chainwatch monitor", simplify=True)


async def listen(url: str, wanted: dict[str, str]) -> None:
    """Somebody else who listens."""
    async for _ in client.stream(url, **wanted):
        pass


if __name__ == "__main__":
    asyncio.run(main())
