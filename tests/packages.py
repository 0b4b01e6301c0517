"""The packages of `tests/package.json`, installed once into `.cache/node`."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from functools import cache
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".cache" / "node"


@cache
def installed_packages() -> Path:
    """Where they are. Installing them needs npm and its registry, the first time only."""
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
