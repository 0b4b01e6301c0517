"""Whether systemd's journal reads a stream: what is written there then has its priority in front, see sd-daemon(3)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """`$JOURNAL_STREAM` is the device and the inode of the one that the journal reads, see systemd.exec(5)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
