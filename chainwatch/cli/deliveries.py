"""How webhooks stand, and what was given up, in words for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from chainwatch.text import printable, redact_url

FAULTS: Final = {
    "unreachable": "it cannot be reached, or its name is not known",
    "connection_refused": "nobody listens there",
    "timeout": "it does not answer in time",
    "tls_error": "no secure connection: its certificate is not for that name, or from nobody who is trusted",
    "address_refused": "its name means an address that is not public, or none",
    "http_3xx": "it redirects, and that is not followed",
    "http_4xx": "it refuses",
    "http_5xx": "it fails",
    "bad_answer": "its answer broke off, or is no HTTP",
    "challenge_failed": "it does not repeat the challenge that it was sent",
}
"""What the daemon says of a receiver, for people."""
PAUSES: Final = {
    "gone": "it said 410 Gone",
    "failing": "it took nothing for days",
    "unverified": "it answered no challenge",
    "full": "it has as many dead letters as are kept",
}


def table(found: Sequence[dict[str, Any]]) -> str:
    """The webhooks for people: a line each, below a line of titles."""
    rows = [["NAME", "STATE", "BEHIND", "ACCEPTED", "DEAD", "RECEIVER", "WHY"]]
    for one in found:
        failing, reason = one.get("failing"), one.get("reason")
        why = PAUSES.get(str(reason), str(reason)) if reason else ""
        if isinstance(failing, dict):
            why = f"{why}; {fault(failing)}" if why else fault(failing)
        cells = [one.get(name) for name in ("webhook", "state", "lag", "accepted", "dead_letters")]
        rows.append(
            [*(printable(str(cell), 64) for cell in cells), redact_url(str(one.get("url"))), printable(why, 200)]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def fault(told: dict[str, Any]) -> str:
    """Why a request was not accepted."""
    word, status = str(told.get("fault")), told.get("status")
    return printable(FAULTS.get(word, word), 200) + (f" ({status})" if isinstance(status, int) else "")


def standing(told: dict[str, Any], letters: Sequence[dict[str, Any]]) -> str:
    """One webhook, a line for each thing that is known of it, and its dead letters."""
    rows = list(_standing(told))
    width = max(len(title) for title, _ in rows)
    lines = [f"{printable(str(told.get('webhook')), 64)}: {printable(str(told.get('state')), 64)}"]
    lines += [f"  {title:{width}}  {text}" for title, text in rows]
    return "\n".join([*lines, *(f"    {_letter(letter)}" for letter in letters)])


def _standing(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    reason, failing, words = told.get("reason"), told.get("failing"), told.get("parameters")
    if reason:
        yield "why", printable(PAUSES.get(str(reason), str(reason)), 300)
    if isinstance(failing, dict):
        text = f"{fault(failing)}; {_attempts(failing)}"
        again = failing.get("next")
        yield "failing", text if again is None else f"{text}, the next at {printable(str(again), 64)}"
    yield "receiver", printable(redact_url(str(told.get("url"))), 300)
    if isinstance(words, dict) and words:
        yield "filter", printable(" ".join(f"{name}={','.join(map(str, texts))}" for name, texts in words.items()), 500)
    yield "place", printable(f"{told.get('cursor')}, {told.get('lag')} behind", 200)
    when = told.get("accepted_at")
    yield "accepted", printable(f"{told.get('accepted')}" + ("" if when is None else f", the last at {when}"), 200)
    yield "dead letters", printable(str(told.get("dead_letters")), 64)


def _letter(told: dict[str, Any]) -> str:
    event = told.get("event")
    named = [str(event.get(name)) for name in ("type", "id")] if isinstance(event, dict) else []
    cells = [str(told.get("given_up")), *named, fault(told), _attempts(told)]
    return "  ".join(printable(cell, 200) for cell in cells)


def _attempts(told: dict[str, Any]) -> str:
    count = told.get("attempts")
    return printable(f"{count} attempt{'' if count == 1 else 's'} since {told.get('since')}", 200)
