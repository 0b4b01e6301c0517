"""A daemon for tests that have no event loop: a process that is started, told things, and ended."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def serving(folder: Path, *arguments: str, configuration: str = "") -> Iterator[str]:
    """The address of a daemon that follows what is configured, or nothing: then it tells what it is sent."""
    text = f'[server]\nport = 0\n[log]\npath = "{folder}/events.db"\n{configuration}'
    (folder / "chainwatch.toml").write_text(text)
    command = [sys.executable, "-m", "chainwatch", "-c", str(folder / "chainwatch.toml"), "serve", *arguments]
    with (
        (folder / "stderr").open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        line = process.stdout.readline()
        assert line.startswith("listening on "), (folder / "stderr").read_text()
        try:
            yield line.removeprefix("listening on ").strip()
        finally:
            process.terminate()


def tell(url: str, kind: str = "deploy", **data: Any) -> dict[str, str]:
    """Publish an event; its id and cursor."""
    request = urllib.request.Request(f"{url}/events/{kind}", json.dumps(data).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201
        return json.loads(answer.read())
