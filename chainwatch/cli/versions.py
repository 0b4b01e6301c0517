"""`chainwatch --version`: what a report of a fault has to say."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Final

from chainwatch import __version__

_PARTS: Final = ("aiohttp", "uvloop", "msgspec", "websockets", "pydantic", "textual")
_EXTRA: Final = "mcp"


def versions() -> list[str]:
    """Lines. Nothing is imported that is named, but for SQLite, which has its version in itself."""
    import sqlite3

    told = {"SQLite": sqlite3.sqlite_version, **{name: _version(name) for name in (*_PARTS, _EXTRA)}}
    widest = max(map(len, told))
    return [
        f"chainwatch {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})",
        *(f"  {name:{widest}}  {version}" for name, version in told.items()),
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed (pip install 'chainwatch[mcp]')" if name == _EXTRA else "not installed"
