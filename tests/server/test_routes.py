"""Everything that is no stream: problems, hosts, origins, health, statistics, room."""

from __future__ import annotations

import asyncio
import json

import pytest
from server.house import block


@pytest.mark.parametrize(
    ("path", "parameter", "value", "nearest"),
    [
        ("/events?filter=block", "filter", "filter", "filters"),
        ("/events?types=blok_new", "types", "blok_new", "block_new"),
        ("/events?chains=etherum", "chains", "etherum", "ethereum"),
        ("/events?address=0x12", "address", "0x12", ""),
        ("/events?token=USDT", "token", "USDT", "USDC"),
        ("/events?limit=0", "limit", "0", ""),
        ("/events?limit=1&limit=2", "limit", "1, 2", ""),
        ("/events?since=yesterday", "since", "yesterday", ""),
        ("/events?heartbeat=fast", "heartbeat", "fast", ""),
        ("/events?duration=-1", "duration", "-1", ""),
        ("/events?named=ture", "named", "ture", "true"),
        ("/events?gap=fial", "gap", "fial", "fail"),
        ("/events/token_transfers_", "type", "token_transfers_", "token_transfer"),
        ("/events/history?limit=1001", "limit", "1001", ""),
        ("/events/history?cursor=x", "cursor", "x", ""),
        ("/events/history?named=true", "named", "named", ""),
    ],
)
async def test_what_means_nothing_is_400_with_the_value_and_the_nearest(house, path, parameter, value, nearest):
    answer = await house.ask(path)
    assert answer.status == 400
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = await answer.json()
    assert (problem["status"], problem["title"], problem["parameter"]) == (400, "Bad Request", parameter)
    assert (problem["value"], problem.get("nearest", "")) == (value, nearest)
    assert problem["hint"]


async def test_unknown_routes_and_wrong_methods_are_problems(house):
    answer = await house.ask("/nothing/here")
    assert (answer.status, (await answer.json())["title"]) == (404, "Not Found")
    for method in ("POST", "HEAD", "PUT"):
        answer = await house.ask("/events", method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, OPTIONS")
    answer = await house.ask("/health/live", method="HEAD")
    assert answer.status == 200


async def test_a_body_or_an_endless_query_is_refused(house):
    answer = await house.ask("/events", {"Content-Length": "5"}, after=b"hello")
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    answer = await house.ask("/events?types=" + "x" * 9000)
    assert answer.status == 400
    assert not house.hub.streams


async def test_a_broken_request_is_answered_and_fills_no_log(house, caplog):
    answer = await house.ask("/events", version="9.9")
    assert answer.status == 400
    answer = await house.ask("/events\x00")
    assert answer.status == 400
    assert not caplog.records


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:8080", 200),
        ("127.9.9.9", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.1.1:8080", 403),
        ("localhost@evil.example", 403),
        ("0.0.0.0:8080", 403),
    ],
)
async def test_a_page_that_rebinds_its_name_is_refused_by_host(house, host, status):
    assert (await house.ask("/health/live", {"Host": host})).status == status
    assert (await house.ask("/events", {"Host": host})).status == status


async def test_a_public_bind_takes_any_host(serve):
    house = await serve(host="0.0.0.0")
    assert (await house.ask("/health/live", {"Host": "node.example"})).status == 200


async def test_a_foreign_origin_is_refused_and_an_allowed_one_may_read(serve):
    house = await serve(allowed_origins=("https://app.example",))
    assert (await house.ask("/events", {"Origin": "https://evil.example"})).status == 403
    assert (await house.ask("/events", {"Origin": "null"})).status == 403
    same = await house.ask("/events", {"Origin": f"http://localhost:{house.port}"})
    assert same.status == 200
    allowed = await house.ask("/events", {"Origin": "https://app.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert allowed.headers["vary"] == "Accept-Encoding, Origin"
    wrong = await house.ask("/events?typo=1", {"Origin": "https://app.example"})
    assert (wrong.status, wrong.headers["access-control-allow-origin"]) == (400, "https://app.example")


IMAGE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/stream/mine?ack=auto", IMAGE, 403),
        ("/stream/mine?ack=auto", IMAGE | {"Sec-Fetch-Site": "same-site"}, 403),
        ("/stream/mine?ack=auto", LINK, 403),
        ("/events", IMAGE, 403),
        ("/health", LINK | {"Sec-Fetch-Dest": "iframe"}, 403),
        ("/health", LINK, 200),
        ("/health", IMAGE | {"Sec-Fetch-Site": "none"}, 200),
        ("/health", IMAGE | {"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_a_page_of_another_site_cannot_ask_by_an_image_or_a_link(house, path, headers, status):
    assert (await house.ask(path, headers)).status == status


async def test_an_image_of_another_site_is_no_matter_where_keys_or_all_origins_are(serve):
    house = await serve(allowed_origins=("*",))
    assert (await house.ask("/health", IMAGE)).status == 200


async def test_a_preflight_tells_what_is_possible(serve):
    house = await serve(allowed_origins=("*",))
    answer = await house.ask("/events/stream", {"Origin": "https://app.example"}, method="OPTIONS")
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-allow-methods"] == "GET, OPTIONS, POST"  # a type could be called so
    assert "Last-Event-ID" in answer.headers["access-control-allow-headers"]
    for path, methods in (
        ("/agents/a", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/agents/a/ack", "OPTIONS, POST"),
        ("/stream/a", "GET, OPTIONS"),
    ):
        assert (await house.ask(path, method="OPTIONS")).headers["access-control-allow-methods"] == methods
    assert (await house.ask("/nothing", method="OPTIONS")).status == 404


async def test_ready_names_the_chain_that_is_not(serve):
    chains = [
        {"name": "ethereum", "ready": True, "state": "connected", "reason": None},
        {"name": "base", "ready": False, "state": "connecting", "reason": "refused"},
    ]
    house = await serve(chains=lambda: chains)
    assert (await house.ask("/health/live")).status == 200
    for path in ("/health", "/health/ready"):
        answer = await house.ask(path)
        assert answer.status == 503
        told = await answer.json()
        assert told["not_ready"] == ["base"]
        assert told["chains"][1] == {"name": "base", "ready": False, "state": "connecting", "reason": "refused"}
    chains[1]["ready"] = True
    assert (await house.ask("/health")).status == 200


async def test_statistics_as_a_stream_are_a_snapshot_a_second(house):
    answer = await house.ask("/v1/stats", {"Accept": "text/event-stream"})
    assert answer.headers["content-type"] == "text/event-stream"
    first, second = [json.loads((await answer.next()).data) for _ in range(2)]
    assert 0.9 < second["time"] - first["time"] < 2
    stopping = asyncio.create_task(house.runner.cleanup())
    assert (await answer.rest())[-1].event == "complete"
    await stopping


async def test_no_room_is_503_but_never_for_a_client_that_comes_back(serve):
    house = await serve(max_connections=2)
    await house.tell(block(1), block(2))
    first = await house.stream()
    await house.stream()
    for path, accept in (("/events", "*/*"), ("/v1/stats", "text/event-stream")):
        refused = await house.ask(path, {"Accept": accept})
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) >= 15
    assert (await house.ask("/events", {"Last-Event-ID": "nonsense"})).status == 503
    cursor = f"{house.log.identity}-1"
    back = await house.ask("/events", {"Last-Event-ID": cursor})
    assert (back.status, back.headers["content-type"]) == (200, "text/event-stream")
    assert await back.expect("complete") == "[DONE]"
    assert back.parser.retry >= 15_000
    assert back.parser.last_event_id == cursor
    first.cut()
    await house.until(lambda: len(house.hub.streams) == 1)
    assert await (await house.stream(headers={"Last-Event-ID": cursor})).numbers(1) == [2]


async def test_a_fault_of_ours_is_a_problem_without_detail(serve):
    def broken():
        raise RuntimeError("https://user:secret@node.example/key")

    house = await serve(chains=broken)
    answer = await house.ask("/v1/stats")
    assert answer.status == 500
    assert b"secret" not in await answer.body()
