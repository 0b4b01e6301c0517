"""The packages of `tests/package.json`, installed once into `.cache/node`; those of `tests/mcp` beside them."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache"


@cache
def installed_packages(listed: Path = HERE / "package.json", name: str = "node") -> Path:
    """Where those that are `listed` are. Installing them needs npm and its registry, the first time only."""
    wanted = listed.read_text()
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = folder / "installed.json"
        if not installed.exists() or installed.read_text() != wanted:
            npm = shutil.which("npm")
            assert npm, "the tests need npm (Node.js 20 or newer) for real nodes and real clients"
            (folder / "package.json").write_text(wanted)
            done = subprocess.run(
                [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            assert done.returncode == 0, f"npm install failed:\n{done.stdout}{done.stderr}"
            installed.write_text(wanted)
    return folder / "node_modules"
