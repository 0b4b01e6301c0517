"""What all tests share: the programs from npm, installed once into `.cache/node`, and real nodes to talk to."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anvil import Anvil
from browser import Site, installed_chromium
from hypothesis import HealthCheck, settings
from packages import installed_packages

# Daemons are started by the hundred: as with users, their modules are compiled once, whatever this shell has it like.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


_DEPTH, _MASK = sys.getrecursionlimit(), signal.pthread_sigmask(signal.SIG_BLOCK, ())


def pytest_runtest_setup() -> None:
    """
    What some tests leave behind for all that run after them: a library goes a hundred times as deep, and a `serve` that
    is called and fails holds SIGHUP back, which programs that are started then would never hear.
    """
    sys.setrecursionlimit(_DEPTH)
    signal.pthread_sigmask(signal.SIG_SETMASK, _MASK)


def installed_anvil() -> Path:
    """The binary, out of the npm package of this platform."""
    modules = installed_packages()
    found = sorted(modules.glob("@foundry-rs/anvil-*/bin/anvil*"))
    assert found, f"no anvil for this platform under {modules}"
    found[0].chmod(0o755)
    return found[0]


def load_contracts() -> dict[str, dict]:
    """Bytecode and selectors of `tests/data/contracts/Tokens.sol`."""
    return json.loads((Path(__file__).parent / "data" / "contracts" / "Tokens.json").read_text())["contracts"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a node or a daemon, set up once for their file, go to one worker; all others to whichever."""
    for item in items:
        known = getattr(item, "_fixtureinfo", None)
        found = known.name2fixturedefs.values() if known is not None else ()
        if any(fixture.scope in ("module", "class") for fixtures in found for fixture in fixtures):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture(scope="session")
def node_modules() -> Path:
    return installed_packages()


@pytest.fixture(scope="session")
def anvil_binary() -> Path:
    return installed_anvil()


@pytest.fixture(scope="session")
def chromium() -> str:
    return installed_chromium()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A web site whose page opens streams in a browser."""
    async with Site() as site:
        yield site


@pytest.fixture
async def anvil(anvil_binary: Path, tmp_path: Path) -> AsyncIterator[Anvil]:
    """A fresh anvil that mines when it is told to."""
    async with Anvil(anvil_binary, tmp_path / "anvil") as node:
        yield node


@pytest.fixture(scope="session")
def contracts() -> dict[str, dict]:
    return load_contracts()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own configuration has no place in a test."""
    for name in list(os.environ):
        if name.startswith("CHAINWATCH_"):
            monkeypatch.delenv(name)
