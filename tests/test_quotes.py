"""Prices over HTTP, from a real server to a real log: told once, exactly, across bad answers and restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from aiohttp import web
from ingestion import opened_log, told
from priceapis import PriceApis, error

from chainwatch import quotes as module
from chainwatch.config import PriceSettings, Settings
from chainwatch.errors import LogFull
from chainwatch.log import Log
from chainwatch.price import fetch, source as schedule
from chainwatch.quotes import Quotes

NOW = int(time.time()) - 600
KEY = "CG-Vwx9secret0123456789"


@pytest.fixture
async def api() -> AsyncIterator[PriceApis]:
    async with PriceApis() as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> None:
    monkeypatch.setattr(schedule, "SOON", 0.0)


def entry(api: PriceApis, source: str = "coingecko", **more: Any) -> PriceSettings:
    """A price that is asked for twenty times a second; a configuration may not ask that much."""
    url = api.root + ("/api/v3" if source == "coingecko" else "")
    defaults = {"symbol": "ETH", "source": source, "id": "ethereum", "url": url, "min_change": "0%"}
    return PriceSettings.model_validate(defaults | more).model_copy(update={"interval": 0.05})


@contextlib.asynccontextmanager
async def running(log: Log, *prices: PriceSettings) -> AsyncIterator[Quotes]:
    made = await Quotes.resume(Settings(prices=prices), log)
    task = asyncio.create_task(made.run(), name="prices")
    try:
        yield made
    finally:
        task.cancel()
        ended = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended[0], Exception):
            raise ended[0]


async def events(log: Log, kind: str, count: int) -> list[dict[str, Any]]:
    """The events of that type, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            found = [event for event in await told(log) if event["type"] == kind]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


async def standing(log: Log, state: str) -> dict[str, Any]:
    """The `source_status` that tells that state, once it is the newest one."""
    async with asyncio.timeout(20):
        while True:
            found = [event for event in await told(log) if event["type"] == "source_status"]
            if found and found[-1]["data"]["state"] == state:
                return found[-1]["data"]
            await asyncio.sleep(0.01)


async def test_a_price_and_its_changes_are_told(api, tmp_path):
    api.prices["ethereum", "usd"] = ("3000.000000000000000001", NOW)
    async with opened_log(tmp_path) as log, running(log, entry(api)) as quotes:
        (first,) = await events(log, "price_update", 1)
        api.prices["ethereum", "usd"] = ("3030", NOW + 61)
        second = (await events(log, "price_update", 2))[1]
        assert await standing(log, "ok") == {"source": "coingecko", "state": "ok", "reason": None}
        (vitals,) = quotes.vitals()
    assert first["chain"] is None
    assert (
        first["timestamp"] == first["data"]["updated_at"] == time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(NOW))
    )
    assert first["observed_at"] > first["timestamp"]
    assert first["data"] | {"updated_at": ""} == {
        "symbol": "ETH", "quote": "USD", "price": "3000.000000000000000001", "previous_price": None,
        "change_percent": None, "source": "coingecko", "feed": None, "round_id": None, "updated_at": "",
        "tx_hash": None, "log_index": None, "block_number": None, "block_hash": None,
    }  # fmt: skip
    assert (second["data"]["previous_price"], second["data"]["price"]) == ("3000.000000000000000001", "3030")
    assert second["data"]["change_percent"] == "1.0000"
    assert (vitals["name"], vitals["state"], vitals["ready"]) == ("coingecko", "ok", True)


async def test_all_prices_of_a_source_are_one_request(api, tmp_path):
    for name in ("ethereum", "bitcoin"):
        for quote in ("usd", "eur"):
            api.prices[name, quote] = ("2", NOW)
    prices = [
        entry(api, symbol=name[:3].upper(), id=name, quote=quote)
        for name in ("ethereum", "bitcoin")
        for quote in ("USD", "EUR")
    ]
    async with opened_log(tmp_path) as log, running(log, *prices):
        found = await events(log, "price_update", 4)
        await api.asked(3)
    assert len(found) == 4
    assert {request.query_string for request in api.seen} == {api.seen[0].query_string}
    assert api.seen[0].query["ids"] == "bitcoin,ethereum"


async def test_coinmarketcap_is_asked_by_number_and_by_slug(api, tmp_path):
    api.prices |= {("1027", "usd"): ("3.1e-05", NOW), ("bitcoin", "usd"): ("67000.5", NOW), ("1027", "eur"): ("2", NOW)}
    prices = [
        entry(api, "coinmarketcap", id="1027"),
        entry(api, "coinmarketcap", id="bitcoin", symbol="BTC"),
        entry(api, "coinmarketcap", id="1027", quote="EUR"),
    ]
    async with opened_log(tmp_path) as log, running(log, *prices):
        found = await events(log, "price_update", 3)
        await standing(log, "ok")
    prices_told = {(event["data"]["symbol"], event["data"]["quote"]): event["data"]["price"] for event in found}
    assert prices_told == {("ETH", "USD"): "0.000031", ("BTC", "USD"): "67000.5", ("ETH", "EUR"): "2"}


async def test_small_steps_are_told_when_they_add_up(api, tmp_path):
    api.prices["ethereum", "usd"] = ("1000", NOW)
    async with opened_log(tmp_path) as log, running(log, entry(api, min_change="0.1%")):
        await events(log, "price_update", 1)
        for step, price in enumerate(("1000.4", "1000.8", "1000.9999"), start=1):
            api.prices["ethereum", "usd"] = (price, NOW + step)
            await api.asked(len(api.seen) + 2)
        assert len(await events(log, "price_update", 1)) == 1
        api.prices["ethereum", "usd"] = ("1001", NOW + 9)
        last = (await events(log, "price_update", 2))[-1]
    assert (last["data"]["previous_price"], last["data"]["change_percent"]) == ("1000", "0.1000")


async def test_what_is_older_than_the_last_one_is_ignored(api, tmp_path):
    api.prices["ethereum", "usd"] = ("1000", NOW)
    async with opened_log(tmp_path) as log, running(log, entry(api)):
        await events(log, "price_update", 1)
        for at in (NOW - 60, NOW):
            api.prices["ethereum", "usd"] = ("900", at)
            await api.asked(len(api.seen) + 2)
        assert len(await events(log, "price_update", 1)) == 1


async def test_a_bad_price_is_named_and_the_others_are_told(api, tmp_path):
    api.prices |= {("ethereum", "usd"): ("3000", NOW), ("bitcoin", "usd"): ("null", NOW)}
    prices = [entry(api), entry(api, id="bitcoin", symbol="BTC"), entry(api, id="nonesuch", symbol="NO")]
    async with opened_log(tmp_path) as log, running(log, *prices) as quotes:
        (price,) = await events(log, "price_update", 1)
        status = await standing(log, "failing")
        assert not quotes.vitals()[0]["ready"]
        api.prices |= {("bitcoin", "usd"): ("1", NOW), ("nonesuch", "usd"): ("2", NOW)}
        await standing(log, "ok")
        assert len(await events(log, "price_update", 3)) == 3
    assert price["data"]["symbol"] == "ETH"
    assert status["reason"] == "bitcoin in USD: it has no price; nonesuch in USD: CoinGecko knows no such id"


def answers(response: web.Response):
    async def conduct(_request: web.Request) -> web.Response:
        return web.Response(status=response.status, body=response.body, headers=response.headers)

    return conduct


async def slow(_request: web.Request) -> None:
    await asyncio.sleep(30)


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"ethereum":{"usd":3')
    assert request.transport is not None
    request.transport.abort()
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b" " * 65_536)
    return response


BAD = {
    "500": (answers(web.Response(status=500)), "it answered HTTP 500"),
    "html": (answers(web.Response(text="<html>hello</html>", content_type="text/html")), "it answered with a web page"),
    "types": (answers(web.Response(text="[1]")), "its answer is no JSON object"),
    "redirect": (
        answers(web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})),
        "it sends us to another address (HTTP 302)",
    ),
    "slow": (slow, "no answer within 0.5 s"),
    "cut": (cut, "the connection broke: ClientPayloadError"),
    "endless": (endless, "its answer is longer than 1024 KiB"),
    "packed": (answers(web.Response(body=b"\x1f\x8b\x08\0", headers={"Content-Encoding": "gzip"})),
               "its answer is no JSON, or not all of it"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_an_answer_that_cannot_be_used_is_a_state_and_passes(api, tmp_path, monkeypatch, name):
    monkeypatch.setattr(fetch.Fetcher.__init__, "__defaults__", (0.5,))
    api.conduct, reason = BAD[name]
    api.prices["ethereum", "usd"] = ("3000", NOW)
    async with opened_log(tmp_path) as log, running(log, entry(api)):
        assert await standing(log, "failing") == {"source": "coingecko", "state": "failing", "reason": reason}
        api.conduct = None
        await standing(log, "ok")
        await events(log, "price_update", 1)
        assert [event["data"]["state"] for event in await events(log, "source_status", 2)] == ["failing", "ok"]


async def test_a_server_that_is_not_there_is_a_state(api, tmp_path):
    gone = entry(api).model_copy(update={"url": "http://127.0.0.1:1/api/v3"})
    async with opened_log(tmp_path) as log, running(log, gone):
        assert (await standing(log, "failing"))["reason"] == "no connection: Connection refused"


async def test_too_many_requests_are_rested_for_and_survive_a_restart(api, tmp_path):
    api.conduct = answers(
        error(429, {"status": {"error_code": 429, "error_message": "Slow down"}}, **{"Retry-After": "1"})
    )
    async with opened_log(tmp_path) as log, running(log, entry(api)) as quotes:
        assert (await standing(log, "limited"))["reason"] == "too many requests (Slow down)"
        assert quotes.vitals()[0]["ready"]
    api.conduct = None
    api.prices["ethereum", "usd"] = ("3000", NOW)
    async with opened_log(tmp_path) as log, running(log, entry(api)) as quotes:
        assert quotes.vitals()[0]["next_seconds"] > 0
        await standing(log, "ok")
    assert len(api.seen) == 2


async def test_a_restart_tells_nothing_twice_and_knows_the_price_before(api, tmp_path):
    api.prices["ethereum", "usd"] = ("3000", NOW)
    for _ in range(3):
        async with opened_log(tmp_path) as log, running(log, entry(api)) as quotes:
            await api.asked(len(api.seen) + 2)
            assert len(await events(log, "price_update", 1)) == 1
            assert len(await events(log, "source_status", 1)) == 1
            assert len(quotes.statuses) == 1
    api.prices["ethereum", "usd"] = ("2700", NOW + 60)
    async with opened_log(tmp_path) as log, running(log, entry(api)):
        last = (await events(log, "price_update", 2))[-1]
        assert last["data"]["previous_price"] == "3000"
        assert last["data"]["change_percent"] == "-10.0000"
        ids = [event["id"] for event in await told(log)]
        assert len(ids) == len(set(ids))


async def test_another_id_under_the_same_symbol_is_another_price(api, tmp_path):
    api.prices |= {("ethereum", "usd"): ("3000", NOW), ("ethereum-classic", "usd"): ("20", NOW + 1)}
    async with opened_log(tmp_path) as log, running(log, entry(api)):
        await events(log, "price_update", 1)
    async with opened_log(tmp_path) as log, running(log, entry(api, id="ethereum-classic")):
        last = (await events(log, "price_update", 2))[-1]
    assert (last["data"]["price"], last["data"]["previous_price"]) == ("20", None)


async def test_a_restart_knows_how_much_of_the_month_is_used(api, tmp_path):
    api.prices["ethereum", "usd"] = ("3000", NOW)
    price = entry(api, monthly_calls=2)
    async with opened_log(tmp_path) as log, running(log, price) as quotes:
        await events(log, "price_update", 1)
        assert quotes.vitals()[0]["requests"] == 1
    # What is left of the month is far: a restart asks once more, and then the month is used up.
    used_up = "the 2 requests of this month are used up"
    async with opened_log(tmp_path) as log, running(log, price):
        async with asyncio.timeout(10):
            while (await standing(log, "limited"))["reason"] != used_up:
                await asyncio.sleep(0.01)
    async with opened_log(tmp_path) as log, running(log, price) as quotes:
        assert quotes.vitals()[0]["reason"] == used_up
        assert quotes.vitals()[0]["next_seconds"] > 0
    assert len(api.seen) == 2


async def test_a_key_is_sent_and_never_told(api, tmp_path, capfd):
    file = tmp_path / "key"
    file.write_bytes(KEY.encode() + b"\r\n")
    file.chmod(0o600)
    api.key = KEY
    api.prices["ethereum", "usd"] = ("3000", NOW)
    async with opened_log(tmp_path) as log, running(log, entry(api, api_key_file=str(file))) as quotes:
        await standing(log, "ok")
        api.key = "another"
        status = await standing(log, "failing")
        assert KEY not in json.dumps([quotes.vitals(), await told(log)])
        assert KEY.encode() not in b"".join(value for _, value in await log.scan("", "~"))
    assert status["reason"] == (
        "it does not accept the API key, or the lack of one: HTTP 401 (Invalid API Key [redacted])"
    )
    assert KEY not in "".join(capfd.readouterr())


async def test_a_key_that_everybody_can_read_is_warned_of(api, tmp_path):
    file = tmp_path / "key"
    file.write_text(KEY)
    for mode, warned in ((0o600, []), (0o644, ["every user of this machine can read this API key"])):
        file.chmod(mode)
        with structlog.testing.capture_logs() as lines:
            async with opened_log(tmp_path) as log:
                await Quotes.resume(Settings(prices=(entry(api, api_key_file=str(file)),)), log)
        assert [line["event"] for line in lines if line["log_level"] == "warning"] == warned
        assert KEY not in str(lines)


async def test_two_keys_are_two_sources(api, tmp_path):
    files = [tmp_path / name for name in ("one", "two")]
    for number, file in enumerate(files):
        file.write_text(f"{KEY}{number}")
    api.prices |= {("ethereum", "usd"): ("3000", NOW), ("bitcoin", "usd"): ("4000", NOW)}
    prices = [
        entry(api, api_key_file=str(files[0])),
        entry(api, api_key_file=str(files[1]), id="bitcoin", symbol="BTC"),
    ]
    async with opened_log(tmp_path) as log, running(log, *prices):
        found = await events(log, "source_status", 2)
        await events(log, "price_update", 2)
    assert {event["data"]["source"] for event in found} == {"coingecko", "coingecko:2"}
    assert {request.headers["x-cg-demo-api-key"] for request in api.seen} == {f"{KEY}0", f"{KEY}1"}


class Crowded:
    """A log without room, for a while."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.refused = asyncio.Event()
        self.room = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, events: Any, changes: Any = ()) -> Any:
        if not self.room and events:
            self.refused.set()
            raise LogFull("no room", hint="make some")
        return await self._log.append(events, changes)


async def test_a_full_disk_loses_no_price(api, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROOM_AGAIN", 0.02)
    api.prices["ethereum", "usd"] = ("1000", NOW)
    async with opened_log(tmp_path) as log:
        crowded = Crowded(log)
        async with running(crowded, entry(api)) as quotes:
            await events(log, "price_update", 1)
            crowded.room = False
            api.prices["ethereum", "usd"] = ("1010", NOW + 1)
            async with asyncio.timeout(10):
                await crowded.refused.wait()
            assert quotes.vitals()[0]["reason"] == "no room"
            assert not quotes.vitals()[0]["ready"]
            api.prices["ethereum", "usd"] = ("1020", NOW + 2)
            crowded.room = True
            found = await events(log, "price_update", 3)
            assert quotes.vitals()[0]["ready"]
    assert [event["data"]["price"] for event in found] == ["1000", "1010", "1020"]


async def test_a_free_plan_is_known_by_its_key(tmp_path):
    file = tmp_path / "key"
    file.write_text(KEY)
    base = {"symbol": "ETH", "source": "coingecko", "id": "ethereum"}
    cases = [
        ({}, None),
        ({"api_key_file": str(file)}, 10_000),
        ({"api_key_file": str(file), "url": "https://pro-api.coingecko.com/api/v3"}, None),
        ({"api_key_file": str(file), "monthly_calls": 500}, 500),
        ({"monthly_calls": 7}, 7),
    ]
    async with opened_log(tmp_path) as log:
        for more, monthly in cases:
            quotes = await Quotes.resume(Settings(prices=(PriceSettings.model_validate(base | more),)), log)
            assert quotes.vitals()[0]["monthly_requests"] == monthly
