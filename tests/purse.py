"""A consumer that keeps books: what each wallet holds, by the events alone."""

from __future__ import annotations

from typing import Any

Pair = tuple[str, str]
"""(wallet, token contract; empty for the native currency), lower case."""


class Purse:
    """Balances by the events. Every broken promise is an `AssertionError` at the event that breaks it."""

    def __init__(self) -> None:
        self.held: dict[Pair, int] = {}
        self.changes: list[dict[str, Any]] = []

    def apply(self, event: dict[str, Any]) -> None:
        data, removed = event["data"], event.get("removed", False)
        if event["type"] == "wallet_status" and data["state"] == "removed":
            self.held = {pair: held for pair, held in self.held.items() if pair[0] != data["address"].lower()}
        elif event["type"] == "wallet_status":
            for balance in data["balances"]:
                pair = (data["address"].lower(), (balance["token_address"] or "").lower())
                if removed:
                    assert self.held.pop(pair) == int(balance["balance"])
                else:
                    assert pair not in self.held, f"a first reading of what was read: {event}"
                    self.held[pair] = int(balance["balance"])
        elif event["type"] == "balance_changed":
            pair = (data["address"].lower(), (data["token_address"] or "").lower())
            before, after = int(data["previous_balance"]), int(data["balance"])
            assert int(data["delta"]) == after - before != 0
            explained = sum(int(cause["amount"]) for cause in data["causes"])
            assert int(data["unattributed"]) == int(data["delta"]) - explained
            if removed:
                before, after = after, before
            else:
                self.changes.append(event)
            assert self.held[pair] == before, f"it was not told that it held that: {event}"
            self.held[pair] = after
