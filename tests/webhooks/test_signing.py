"""Signatures, as the verifier of the specification's own authors sees them."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook as Verifier, WebhookVerificationError
from webhooks.receiver import SECRET

from chainwatch.errors import UsageError
from chainwatch.webhooks import signing

BODY = '{"id":"evt_1","note":"ä €"}'.encode()


def test_the_published_verifier_accepts_what_is_signed_here():
    headers = signing.headers("evt_1", int(time.time()), BODY, [SECRET])
    assert Verifier(SECRET).verify(BODY, headers)["note"] == "ä €"


def test_the_example_of_the_specification_has_its_signature():
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = signing.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [secret])
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("part", ["id", "timestamp", "body"])
def test_whatever_is_changed_is_noticed(part):
    headers = signing.headers("evt_1", int(time.time()), BODY, [SECRET])
    if part != "body":
        headers[f"webhook-{part}"] = {"id": "evt_2", "timestamp": str(int(time.time()) - 1)}[part]
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(BODY + b" " if part == "body" else BODY, headers)


def test_while_one_secret_replaces_another_both_verify():
    former = signing.new_secret()
    headers = signing.headers("evt_1", int(time.time()), BODY, [SECRET, former])
    for secret in (SECRET, former):
        Verifier(secret).verify(BODY, headers)


def test_secrets_that_are_made_are_good_and_never_the_same():
    made = {signing.check_secret(signing.new_secret()) for _ in range(100)}
    assert len(made) == 100


@pytest.mark.parametrize(
    "text",
    [
        "", "whsec_", "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvZiB3ZWJob29rcyE=", "whsec_ä", "whsec_not base64 at all, is it?",
        "whsec_" + base64.b64encode(bytes(23)).decode(), "whsec_" + base64.b64encode(bytes(65)).decode(),
    ],
)  # fmt: skip
def test_what_is_no_secret_is_refused_and_not_repeated(text):
    with pytest.raises(UsageError) as refused:
        signing.check_secret(text)
    assert len(text) < 8 or text[6:] not in str(refused.value)
