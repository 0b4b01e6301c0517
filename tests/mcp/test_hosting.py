"""The MCP server at `/mcp` of the daemon, on the wire: sessions, keys, refusals, and the end, on both loops."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from mcp.server.streamable_http import StreamableHTTPServerTransport
from server.house import Answer, House, block, transfer
from server.test_access import holding, key

from chainwatch.keys import Keyring
from chainwatch.server import mcp
from chainwatch.server.mcp import AGENTS

BOTH = "application/json, text/event-stream"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "a host", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a host", "version": "1"}}
Headers = Mapping[str, str]


def message(method: str, params: Mapping[str, Any] | None = None, number: int | None = 1) -> bytes:
    said = {"jsonrpc": "2.0", "method": method, "params": dict(params or {})}
    return json.dumps(said if number is None else said | {"id": number}).encode()


async def post(house: House, body: bytes, headers: Headers | None = None) -> Answer:
    """The answer to that body, with its head read."""
    given = {"Accept": BOTH, "Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(body))}
    return await house.ask("/mcp", given, method="POST", after=body)


async def said(answer: Answer) -> dict[str, Any]:
    """The next JSON-RPC message of an answer, in either form."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        return json.loads((await answer.next()).data)
    return await answer.json()


async def begin(house: House, headers: Headers | None = None) -> dict[str, str]:
    """Begin a session; the headers of its requests."""
    answer = await post(house, message("initialize", HELLO), headers)
    assert answer.status == 200, await answer.body()
    assert (await said(answer))["result"]["serverInfo"]["name"] == "chainwatch"
    await answer.rest()
    session = {"Mcp-Session-Id": answer.headers["mcp-session-id"], "Mcp-Protocol-Version": "2025-11-25"}
    ready = await post(house, message("notifications/initialized", number=None), {**(headers or {}), **session})
    assert ready.status == 202
    return {**(headers or {}), **session}


async def ask(
    house: House, headers: Headers | None, method: str, era: str = "session", **params: Any
) -> dict[str, Any]:
    """The answer to a request in a session, or in the stateless era."""
    if era == MODERN:
        headers, params = modern(method, params, headers), params | {"_meta": META}
    return await said(await post(house, message(method, params), headers))


def modern(method: str, params: Mapping[str, Any], headers: Headers | None) -> dict[str, str]:
    named = {"Mcp-Name": str(params["name"])} if "name" in params else {}
    return {**(headers or {}), "Mcp-Protocol-Version": MODERN, "Mcp-Method": method, **named}


async def opened(house: House, headers: Headers | None, method: str, **params: Any) -> Answer:
    """A request of the stateless era whose answer takes long."""
    body = message(method, params | {"_meta": META})
    return await post(house, body, modern(method, params, headers))


async def sending(house: House, headers: Headers | None, method: str, **params: Any) -> asyncio.Task[Answer]:
    """The same, where not even the head of the answer comes soon."""
    return asyncio.create_task(opened(house, headers, method, **params))


async def listening(house: House, session: Headers) -> Answer:
    """The standing stream of a session."""
    answer = await house.ask("/mcp", {"Accept": "text/event-stream", **session})
    assert answer.status == 200, await answer.body()
    return answer


async def waiting(house: House, headers: Headers | None = None) -> asyncio.Task[Answer]:
    """A call that waits for an event, which has come as far as waiting."""
    found = await ask(house, headers, "tools/call", MODERN, name="subscribe_to_events", arguments={})
    asked = found["result"]["structuredContent"]
    arguments = {"subscription_id": asked["subscription_id"], "cursor": asked["cursor"], "timeout_s": 50}
    before = len(house.context.followers.open)
    task = await sending(house, headers, "tools/call", name="wait_for_event", arguments=arguments)
    await house.until(lambda: len(house.context.followers.open) > before)
    return task


def tools(answer: Mapping[str, Any]) -> set[str]:
    return {tool["name"] for tool in answer["result"]["tools"]}


# --- sessions -----------------------------------------------------------------------------------------------------


async def test_a_client_that_hangs_up_right_behind_initialize_keeps_its_session(house):
    for _ in range(5):
        answer = await post(house, message("initialize", HELLO))
        answer.cut()
        assert "wait_for_event" in tools(
            await ask(house, {"Mcp-Session-Id": answer.headers["mcp-session-id"]}, "tools/list")
        )


async def test_delete_ends_a_session(house):
    session = await begin(house)
    stream = await listening(house, session)
    answer = await house.ask("/mcp", session, method="DELETE")
    assert answer.status == 200
    await stream.rest()
    assert (await post(house, message("ping"), session)).status == 404
    assert (await house.ask("/mcp", session, method="DELETE")).status == 404
    assert len(house.runner.app[AGENTS].book) == 0


async def test_a_session_that_nobody_uses_ends_and_one_that_listens_does_not(serve, monkeypatch):
    monkeypatch.setattr(mcp, "IDLE", 1.0)
    house = await serve()
    used, idle = await begin(house), await begin(house)
    stream = await listening(house, used)
    known = house.runner.app[AGENTS]._manager._server_instances
    await house.until(lambda: len(known) == 1)
    assert (await post(house, message("ping"), idle)).status == 404
    assert (await ask(house, used, "ping"))["result"] == {}
    stream.cut()
    await house.until(lambda: not known)


async def test_beyond_so_many_sessions_the_idlest_of_whoever_has_most_is_ended(serve, monkeypatch):
    monkeypatch.setattr(mcp, "SESSIONS", 3)
    greedy, modest = key("greedy"), key("modest")
    house = await serve(ring=Keyring([greedy, modest]))
    his = await begin(house, holding(modest))
    hers = [await begin(house, holding(greedy)) for _ in range(2)]
    stream = await listening(house, hers[0])
    hers += [await begin(house, holding(greedy)) for _ in range(2)]
    alive = [(await post(house, message("ping"), session)).status for session in (his, *hers)]
    assert alive == [200, 200, 404, 404, 200]
    assert (len(house.runner.app[AGENTS].book), stream.ended) == (3, False)


@pytest.mark.parametrize("after", ["revoked", "expired"])
async def test_the_sessions_of_a_key_end_with_it_and_take_no_memory(serve, after):
    mine, other = key("mine"), key("other")
    house = await serve(ring=Keyring([mine, other]))
    agents = house.runner.app[AGENTS]
    for _ in range(3):
        await begin(house, holding(mine))
    theirs = await begin(house, holding(other))
    known = agents._manager._server_instances
    assert (len(known), len(agents.book)) == (4, 4)
    if after == "expired":
        house.context.sessions.access._clock = lambda: 2**40
    house.context.sessions.change(Keyring([other] if after == "revoked" else [key("mine", expires=1), other]))
    await house.until(lambda: (len(known), len(agents.book)) == (1, 1))
    assert (await post(house, message("ping"), theirs | holding(other))).status == 200


async def test_the_sessions_of_nobody_end_where_a_key_is_needed_from_now_on(house):
    session = await begin(house)
    known = house.runner.app[AGENTS]._manager._server_instances
    house.context.sessions.change(Keyring([key("first")]))
    await house.until(lambda: not known)
    assert (await post(house, message("ping"), session | holding(key("first")))).status == 404


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.soak)])
async def test_sessions_that_are_opened_and_dropped_leave_nothing(serve, monkeypatch, count):
    monkeypatch.setattr(mcp, "IDLE", 1.0)
    house = await serve()
    await begin(house)
    agents = house.runner.app[AGENTS]
    known = agents._manager._server_instances
    await house.until(lambda: not known)
    before = len(asyncio.all_tasks())

    async def drop() -> None:
        for _ in range(count // 20):
            session = {"Mcp-Session-Id": (await begun(house)).headers["mcp-session-id"]}
            watched = message("resources/subscribe", {"uri": "events://stream"})
            (await post(house, watched, session)).cut()

    await asyncio.gather(*(drop() for _ in range(20)))
    await house.until(lambda: not known and not house.context.followers.open, 30)
    await house.until(lambda: not agents._bridge._calls and len(asyncio.all_tasks()) <= before, 30)
    assert (house.context.gate.taken, house.context.sessions._ends) == (0, {})
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is StreamableHTTPServerTransport]


async def begun(house: House) -> Answer:
    answer = await post(house, message("initialize", HELLO))
    answer.cut()
    return answer


# --- who gets in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ["session", MODERN])
async def test_a_key_and_its_permissions_reach_the_tools(serve, era):
    reader, writer = key("reader"), key("writer", can="read,send")
    house = await serve(ring=Keyring([reader, writer]))
    assert (await post(house, message("initialize", HELLO))).status == 401
    seen = {}
    for one in (reader, writer):
        headers = await begin(house, holding(one)) if era == "session" else holding(one)
        seen[one.name] = tools(await ask(house, headers, "tools/list", era))
        arguments = {"type": "note", "data": {"of": one.name}}
        found = await ask(house, headers, "tools/call", era, name="send_event", arguments=arguments)
        assert found["result"].get("isError", False) is (one is reader), found
    assert seen["writer"] - seen["reader"] == {"send_event"}
    assert house.log.head == 1


async def test_to_another_key_a_session_is_not_there(serve):
    mine, yours = key("mine"), key("yours")
    house = await serve(ring=Keyring([mine, yours]))
    session = await begin(house, holding(mine))
    theirs = session | holding(yours)
    unknown = await post(house, message("tools/list"), theirs | {"Mcp-Session-Id": "unknown"})
    found = await post(house, message("tools/list"), theirs)
    assert (found.status, unknown.status) == (404, 404)
    assert await found.body() == await unknown.body()
    assert (await house.ask("/mcp", {"Accept": BOTH, **theirs})).status == 404
    assert (await house.ask("/mcp", theirs, method="DELETE")).status == 404
    assert tools(await ask(house, session, "tools/list"))


async def test_a_foreign_page_is_refused_before_its_session_is_looked_up(house, monkeypatch):
    session = await begin(house)
    bridge = house.runner.app[AGENTS]._bridge

    async def never(*_: Any) -> None:
        raise AssertionError("the session manager was asked")

    with monkeypatch.context() as patched:
        patched.setattr(bridge, "_application", never)
        for name in (session, {"Mcp-Session-Id": "unknown"}):
            for foreign in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
                answer = await post(house, message("tools/list"), name | foreign)
                assert (answer.status, answer.headers["content-type"]) == (403, "application/problem+json")
    own = session | {"Origin": f"http://localhost:{house.port}"}
    assert tools(await ask(house, own, "tools/list"))


@pytest.mark.parametrize("after", ["revoked", "expired"])
async def test_a_key_that_ends_takes_along_what_it_has_open(serve, after):
    mine, other = key("mine"), key("other")
    house = await serve(ring=Keyring([mine, other]))
    session = await begin(house, holding(mine))
    standing = await listening(house, session)
    watched = {"resourceSubscriptions": ["events://stream"]}
    listen = await opened(house, holding(mine), "subscriptions/listen", notifications=watched)
    assert (await said(listen))["method"] == "notifications/subscriptions/acknowledged"
    call, others = await waiting(house, holding(mine)), await waiting(house, holding(other))
    in_session = asyncio.create_task(_calling(house, session))
    await house.until(lambda: len(house.context.followers.open) == 4)
    if after == "revoked":
        house.context.sessions.change(Keyring([other]))
    else:
        house.context.sessions.access._clock = lambda: 2**40
        house.context.sessions.change(Keyring([key("mine", expires=1), other]))
    async with asyncio.timeout(10):
        assert (await call).status == 401
        for stream in (standing, listen, await in_session):
            await stream.rest()
        await house.until(lambda: len(house.context.followers.open) == 1)
    assert (await post(house, message("ping"), session)).status == 401
    await house.tell(block(1))
    assert (await said(await others))["result"]["structuredContent"]["events"]


async def _calling(house: House, session: Headers) -> Answer:
    """A call in a session that tells as it waits."""
    arguments = {"duration_s": 50}
    return await post(house, message("tools/call", {"name": "get_event_stream", "arguments": arguments}), session)


# --- what is asked wrongly, or otherwise ----------------------------------------------------------------------------


@pytest.mark.parametrize("accepted", ["text/event-stream", "Text/Event-Stream;q=0.5"])
async def test_a_client_that_accepts_only_a_stream_is_served(house, accepted):
    answer = await post(house, message("initialize", HELLO), {"Accept": accepted})
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    assert (await said(answer))["result"]
    answer = await post(house, message("initialize", HELLO), {"Accept": "text/html"})
    assert answer.status == 406


@pytest.mark.parametrize("kind", ["APPLICATION/JSON", "application/json-rpc+json", "application/json;charset=UTF-8"])
async def test_json_by_any_name_is_json(house, kind):
    assert (await said(await post(house, message("initialize", HELLO), {"Content-Type": kind})))["result"]


async def test_a_standing_stream_that_is_opened_again_by_the_id_of_another_server_begins_anew(house):
    session = await begin(house)
    stream = await listening(house, session | {"Last-Event-ID": "7"})
    await ask(house, session, "resources/subscribe", uri="events://stream?filters=block")
    await house.tell(block(1))
    assert json.loads((await stream.next()).data)["method"] == "notifications/resources/updated"


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH"])
async def test_other_methods_are_told_which_there_are(house, method):
    answer = await house.ask("/mcp", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, OPTIONS, POST")


@pytest.mark.parametrize("era", [{}, {"Mcp-Protocol-Version": MODERN, "Mcp-Method": "ping"}])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"7", b'{"jsonrpc": "1.0"}', b"[" * 5000])
async def test_what_is_no_json_rpc_is_answered_as_json_rpc(house, body, era):
    answer = await post(house, body, era)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    found = await answer.json()
    assert (found["jsonrpc"], found["id"]) == ("2.0", None)
    assert found["error"]["code"] in (-32700, -32600, -32602)
    assert len(house.runner.app[AGENTS].book) == 0


async def test_a_body_has_a_size(house):
    session = await begin(house)
    for size, status in ((65_536, 200), (65_537, 413)):
        body = message("ping").ljust(size)
        answer = await post(house, body, session)
        assert answer.status == status, await answer.body()


async def test_without_the_sdk_the_daemon_says_how_to_get_it(house, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "mcp" else find(name, *more))
    answer = await post(house, message("initialize", HELLO))
    assert (answer.status, (await answer.json())["hint"]) == (501, "pip install 'chainwatch[mcp]'")
    assert (await house.ask("/health/live")).status == 200


async def test_an_sdk_that_cannot_be_loaded_is_tried_again(house, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(mcp, "_sdk", lambda: importlib.import_module("chainwatch.nowhere"))
        assert [(await post(house, message("initialize", HELLO))).status for _ in range(2)] == [500, 500]
    assert await begin(house)


async def test_streams_go_on_while_the_sdk_is_loaded_for_the_first_agent(house, monkeypatch):
    told, load = threading.Event(), mcp._sdk

    def slowly() -> Any:
        assert told.wait(20)
        return load()

    monkeypatch.setattr(mcp, "_sdk", slowly)
    stream = await house.stream()
    agent = asyncio.create_task(begin(house))
    await house.until(lambda: house.runner.app[AGENTS]._ready is not None)
    await house.tell(transfer(1), transfer(2))
    assert await stream.numbers(2) == [1, 2]
    told.set()
    assert await agent


# --- the end ------------------------------------------------------------------------------------------------------


async def test_the_end_waits_for_no_agent(house):
    session = await begin(house)
    streams = [await listening(house, session)]
    streams += [await opened(house, None, "subscriptions/listen", notifications={}) for _ in range(3)]
    calls = [await waiting(house) for _ in range(3)]
    in_session = asyncio.create_task(_calling(house, session))
    await house.until(lambda: len(house.context.followers.open) == 4)
    async with asyncio.timeout(house.runner._shutdown_timeout):
        await house.runner.cleanup()
    assert [(await call).status for call in calls] == [503] * 3
    for stream in (*streams, await in_session):
        await stream.rest()
    assert (await asyncio.gather(*calls))[0].headers["retry-after"]
    assert not house.context.followers.open


@pytest.mark.parametrize("repeat", range(5))
async def test_a_client_that_closes_its_half_gets_its_answer(house, repeat):
    """As `nc -N` does."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).encode()
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: {BOTH}\r\nContent-Length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(head.encode() + body)
    writer.write_eof()
    told = await reader.read()
    assert told.startswith(b"HTTP/1.1 200")
    assert b'"error"' in told  # it says nothing of itself
    writer.close()


async def test_what_is_no_json_is_refused_as_anywhere(house):
    answer = await house.ask("/mcp", {"Content-Type": "text/plain", "Content-Length": "2"}, method="POST", after=b"{}")
    assert (answer.status, answer.headers["content-type"]) == (415, "application/problem+json")
