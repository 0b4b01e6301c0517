"""
How states look, for whoever draws them: of a chain, an endpoint, a source, a wallet, a stream. Each kind has a shape of
its own beside its word: colours alone tell some people nothing, and some terminals have none.
"""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["good", "coming", "doubtful", "bad"]

GLYPHS: Final[dict[Kind, str]] = {"good": "●", "coming": "◌", "doubtful": "▲", "bad": "✖"}

_KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("connected", "ready", "live", "ok", "watching"), "good"),
    **dict.fromkeys(("connecting", "syncing", "starting", "catching up", "reading", "checking"), "coming"),
    **dict.fromkeys(("degraded", "limited", "stalled", "waiting", "paused", "resting"), "doubtful"),
}


def kind(state: str) -> Kind:
    """What a state means. A word that is not known is bad: whoever is to be warned is warned."""
    return _KINDS.get(state, "bad")
