"""A simulated node beside the test, in a thread of its own, for tests that wait for programs and commands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from chainwatch.chain.simulated import SimulatedNode


@contextmanager
def beside(node: SimulatedNode) -> Iterator[SimulatedNode]:
    """The node, as long as it is in use."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulated node")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(node.__aenter__(), loop).result(10)
        yield node
        asyncio.run_coroutine_threadsafe(node.__aexit__(None, None, None), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
