"""Programs of Debian that tests need: found, or installed where we are root, or missed aloud. Never skipped."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".cache"


def program(package: str, *names: str) -> str:
    """The path of the first of these programs that is there; `package` is installed where none is."""
    _install(package, lambda: any(map(shutil.which, names)))
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, f"the tests need {' or '.join(names)}: `apt-get install {package}` as root"
    return found


def installed(package: str, path: Path) -> Path:
    """A file of `package` that is no program, such as a header or a module; installed where it is not there."""
    _install(package, path.exists)
    assert path.exists(), f"the tests need {path}: `apt-get install {package}` as root"
    return path


def _install(package: str, is_there: Callable[[], bool]) -> None:
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_there() and os.geteuid() == 0 and shutil.which("apt-get"):
            environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            wait = ("-o", "DPkg::Lock::Timeout=120")
            for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
                done = subprocess.run(
                    ["apt-get", *wait, *command], capture_output=True, text=True, check=False, env=environ, timeout=600
                )
                assert done.returncode == 0, f"apt-get {command[0]} failed:\n{done.stdout}{done.stderr}"
