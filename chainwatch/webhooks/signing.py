"""
Signatures of requests, by the Standard Webhooks specification (1.0, symmetric). Pure.

A receiver computes HMAC-SHA256 over `id.timestamp.body` with the secret that it shares with us, compares, and refuses
what is older than a few minutes. Each attempt has a timestamp and so a signature of its own; its id stays, by which a
receiver knows what it has already.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

from chainwatch.config import values
from chainwatch.config.values import Wrong
from chainwatch.errors import UsageError

PREFIX: Final = "whsec_"
_FRESH: Final = 32  # bytes of one that is made here


def new_secret() -> str:
    """A secret of 256 random bits."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_FRESH)).decode()


def check_secret(text: str) -> str:
    """The secret, as it is. `UsageError`, which does not repeat it, where it is none."""
    try:
        values.secret(text)
    except Wrong as wrong:
        hint = f"{wrong.hint}; without one, one is made"
        raise UsageError("this is no secret of a webhook", parameter="secret", hint=hint) from None
    return text


def headers(message: str, timestamp: int, body: bytes, keys: Iterable[str]) -> dict[str, str]:
    """
    The headers of the request with this id at this Unix time in seconds. More than one secret, while one replaces
    another: the receiver may know either.
    """
    signed = b"%b.%d.%b" % (message.encode(), timestamp, body)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(key, signed) for key in keys),
    }


def _signature(secret: str, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(values.secret(secret), signed, hashlib.sha256)).decode()
