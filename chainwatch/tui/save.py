"""Events into a file of one's own: a line of JSON each, as they came."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path


def save(folder: Path, moment: datetime, lines: Iterable[bytes]) -> tuple[Path, int]:
    """
    A new file, which nobody else may read, and how many events it holds. Nothing is ever overwritten. `OSError` where
    that cannot be; no part of the file is left then.
    """
    path, number = folder / f"chainwatch-{moment:%Y%m%dT%H%M%SZ}.ndjson", 1
    while True:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            break
        except FileExistsError:
            number += 1
            path = folder / f"chainwatch-{moment:%Y%m%dT%H%M%SZ}-{number}.ndjson"
    count = 0
    try:
        with os.fdopen(fd, "wb") as file:
            for line in lines:
                file.write(line + b"\n")
                count += 1
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path, count
