"""Receivers for tests of webhooks, and a machine on which a client may name one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from webhooks.receiver import Receiver, here

from chainwatch.config import target
from chainwatch.webhooks import caller


@pytest.fixture(name="ca", scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(name="receiver")
async def receiving(tmp_path: Path, ca: trustme.CA) -> AsyncIterator[Receiver]:
    async with Receiver(tmp_path, ca) as found:
        yield found


@pytest.fixture(name="trusted")
def trusting(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    """
    What clients name is on the internet, and a test's receiver is not: so loopback counts as public here, every name is
    this machine, and the tests' authority is one that the system trusts.
    """
    monkeypatch.setattr(target, "is_public", lambda address: True)
    monkeypatch.setattr(caller.Resolver, "addresses", lambda self, host, port: here(host, port))
    monkeypatch.setattr(caller, "_trusting", lambda ca_file: caller._context(receiver.ca_file, 0))
