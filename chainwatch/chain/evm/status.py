"""What to say of a chain: one state and one reason out of everything that is known at a moment. Pure."""

from __future__ import annotations

from dataclasses import dataclass

BACKLOG = 8
"""Blocks behind the node's head from which on the chain is `syncing`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A moment in the life of a chain's ingestion."""

    ready: int
    """Endpoints that are connected."""
    was_ready: bool
    """One was, ever."""
    tried: bool
    """Each endpoint failed at least once."""
    in_use: str | None
    """The endpoint in use."""
    preferred: bool
    """It is the first of the list."""
    tip: int | None
    """Number of the newest told block."""
    head: int | None
    """Number of the newest block of the endpoint in use."""
    silent: float
    """Seconds since any endpoint named a new block."""
    stall_after: float | None
    halted: str | None
    """Why nothing may be told until somebody looks."""
    trouble: str | None
    """What went wrong again and again lately."""
    reason: str | None
    """Why the first endpoint is not in use, or why none is."""


def describe(now: Situation) -> tuple[str, str | None]:
    """`state` and `reason` of a `chain_status`."""
    if now.halted is not None:
        return "halted", now.halted
    if now.ready == 0:
        if not now.was_ready and not now.tried:
            return "connecting", None
        return "disconnected", now.reason
    if now.tip is not None and now.head is not None and now.head + BACKLOG < now.tip:
        return "syncing", f"the node is {now.tip - now.head} blocks behind what was told"
    if now.trouble is not None:
        return "degraded", now.trouble
    if now.stall_after is not None and now.silent > now.stall_after:
        return "stalled", f"no new block for {now.stall_after:g} s or more"
    if now.tip is None:
        return "connecting", "waiting for the first block"
    if now.head is not None and now.head > now.tip + BACKLOG:
        return "syncing", f"{now.head - now.tip} blocks behind the node"
    if not now.preferred:
        return "degraded", f"the preferred endpoint is not in use: {now.reason or 'it is behind'}"
    return "connected", None
