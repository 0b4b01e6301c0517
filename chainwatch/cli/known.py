"""
The words that are known without asking anybody: of the catalogue, of the configuration, of the log and the keys that
are on this machine. For completion, so it has to be quick, and what cannot be read is no word and no error.
"""

from __future__ import annotations

import os
import sqlite3
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from chainwatch.cli.completing import Candidate
from chainwatch.event import Event
from chainwatch.payloads import CATEGORIES, PAYLOADS

_SYSTEM: Final = Path("/etc/chainwatch/chainwatch.toml")


class Names:
    """What is known on this machine, of the configuration that a command would read."""

    def __init__(self, config: Path | None, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._home = Path(environ.get("HOME") or "/")
        self._settings = _toml(config or self.file())

    def file(self) -> Path:
        """The configuration, as `chainwatch.config.find` has it: to import that takes longer than people wait for."""
        if named := self._environ.get("CHAINWATCH_CONFIG"):
            return self._place(named, Path())
        own = self._base("XDG_CONFIG_HOME", ".config") / "chainwatch" / "chainwatch.toml"
        return own if own.is_file() else _SYSTEM

    def types(self) -> Iterator[Candidate]:
        for category, types in CATEGORIES.items():
            yield Candidate(category, f"all of: {', '.join(sorted(types))}")
        for kind in PAYLOADS:
            yield Candidate(kind, next((name for name, types in CATEGORIES.items() if kind in types), ""))
        yield from self.custom()

    def custom(self) -> Iterator[Candidate]:
        """Types that were published to the log of this machine."""
        kinds = self._logged("SELECT DISTINCT type FROM pairs ORDER BY type")
        yield from (Candidate(kind, "custom") for kind in kinds if kind not in PAYLOADS)

    def agents(self) -> Iterator[Candidate]:
        """Durable streams, of every key."""
        kept = self._logged("SELECT key FROM state WHERE key >= 'agent/' AND key < 'agent0' ORDER BY key")
        yield from dict.fromkeys(Candidate(key.rpartition("/")[2]) for key in kept)

    def webhooks(self) -> Iterator[Candidate]:
        """Those of the configuration, and that clients made, of every key: the daemon knows whose is whose."""
        yield from (Candidate(one["name"], "configured") for one in self._tables("webhooks", "name"))
        kept = self._logged("SELECT key FROM state WHERE key >= 'webhook/' AND key < 'webhook0' ORDER BY key")
        yield from (Candidate(key.rpartition("/")[2]) for key in kept)

    def chains(self) -> Iterator[Candidate]:
        if not self._settings:  # without a file, Ethereum is followed
            yield Candidate("ethereum")
        yield from (Candidate(one["name"]) for one in self._tables("chains", "name"))

    def tokens(self) -> Iterator[Candidate]:
        for one in self._tables("tokens", "symbol"):
            yield Candidate(one["symbol"], f"{one.get('chain', '')} {one.get('address', '')}")

    def addresses(self) -> Iterator[Candidate]:
        yield from (Candidate(one["address"], str(one.get("name", ""))) for one in self._tables("wallets", "address"))

    def keys(self) -> Iterator[Candidate]:
        given = self._table("server").get("keys_file")
        path = self._place(given, Path()) if isinstance(given, str) else self.log().with_name("keys.toml")
        kept = _toml(path).get("keys")
        for one in kept if isinstance(kept, list) else ():
            if isinstance(one, dict) and isinstance(one.get("name"), str):
                yield Candidate(one["name"])

    def log(self) -> Path:
        """The event log."""
        given = self._environ.get("CHAINWATCH_LOG_PATH") or self._table("log").get("path")
        if isinstance(given, str):
            return self._place(given, Path()).absolute()
        return (self._base("XDG_STATE_HOME", ".local/state") / "chainwatch" / "events.db").absolute()

    def _logged(self, question: str) -> list[str]:
        """The texts that the log has as an answer; a daemon may be writing it."""
        try:
            with closing(sqlite3.connect(f"{self.log().as_uri()}?mode=ro", uri=True, timeout=0.1)) as log:
                return [str(text) for (text,) in log.execute(question)]
        except sqlite3.Error:
            return []

    def _base(self, variable: str, otherwise: str) -> Path:
        given = self._environ.get(variable, "")
        return Path(given) if given.startswith("/") else self._home / otherwise

    def _place(self, text: str, base: Path) -> Path:
        return self._home / text[2:] if text.startswith("~/") else base / text

    def _table(self, name: str) -> Mapping[str, Any]:
        table = self._settings.get(name)
        return table if isinstance(table, dict) else {}

    def _tables(self, name: str, key: str) -> Iterator[Mapping[str, Any]]:
        tables = self._settings.get(name)
        for one in tables if isinstance(tables, list) else ():
            if isinstance(one, dict) and isinstance(one.get(key), str):
                yield one


def fields(_: Names) -> Iterator[Candidate]:
    yield from (Candidate(name) for name in Event.__struct_encode_fields__ if name != "data")
    every = {name for payload in PAYLOADS.values() for name in payload.__struct_encode_fields__}
    yield from (Candidate(f"data.{name}") for name in sorted(every))


def nothing(_: Names) -> Iterable[Candidate]:
    return ()


_MEANT: Final[Mapping[str, Callable[[Names], Iterable[Candidate]]]] = {
    **dict.fromkeys(("TYPE", "TYPES", "FILTER"), Names.types),
    **dict.fromkeys(("CHAIN", "CHAINS"), Names.chains),
    **dict.fromkeys(("ADDRESS", "ADDRESSES"), Names.addresses),
    "TOKEN": Names.tokens,
    "AGENT": Names.agents,
    "NAME|ID": Names.keys,
    "FIELDS": fields,
    # Where a command means something of its own:
    "send TYPE": Names.custom,
    "serve ADDRESS": nothing,
    "config show ADDRESS": nothing,
    **{
        f"webhooks {command} NAME": Names.webhooks
        for command in ("show", "test", "resume", "redeliver", "discard", "remove")
    },
}


def known(command: str, metavar: str, config: Path | None) -> Iterable[Candidate]:
    """The words for what a command takes under that metavar, by the configuration that -c named, if it did."""
    find = _MEANT.get(f"{command} {metavar}") or _MEANT.get(metavar)
    return find(Names(config, os.environ)) if find else ()


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as opened:
            return tomllib.load(opened)
    except (OSError, ValueError, RecursionError):
        return {}
