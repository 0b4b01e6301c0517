"""A daemon that keeps up with the file of its keys: a new key, or one that is revoked, is known within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from chainwatch.errors import ConfigError
from chainwatch.keys import file
from chainwatch.keys.ring import Keyring

PERIOD: Final = 0.25
"""Seconds between two looks. A look is one `stat`; inotify would not see what another machine writes."""

_log = structlog.get_logger("chainwatch.keys")


class Watch:
    """
    `ring` is what the file last held that could be used. A broken file changes nothing, and is logged once for each
    change. A file that is gone leaves no key, and still everyone needs one: only a new start opens what was closed.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file. `ConfigError` where it is there and cannot be used."""
        self.path = path
        found = file.read(path)
        self.ring = self._told = found.ring
        self._state = found.state
        _warn(self.ring)

    async def run(self, changed: Callable[[Keyring], None]) -> None:
        """Look for ever, and tell `changed` of each new ring, whoever has looked."""
        while True:
            if self.ring is not self._told:
                self._told = self.ring
                changed(self.ring)
            await asyncio.sleep(PERIOD)
            self.look()

    def look(self) -> None:
        """Look once, now. Where the keys are those that were, the ring stays the same one."""
        state = file.look(self.path)
        if state == self._state:
            return
        self._state = state
        try:
            found = file.read(self.path)
        except ConfigError as error:
            _log.error("the API keys stay as they were", error=str(error))
            return
        self._state = found.state  # it may have changed again between the two
        before, now = self.ring, found.ring
        if found.state == file.MISSING:
            now = Keyring(required=bool(before))
            if before:
                _log.error(
                    "the file of the API keys is gone: no key is good, and everyone needs one", file=str(self.path)
                )
        _warn(now)
        if now.keys == before.keys and bool(now) == bool(before):
            return
        _log.info(
            "API keys changed",
            file=str(self.path),
            new=[key.name for key in now.keys if key not in before.keys],
            gone=[key.name for key in before.keys if key not in now.keys],
        )
        self.ring = now


def _warn(ring: Keyring) -> None:
    for doubt in ring.doubts:
        _log.warning(doubt)
