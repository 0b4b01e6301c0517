"""
Webhooks by HTTP: `/webhooks`, `/webhooks/{webhook}`, its `/test`, its `/resume` and its `/dead-letters`.

They are to a client what agents are, with an address instead of a connection: a name of one's own, a filter, a cursor.
Another key's webhook is not there. What the configuration names belongs to the operator: keys that may `admin` see it
and test it, and change it nowhere but there.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from aiohttp import web

from chainwatch.errors import UsageError
from chainwatch.event import decode, interest, rfc3339
from chainwatch.filter import PARAMETERS
from chainwatch.log import Cursor, parse_cursor
from chainwatch.server import durable, parameters, posted
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT
from chainwatch.server.parameters import Asked
from chainwatch.server.principal import Principal
from chainwatch.server.problem import Problem
from chainwatch.server.writing import durably
from chainwatch.stream.begin import begin
from chainwatch.text import redact_url
from chainwatch.webhooks import MOST, NAME, OPERATOR, TooMany, TooOften, Webhook, Withdrawn, place_of

WORDS: Final = (*PARAMETERS, *durable.START)
"""Stream parameters in the body of a `PUT`, beside `url` and `secret`."""


def install(app: web.Application) -> None:
    """Webhooks are delivered while `app` runs. To be called before whatever ends the readers of the log at its end."""
    context = app[CONTEXT]

    async def start(_: web.Application) -> None:
        await context.webhooks.start()
        context.sessions.listen(context.webhooks.recheck)

    async def close(_: web.Application) -> None:
        await context.webhooks.close()

    app.on_startup.append(start)
    app.on_shutdown.append(close)


async def listed(request: web.Request) -> web.Response:
    """`GET /webhooks`: one's own; to whoever may `admin`, the configuration's too."""
    posted.nothing_asked(request)
    found = [hook for owner in _owners(request[PRINCIPAL]) for hook in request.app[CONTEXT].webhooks.of(owner)]
    return _json({"webhooks": [_about(request, hook) for hook in found], "max": MOST})


async def put(request: web.Request) -> web.Response:
    """`PUT /webhooks/{webhook}`: 201 where it is new, 200 where it was there; then its cursor stays."""
    posted.nothing_asked(request)
    context, principal = request.app[CONTEXT], request[PRINCIPAL]
    name, log, hooks = _name(request), context.log, context.webhooks
    if principal.may("admin") and hooks.get(OPERATOR, name) is not None:
        raise _configured(name)
    body = await posted.read(request)
    url, secret = _text(body, "url"), _text(body, "secret", needed=False)
    given = durable.words(body)
    asked = _parsed(request, given)
    for text in given.get("last_event_id", ()):
        durable.place_of(text, "last_event_id", log=log.identity, head=log.head)

    async def start() -> int:
        # Before a gap, where there is one: it is delivered first.
        cursor = parse_cursor((await begin(log, asked.start, asked.wanted)).cursor)
        return log.head if cursor is None else cursor.sequence

    words = {name: texts for name, texts in given.items() if name not in durable.START}
    with durably(), _refusals():
        hook, made, new = await hooks.add(principal.id, name, url or "", words, start=start, secret=secret)
    shown = {} if made is None else {"secret": made}
    return _json(_about(request, hook) | shown, status=201 if new else 200)


async def get(request: web.Request) -> web.Response:
    """`GET /webhooks/{webhook}`."""
    posted.nothing_asked(request)
    return _json(_about(request, _hook(request)))


async def delete(request: web.Request) -> web.Response:
    """`DELETE /webhooks/{webhook}`: what is under way is broken off, and nothing of it is kept."""
    posted.nothing_asked(request)
    hook = _hook(request)
    if hook.owner == OPERATOR:
        raise _configured(hook.name)
    with durably():
        await request.app[CONTEXT].webhooks.remove(hook)
    return web.Response(status=204)


async def test(request: web.Request) -> web.Response:
    """`POST /webhooks/{webhook}/test`: call it now; a pause ends where that is accepted. 200 whatever came of it."""
    posted.nothing_asked(request)
    hook = _hook(request)
    with durably(), _refusals():
        reply = await request.app[CONTEXT].webhooks.test(hook)
    told = {"accepted": reply.fault is None, "fault": reply.fault, "status": reply.status}
    return _json({**told, "milliseconds": reply.milliseconds, "webhook": _about(request, hook)})


async def resume(request: web.Request) -> web.Response:
    """`POST /webhooks/{webhook}/resume`: end its pause, and make the next attempt now, without a test."""
    posted.nothing_asked(request)
    hook = _hook(request)
    with durably(), _refusals():
        await request.app[CONTEXT].webhooks.wake(hook)
    return _json(_about(request, hook))


async def dead_letters(request: web.Request) -> web.Response:
    """
    `GET /webhooks/{webhook}/dead-letters`: the events that were given up, oldest first, and why; of those the ones that
    the asker may see now.
    """
    posted.nothing_asked(request)
    context, principal = request.app[CONTEXT], request[PRINCIPAL]
    log, vocabulary = context.log, context.vocabulary()
    letters = [
        letter
        for letter in await context.webhooks.letters(_hook(request))
        if principal.sees(interest(decode(bytes(letter.event))), vocabulary)
    ]
    told = [
        {
            "cursor": str(Cursor(log.identity, letter.sequence)),
            "since": rfc3339(letter.since),
            "given_up": rfc3339(letter.at),
            "attempts": letter.attempts,
            "fault": letter.fault,
            "status": letter.status,
            "event": letter.event,
        }
        for letter in letters
    ]
    return _json({"dead_letters": told})


async def redeliver(request: web.Request) -> web.Response:
    """
    `POST /webhooks/{webhook}/dead-letters`: send them again, oldest first, for a few seconds; what is accepted is no
    dead letter any more. 200 whatever came of it: behind one that is not accepted none is sent.
    """
    posted.nothing_asked(request)
    hook = _hook(request)
    with durably(), _refusals():
        sent = await request.app[CONTEXT].webhooks.redeliver(hook)
    why = {"fault": sent.fault and sent.fault.fault, "status": sent.fault and sent.fault.status}
    return _json({"accepted": sent.accepted, "left": hook.letters, **why, "webhook": _about(request, hook)})


async def forget_dead_letters(request: web.Request) -> web.Response:
    """`DELETE /webhooks/{webhook}/dead-letters`: somebody has seen to them."""
    posted.nothing_asked(request)
    with durably():
        await request.app[CONTEXT].webhooks.burn(_hook(request))
    return web.Response(status=204)


def _parsed(request: web.Request, words: dict[str, list[str]]) -> Asked:
    """What these words ask for now, narrowed to what the asker may see."""
    vocabulary, principal, now = request.app[CONTEXT].vocabulary(), request[PRINCIPAL], int(time.time() * 1000)
    pairs = [(name, text) for name, texts in words.items() for text in texts]
    asked = principal.understand(lambda known: parameters.stream(pairs, known, now=now, known=WORDS), vocabulary)
    return msgspec.structs.replace(asked, wanted=principal.narrow(asked.wanted, vocabulary))


def _text(body: dict[str, Any], name: str, *, needed: bool = True) -> str | None:
    """Take a text out of the body."""
    found = body.pop(name, None)
    if found is None and not needed:
        return None
    if not isinstance(found, str):
        wrong = f"{name} is missing" if found is None else f"{name} is no text"
        raise UsageError(wrong, parameter=name, hint='{"url": "https://…", "types": "token_transfer"}')
    return found


@contextmanager
def _refusals() -> Iterator[None]:
    """What the webhooks refuse, as problems."""
    try:
        yield
    except Withdrawn as error:
        raise Problem(403, str(error)) from None
    except TooMany as error:
        raise Problem(409, error.what, more={"hint": error.hint}) from None
    except TooOften as error:
        raise Problem(429, error.what, headers={"Retry-After": str(max(1, math.ceil(error.wait)))}) from None


def _configured(name: str) -> Problem:
    hint = "change [[webhooks]] there, and send the daemon SIGHUP"
    return Problem(409, f"the webhook {name} is of the configuration", more={"value": name, "hint": hint})


def _owners(principal: Principal) -> list[str]:
    """Whose webhooks they see."""
    return [principal.id, OPERATOR] if principal.may("admin") else [principal.id]


def _name(request: web.Request) -> str:
    name = request.match_info["webhook"]
    if not NAME.fullmatch(name):
        hint = "up to 64 letters, digits, dots, - and _, the first a letter or a digit"
        raise Problem(400, f"{name!r} is no name for a webhook", more={"value": name, "hint": hint})
    return name


def _hook(request: web.Request) -> Webhook:
    """Theirs of that name; `Problem` 404 where there is none: nobody learns whether somebody else has one."""
    name, hooks, owners = _name(request), request.app[CONTEXT].webhooks, _owners(request[PRINCIPAL])
    for owner in owners:
        if (hook := hooks.get(owner, name)) is not None:
            return hook
    close = difflib.get_close_matches(name, [hook.name for owner in owners for hook in hooks.of(owner)], n=1)
    hint = (
        f"did you mean {close[0]!r}?"
        if close
        else f"`chainwatch webhooks add {name} URL` makes one, or PUT /webhooks/{name}"
    )
    raise Problem(404, f"there is no webhook {name!r}", more={"value": name, "hint": hint})


def _about(request: web.Request, hook: Webhook) -> dict[str, Any]:
    """A webhook, as its owner sees it."""
    context, standing, purpose = request.app[CONTEXT], hook.standing, hook.purpose
    log, place, trouble, configured = context.log, place_of(hook), standing.trouble, hook.owner == OPERATOR
    told: dict[str, Any] = {
        "webhook": hook.name,
        "configured": configured,
        "url": redact_url(purpose.url) if configured else purpose.url,
        "parameters": purpose.words,
        "filters": None,
        "state": hook.status,
        "reason": hook.problem or standing.pause,
        "cursor": str(Cursor(log.identity, place)),
        "lag": max(0, log.head - place),
        "created": rfc3339(purpose.created),
        "changed": rfc3339(purpose.changed),
        "expires": None if purpose.expires is None else rfc3339(purpose.expires),
        "accepted": standing.accepted,
        "accepted_at": None if standing.accepted_at is None else rfc3339(standing.accepted_at),
        "dead_letters": hook.letters,
        "failing": trouble
        and {
            "fault": trouble.fault,
            "status": trouble.status,
            "attempts": trouble.attempts,
            "since": rfc3339(trouble.since),
            "next": rfc3339(trouble.again) if standing.pause is None else None,
        },
    }
    try:
        told["filters"] = context.webhooks.wanted(hook).describe()
    except (Withdrawn, UsageError) as error:
        told["reason"] = error.what if isinstance(error, UsageError) else str(error)
    return told


def _json(content: object, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(content),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
