"""API keys, each in a file of its own, which can have its own permissions. Nobody else keeps or shows them."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chainwatch.config.values import Wrong, secret
from chainwatch.errors import ConfigError, Problem

if TYPE_CHECKING:
    from chainwatch.config.model import Settings

LONGEST: Final = 4096
"""Bytes of a file with a key."""

# It goes into a header: a line break in it would be a header of its own (CWE-113).
_KEY: Final = re.compile(r"[\x21-\x7e]+")


def read_key(path: str) -> str:
    """The key in that file. `Wrong` where there is none, or more than one line."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(LONGEST + 1)
    except OSError as error:
        raise Wrong(f"cannot be read: {error.strerror or type(error).__name__}") from None
    except ValueError:  # a path with a NUL
        raise Wrong("is no path of a file") from None
    text = raw.decode("utf-8-sig", "replace").strip()
    if not text:
        raise Wrong("holds no key", "it is one line, the key")
    if len(raw) > LONGEST or len(text.splitlines()) > 1:
        raise Wrong("holds more than one line", "it is one line, the key")
    if not _KEY.fullmatch(text):
        raise Wrong("holds what is no key", "a key has no spaces, and only ASCII letters, digits and signs")
    return text


def read_secret(path: str) -> str:
    """The secret of a webhook in that file. `Wrong` where there is none."""
    text = read_key(path)
    secret(text)
    return text


def api_keys(settings: Settings) -> dict[str, str]:
    """
    The API keys, and the secrets of webhooks, by the path of their file. `ConfigError` where one is gone since the
    settings were read.
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for index, price in enumerate(settings.prices):
        if price.api_key_file is not None and price.api_key_file not in found:
            try:
                found[price.api_key_file] = read_key(price.api_key_file)
            except Wrong as wrong:
                problems.append(Problem(f"prices[{index}].api_key_file", str(wrong), wrong.hint))
    for index, webhook in enumerate(settings.webhooks):
        try:
            found[webhook.secret_file] = read_secret(webhook.secret_file)
        except Wrong as wrong:
            problems.append(Problem(f"webhooks[{index}].secret_file", str(wrong), wrong.hint))
    if problems:
        what = "the secret of a webhook" if problems[0].key.startswith("webhooks") else "an API key"
        raise ConfigError(f"{what} cannot be read", problems, hint="nothing was started")
    return found


def readable_by_all(path: str) -> bool:
    """Whether every user of this machine can read the file."""
    try:
        return bool(Path(path).stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
