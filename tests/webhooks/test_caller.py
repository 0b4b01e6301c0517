"""The request itself: where it goes, how long it takes, and what is made of the answer."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme
from webhooks.receiver import HOST, Receiver, chatters, cuts, floods, promises, respond, says, well

from chainwatch.config import target
from chainwatch.config.target import Target
from chainwatch.webhooks import Caller, Trust, caller

TO = Target(HOST, 443, "/hook")


class Names:
    """A resolver that remembers what it was asked, and may answer otherwise each time."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, OSError):
            raise found
        return found


Called = Callable[..., Caller]


@pytest.fixture
async def called() -> AsyncIterator[Called]:
    callers: list[Caller] = []

    def start(*answers: list[str] | OSError, patience: float = 10) -> Caller:
        callers.append(Caller(Names(*(answers or (["127.0.0.1"],))), patience))
        return callers[-1]

    yield start
    for one in callers:
        await one.close()


def to(receiver: Receiver, host: str = HOST) -> Target:
    return Target(host, receiver.port, "/hook?x=%2F&y")


def trust(receiver: Receiver) -> Trust:
    return Trust(private=True, ca_file=receiver.ca_file)


async def test_the_name_is_looked_up_once_a_request_and_the_checked_address_is_called(
    called: Called, receiver: Receiver
):
    # A second look-up would find what nobody listens at.
    found = called(["127.0.0.1"], ["127.0.0.2"])
    reply = await found.call(to(receiver), {"a": "b"}, b"{}", trust=trust(receiver))
    assert (reply.fault, reply.status) == (None, 200)
    names = found._lookup
    assert names.asked == [(HOST, receiver.port)]
    came = receiver.came[0]
    assert (came.headers["host"], came.headers["a"], came.path) == (f"{HOST}:{receiver.port}", "b", "/hook?x=%2F&y")
    second = await found.call(to(receiver), {}, b"{}", trust=trust(receiver))
    assert second.fault == "connection_refused"  # no connection to an address that was not found this time
    assert receiver.connections == 1


async def test_addresses_take_turns_so_that_one_that_is_dead_does_not_stop_it(called: Called, receiver: Receiver):
    found = called(["127.0.0.2", "127.0.0.1"])
    faults = [
        (await found.call(to(receiver), {}, b"{}", trust=trust(receiver), attempt=attempt)).fault
        for attempt in range(3)
    ]
    assert faults == ["connection_refused", None, "connection_refused"]


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["169.254.169.254"], []])
async def test_a_name_with_an_address_that_is_not_public_is_never_called(called: Called, receiver: Receiver, addresses):
    reply = await called(addresses).call(to(receiver), {}, b"{}")
    assert (reply.fault, reply.status) == ("address_refused", None)
    assert receiver.connections == 0


async def test_a_name_that_is_not_known_is_unreachable(called: Called, receiver: Receiver):
    found = called(socket.gaierror(socket.EAI_NONAME, "unknown"))
    assert (await found.call(to(receiver), {}, b"{}")).fault == "unreachable"
    real = caller.Resolver()
    with pytest.raises(socket.gaierror):
        await real.addresses("a" * 64 + "..example", 443)
    assert "127.0.0.1" in await real.addresses("127.0.0.1", 443)
    for text in ("127.1", "0x7f.1", "2130706433"):  # as the C library reads them
        assert not any(map(target.is_public, await real.addresses(text, 443)))


async def test_a_look_up_that_hangs_is_a_time_out_and_stops_nothing(monkeypatch, receiver: Receiver):
    released = threading.Event()
    real = socket.getaddrinfo

    def hang(host, *rest, **more):
        if host == "slow.example":
            released.wait()
        return real("127.0.0.1", *rest, **more)

    monkeypatch.setattr(caller.socket, "getaddrinfo", hang)
    patient, hasty = Caller(timeout=30), Caller(timeout=0.1)
    nowhere = Target("slow.example", 443, "/")
    slow = [asyncio.create_task(patient.call(nowhere, {}, b"", trust=Trust(private=True))) for _ in range(10)]
    try:
        assert (await patient.call(to(receiver), {}, b"{}", trust=trust(receiver))).fault is None
        assert (await hasty.call(nowhere, {}, b"", trust=Trust(private=True))).fault == "timeout"
    finally:
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        released.set()
        await patient.close()
        await hasty.close()


async def test_names_that_nobody_answers_for_take_their_owners_shares_and_nobody_elses(monkeypatch, receiver: Receiver):
    released = threading.Event()
    real = socket.getaddrinfo

    def hang(host, *rest, **more):
        if host.startswith("slow"):
            released.wait()
        return real("127.0.0.1", *rest, **more)

    monkeypatch.setattr(caller.socket, "getaddrinfo", hang)
    ours, hasty = Caller(), Caller(timeout=0.05)
    ours._lookup, ours._lookups = hasty._lookup, hasty._lookups  # one daemon
    try:
        for number in range(40):
            nowhere, owner = Target(f"slow{number}.example", 443, "/"), f"bad{number % 8}"
            assert (await hasty.call(nowhere, {}, b"", trust=Trust(private=True), owner=owner)).fault == "timeout"
        assert (await ours.call(to(receiver), {}, b"{}", trust=trust(receiver), owner="good")).fault is None
    finally:
        released.set()
        await ours.close()
        await hasty.close()


async def test_many_webhooks_at_one_name_that_nobody_answers_for_are_one_look_up(called: Called, receiver: Receiver):
    asked: list[str] = []
    answered = asyncio.Event()

    async def hang(host: str, _port: int) -> list[str]:
        asked.append(host)
        if host != HOST:
            await answered.wait()
        return ["127.0.0.1"]

    found = called(patience=60)
    found._lookup = hang
    nowhere = Target("slow.example", receiver.port, "/")
    slow = [asyncio.create_task(found.call(nowhere, {}, b"", trust=trust(receiver), owner="own")) for _ in range(20)]
    while not asked:
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        assert (await found.call(to(receiver), {}, b"{}", trust=trust(receiver), owner="own")).fault is None
    answered.set()
    assert {(await task).fault for task in slow} == {"tls_error"}  # they got their answer, and that is another name
    assert (await found.call(to(receiver), {}, b"{}", trust=trust(receiver), owner="own")).fault is None
    assert asked == ["slow.example", HOST, HOST]  # each request after that is looked up anew


async def test_a_look_up_that_fails_when_nobody_waits_any_more_is_nobodys_error(called: Called):
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    asked, answered = asyncio.Event(), asyncio.Event()

    async def late(_host: str, _port: int) -> list[str]:
        asked.set()
        await answered.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    found = called(patience=0.01)
    found._lookup = late
    assert (await found.call(TO, {}, b"")).fault == "timeout"
    answered.set()
    while found._looking:
        await asyncio.sleep(0)
    gc.collect()
    assert told == []


async def test_certificates_that_are_gone_are_said_to_be_that(called: Called, receiver: Receiver, tmp_path: Path):
    gone = Trust(private=True, ca_file=str(tmp_path / "gone.pem"))
    assert (await called().call(to(receiver), {}, b"", trust=gone)).fault == "tls_error"


async def test_a_certificate_that_nobody_trusts_or_of_another_name_is_refused(called: Called, receiver: Receiver):
    assert (await called().call(to(receiver), {}, b"", trust=Trust(private=True))).fault == "tls_error"
    other = to(receiver, "other.example.com")
    assert (await called().call(other, {}, b"", trust=trust(receiver))).fault == "tls_error"
    assert receiver.came == []


async def test_another_authority_in_the_file_counts_from_the_next_request_on(called: Called, receiver, tmp_path: Path):
    found, trusts = called(), trust(receiver)
    assert (await found.call(to(receiver), {}, b"{}", trust=trusts)).fault is None
    trustme.CA().cert_pem.write_to_path(receiver.ca_file)
    assert (await found.call(to(receiver), {}, b"{}", trust=trusts)).fault == "tls_error"


async def test_what_speaks_no_tls_or_no_http_is_said_to(called: Called, receiver: Receiver):
    async def nonsense(reader, writer):
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reply = await called().call(Target(HOST, port, "/"), {}, b"", trust=trust(receiver))
    assert reply.fault == "tls_error"
    server.close()

    async def no_http(_, writer):
        writer.write(b"hello\r\n\r\n")

    receiver.behave = no_http
    assert (await called().call(to(receiver), {}, b"{}", trust=trust(receiver))).fault == "bad_answer"

    async def long_head(_, writer):
        writer.write(b"HTTP/1.1 200 X\r\nX: " + b"a" * 100_000 + b"\r\n\r\n")

    receiver.behave = long_head
    assert (await called().call(to(receiver), {}, b"{}", trust=trust(receiver))).fault == "bad_answer"


async def test_the_status_decides_and_nothing_behind_it(called: Called, receiver: Receiver):
    async def breaks_off(_, writer):
        writer.write(b"HTTP/1.1 202 X\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.transport.abort()

    async def babbles(_, writer):
        writer.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")

    async def babbles_and_fails(_, writer):
        writer.write(b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")

    for behave, fault in (
        (breaks_off, None), (floods, None), (cuts, "bad_answer"), (babbles, None), (babbles_and_fails, "http_5xx"),
        (well, None),
    ):  # fmt: skip
        receiver.behave = behave
        assert (await called().call(to(receiver), {}, b"{}", trust=trust(receiver))).fault == fault


async def test_what_is_no_answer_is_heard_to_a_bound_and_then_cut(called: Called, receiver: Receiver):
    receiver.behave = promises
    reply = await called(patience=60).call(to(receiver), {}, b"{}", trust=trust(receiver))
    assert (reply.fault, reply.status) == ("bad_answer", None)
    receiver.behave = chatters
    assert (await called().call(to(receiver), {}, b"{}", trust=trust(receiver))).fault is None
    async with asyncio.timeout(20):
        while receiver.under_way:
            await asyncio.sleep(0.005)


async def test_a_challenge_is_read_with_bounds(called: Called, receiver: Receiver):
    found = called()
    for behave, fault in (
        (says(200, b" abc\n"), None), (says(200, b'{"challenge":"abc","x":1}'), None),
        (says(200, b"abcd"), "challenge_failed"),
        (says(200, b"[" * 10_000), "challenge_failed"), (says(200, "ä".encode("latin-1")), "challenge_failed"),
        (says(200, b"abc" + b" " * 20_000), "bad_answer"), (floods, "bad_answer"), (says(500, b"abc"), "http_5xx"),
    ):  # fmt: skip
        receiver.behave = behave
        reply = await found.call(to(receiver), {}, b"{}", trust=trust(receiver), challenge="abc")
        assert reply.fault == fault, behave

    async def slowly(_, writer):
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 3\r\n\r\na")
        await writer.wait_closed()

    receiver.behave = slowly
    reply = await called(patience=0.3).call(to(receiver), {}, b"{}", trust=trust(receiver), challenge="abc")
    assert reply.fault == "timeout"


async def test_retry_after_is_told_with_what_failed(called: Called, receiver: Receiver):
    receiver.behave = says(429, Retry_After="17")
    reply = await called().call(to(receiver), {}, b"{}", trust=trust(receiver))
    assert (reply.fault, reply.retry_after) == ("http_4xx", 17)
    receiver.behave = lambda _, writer: asyncio.sleep(0, writer.write(respond(200, Retry_After="17")))
    assert (await called().call(to(receiver), {}, b"{}", trust=trust(receiver))).retry_after is None


async def test_nothing_of_one_receiver_reaches_the_next_request(called: Called, receiver: Receiver):
    receiver.behave = says(200, Set_Cookie="id=7")
    found = called()
    for _ in range(2):
        await found.call(to(receiver), {}, b"{}", trust=trust(receiver))
    assert "cookie" not in receiver.came[1].headers
    assert receiver.connections == 1
