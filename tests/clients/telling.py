"""How a client of `tests/clients` tells what it gets."""

from __future__ import annotations

import json


def tell(kind: str, **what: object) -> None:
    """One line."""
    print(json.dumps({"kind": kind, **what}), flush=True)
