"""Answers that say what is wrong: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web

from chainwatch.errors import UsageError
from chainwatch.text import printable


class Problem(Exception):
    """
    Ends a request with this status. `detail` is for a person; `more` are members of their own (`parameter`, `value`,
    `nearest`); `headers` go with the answer; `close` ends the connection with it.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, str | None] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.close = close
        self.more = more or {}


def of_usage(error: UsageError) -> Problem:
    """A parameter that cannot be meant."""
    more = {"parameter": error.parameter, "value": error.value, "nearest": error.nearest, "hint": error.hint}
    return Problem(400, error.what, more=more)


def members(problem: Problem) -> dict[str, str | int]:
    """What it says. What the client sent is in it, so it is made visible and cut: it may end in a terminal."""
    phrase, detail = HTTPStatus(problem.status).phrase, printable(problem.detail, 1000)
    told: dict[str, str | int] = {"type": "about:blank", "title": phrase, "status": problem.status, "detail": detail}
    # A hint has line breaks of our own: below an expression stands a caret.
    told |= {name: _lines(text) if name == "hint" else printable(text) for name, text in problem.more.items() if text}
    return told


def answer(problem: Problem) -> web.Response:
    """The response."""
    response = web.Response(
        status=problem.status,
        body=msgspec.json.encode(members(problem)),
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", **problem.headers},
    )
    if problem.close:
        response.force_close()
    return response


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
