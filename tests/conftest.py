"""What all tests share: the programs from npm, installed once into `.cache/node`, and real nodes to talk to."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anvil import Anvil

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "node"


def installed_packages() -> Path:
    """The packages of `tests/package.json`. Installing them needs npm and its registry, the first time only."""
    wanted = (Path(__file__).parent / "package.json").read_text()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = CACHE / "installed.json"
        if not installed.exists() or installed.read_text() != wanted:
            npm = shutil.which("npm")
            assert npm, "the tests need npm (Node.js 20 or newer) for a real Ethereum node"
            (CACHE / "package.json").write_text(wanted)
            done = subprocess.run(
                [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"],
                cwd=CACHE,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            assert done.returncode == 0, f"npm install failed:\n{done.stdout}{done.stderr}"
            installed.write_text(wanted)
    return CACHE / "node_modules"


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


@pytest.fixture(scope="session")
def node_modules() -> Path:
    return installed_packages()


@pytest.fixture(scope="session")
def anvil_binary() -> Path:
    return installed_anvil()


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
