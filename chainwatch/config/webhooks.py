"""`[[webhooks]]`: who is called, with what. See `model` for what the descriptions are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, StrictBool

from chainwatch import filter as filters
from chainwatch.config import values
from chainwatch.config.keys import read_secret
from chainwatch.config.section import Section
from chainwatch.config.values import Wrong
from chainwatch.errors import Problem, UsageError
from chainwatch.filter import Vocabulary

Words = Annotated[tuple[str, ...], BeforeValidator(values.words)]

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"


class WebhookSettings(Section):
    """`[[webhooks]]`: an address that is called when something happens."""

    name: Annotated[str, BeforeValidator(values.hook_name)] = Field(
        description="What you call it: letters, digits, dots, - and _. Its place in the log is kept under this "
        "name, and forgotten when no webhook is called so any more.",
        examples=["shop"],
    )
    url: Annotated[str, BeforeValidator(values.receiver)] = Field(
        repr=False,
        description="Where each event is POSTed as JSON: https://, at a public address unless allow_private is set.",
        examples=["https://shop.example.com/hooks/chain"],
    )
    secret_file: str = Field(
        min_length=1,
        description="A file that holds the secret by which your receiver knows us (Standard Webhooks) and nothing "
        "else: whsec_ and 24 to 64 random bytes in base64, such as `echo whsec_$(openssl rand -base64 32)` makes; "
        "relative to the configuration file. When SIGHUP finds another, the one before signs too, for a day or until "
        "a restart.",
        examples=["shop.secret"],
    )
    filters: Words = Field(default=(), description="Only these types or categories, as `filters` of a stream.")
    types: Words = Field(default=(), description="The same, as `types` of a stream; custom:NAME is a custom type.")
    chains: Words = Field(default=(), description="Only these chains.")
    address: Words = Field(default=(), description="Only events that touch one of these addresses.")
    token: Words = Field(default=(), description="Only these tokens: a contract, or the symbol of a listed token.")
    min_amount: str | None = Field(
        default=None, min_length=1, description="Only amounts from so many base units on, as a text.",
        examples=["1000000"],
    )  # fmt: skip
    where: str | None = Field(
        default=None, min_length=1, description="Only if this expression is true of the event.",
        examples=["data.amount > 1e18 && !removed"],
    )  # fmt: skip
    since: Annotated[str, BeforeValidator(values.since)] = Field(
        default="now",
        description='Where one with a new name begins: "now", "earliest", or so long ago as "1h" says.',
    )
    allow_private: StrictBool = Field(
        default=False,
        description="The receiver may be on this machine or on a private network. Webhooks that clients add never may.",
    )
    ca_file: str | None = Field(
        default=None,
        min_length=1,
        description="Certificates (PEM) that the receiver's is checked against, instead of those that this machine "
        "trusts; relative to the configuration file.",
        examples=["ca.pem"],
    )

    @property
    def words(self) -> dict[str, Sequence[str]]:
        """The parameters of its filter that are given."""
        found = {name: given for name in filters.PARAMETERS if (given := getattr(self, name))}
        return {name: (given,) if isinstance(given, str) else given for name, given in found.items()}


def check_files(secret_file: object, ca_file: object) -> Iterator[tuple[str, Wrong]]:
    """What is wrong with the files of a webhook, by their keys; what is no text the model reports."""
    if isinstance(secret_file, str) and secret_file:
        try:
            read_secret(secret_file)
        except Wrong as wrong:
            yield "secret_file", wrong
    if isinstance(ca_file, str) and ca_file:
        try:
            with Path(ca_file).open("rb") as file:
                found = _BEGIN in file.read(1024 * 1024)
        except (OSError, ValueError) as error:
            yield "ca_file", Wrong(f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}")
        else:
            if not found:
                yield "ca_file", Wrong("holds no certificate", "PEM: -----BEGIN CERTIFICATE-----")


def check_urls(webhooks: Sequence[WebhookSettings]) -> Iterator[Problem]:
    """URLs that would never be called, as their text alone tells."""
    if not webhooks:
        return
    from chainwatch.config import target

    for index, webhook in enumerate(webhooks):
        try:
            target.parse(webhook.url, private=webhook.allow_private)
        except UsageError as error:
            yield Problem(f"webhooks[{index}].url", error.what, _allowed(webhook.url) or error.hint)


def _allowed(url: str) -> str:
    """What would be right where it is a URL of a network of ours."""
    from chainwatch.config import target

    try:
        target.parse(url, private=True)
    except UsageError:
        return ""
    return "set allow_private = true if its receiver is on a network of yours"


def check_words(webhooks: Sequence[WebhookSettings], vocabulary: Vocabulary) -> Iterator[Problem]:
    """Filters whose words mean nothing."""
    for index, webhook in enumerate(webhooks):
        try:
            filters.parse(webhook.words, vocabulary)
        except UsageError as error:
            yield Problem(f"webhooks[{index}].{error.parameter}", error.what, error.hint)
