"""The webhooks of a log: in memory as they are on disk, and moved on disk first."""

from __future__ import annotations

from typing import Final, Literal

OPERATOR: Final = "@"
"""The owner of what the configuration names: no id of a key."""

Status = Literal["unverified", "live", "failing", "paused", "withdrawn"]


class Webhook:
    """
    One webhook. `owner`: the id of a key, empty where the daemon knows none, or `OPERATOR`; `name`; `url`; `words`;
    `status`; `cursor`: everything up to it was accepted, or is a dead letter.
    """

    owner: str
    name: str
    url: str
    words: dict[str, list[str]]
    status: Status
    cursor: str
