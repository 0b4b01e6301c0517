"""Processes of the bench: started, asked by lines, measured from outside, and ended whatever happens."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from debian import CACHE, installed, program

HERE = Path(__file__).parent


def compiled(name: str, *libraries: str) -> str:
    """The C program of that name, made of its sources here by gcc; again only where they have changed."""
    sources = [HERE / source for source in {"load": ("load.c", "body.c"), "limit": ("limit.c",)}[name]]
    text = b"".join(path.read_bytes() for path in (*sources, HERE / "body.h"))
    made = CACHE / "bench" / f"{name}-{hashlib.sha256(text).hexdigest()[:16]}"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        gcc = program("gcc", "gcc")
        if "-lz" in libraries:
            installed("zlib1g-dev", Path("/usr/include/zlib.h"))
        fresh = made.with_suffix(f".{os.getpid()}")
        warnings = ("-Wall", "-Wextra", "-Werror")
        subprocess.run([gcc, "-O2", *warnings, "-o", fresh, *sources, *libraries], check=True)
        fresh.rename(made)
    return str(made)


class Silent(Exception):
    """No answer came in time."""


class Process:
    """A program that answers lines with lines of JSON."""

    def __init__(self, command: Sequence[str]) -> None:
        self._popen = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._popen.pid
        self._rest = b""
        self._selector = selectors.DefaultSelector()
        assert self._popen.stdout is not None
        self._selector.register(self._popen.stdout, selectors.EVENT_READ)

    def tell(self, line: str) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(line.encode() + b"\n")
        self._popen.stdin.flush()

    def answer(self, timeout: float = 120.0) -> dict[str, Any]:
        """The next line that it says."""
        until = time.monotonic() + timeout
        while b"\n" not in self._rest:
            if not self._selector.select(max(0.0, until - time.monotonic())):
                raise Silent(f"{self._popen.args} says nothing for {timeout:g} s")
            data = os.read(self._popen.stdout.fileno(), 65536)  # type: ignore[union-attr]
            assert data, f"{self._popen.args} has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, line: str, timeout: float = 120.0) -> dict[str, Any]:
        self.tell(line)
        return self.answer(timeout)

    def end(self) -> None:
        """It ends when its stdin does; or it is made to."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.close()
        try:
            self._popen.wait(15)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._selector.close()
        self._popen.stdout.close()


def python(script: str, *arguments: str) -> Process:
    """A server of this folder, in an interpreter of its own."""
    return Process([sys.executable, str(HERE / script), *arguments])


def cpu(pid: int) -> float:
    """Seconds of CPU that all threads of a process have used: its own clock, as clock_getcpuclockid(3) gives it."""
    return time.clock_gettime((~pid << 3) | 2)


def memory(pid: int, name: str = "VmRSS") -> int:
    """Bytes. `VmHWM` is the most since `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
