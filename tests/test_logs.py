"""The daemon's log: a line for a person or a machine, without a secret and without a character that plays tricks."""

from __future__ import annotations

import io
import json
import logging
import os
import unicodedata
import warnings

import pytest
import structlog
from hypothesis import given, strategies as st

from chainwatch import logs

ENDPOINT = "wss://mainnet.example/v3/0123456789abcdef0123456789abcdef?apikey=qwertyuiop"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restore():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_machine_gets_a_line_of_json():
    stream = io.StringIO()
    logs.set_up(stream=stream)
    structlog.get_logger().info("connected", chain="ethereum", head=18_500_000)
    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["timestamp"].endswith("Z")
    del line["timestamp"]
    assert line == {"level": "info", "event": "connected", "chain": "ethereum", "head": 18_500_000}


@pytest.mark.parametrize("color", [True, False])
def test_a_person_gets_text_in_colour_if_wanted(color):
    stream = Terminal()
    logs.set_up(stream=stream, color=color)
    structlog.get_logger().info("connected", chain="ethereum")
    assert "connected" in stream.getvalue()
    assert "ethereum" in stream.getvalue()
    assert ("\x1b[" in stream.getvalue()) is color


@pytest.mark.parametrize(
    ("verbosity", "told"),
    [
        (-2, ["error"]),
        (-1, ["warning", "error"]),
        (0, ["info", "warning", "error"]),
        (1, ["debug", "info", "warning", "error"]),
        (3, ["debug", "info", "warning", "error"]),
    ],
)
def test_v_says_more_and_q_says_less(verbosity, told):
    stream = io.StringIO()
    logs.set_up(stream=stream, verbosity=verbosity)
    log = structlog.get_logger()
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(level)
    assert [line["event"] for line in lines(stream)] == told


def test_secrets_are_cut_out_wherever_they_stand():
    stream = io.StringIO()
    logs.set_up(stream=stream, secrets=[ENDPOINT])
    structlog.get_logger().info(
        f"lost {ENDPOINT}",
        endpoint=ENDPOINT,
        path="GET /v3/0123456789abcdef0123456789abcdef HTTP/1.1",
        api_key="hunter2",
        headers={"Authorization": "Bearer hunter2", "X-API-Key": "hunter2"},
        texts=["Authorization: Bearer hunter2", "x-api-key: hunter2", "/events?token=hunter2&limit=1"],
        error=ValueError(f"cannot open {ENDPOINT}"),
        url=b"wss://user:hunter2@node.example/hunter2",
    )
    text = stream.getvalue()
    assert not [secret for secret in ("0123456789abcdef", "qwertyuiop", "hunter2") if secret in text]
    assert lines(stream)[0]["endpoint"] == "wss://mainnet.example/…"
    assert "limit=1" in text


def test_an_exception_is_cleaned_line_by_line():
    stream = io.StringIO()
    logs.set_up(stream=stream, secrets=[ENDPOINT])
    try:
        int(f"\x1b]0;title {ENDPOINT}")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(stream)
    assert line["exception"].splitlines()[0] == "Traceback (most recent call last):"
    assert (
        line["exception"].splitlines()[-1]
        == "ValueError: invalid literal for int() with base 10: '\\x1b]0;title wss://mainnet.example/…'"
    )


@given(st.text(max_size=50))
def test_no_text_can_move_a_cursor_or_fake_a_line(text):
    stream = Terminal()
    logs.set_up(stream=stream)
    structlog.get_logger().info("symbol", symbol=text, nested={"name": [text]})
    structlog.get_logger().info(text)
    told = stream.getvalue()
    assert told.count("\n") == len(told.split("\n")) - 1 == 2
    hostile = {char for char in told if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp", "Cs"}}
    assert hostile == {"\n"}


def test_what_libraries_log_looks_the_same():
    stream = io.StringIO()
    logs.set_up(stream=stream, verbosity=2)
    logging.getLogger("websockets.client").debug("> GET /key HTTP/1.1")
    logging.getLogger("aiohttp.access").info("GET /events?token=hunter2")
    logging.getLogger("aiohttp.server").warning("bad request from %s", "https://a.example/x")
    logging.getLogger("aiohttp.server").error("%d", "no number")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", UserWarning, stacklevel=1)
    told = lines(stream)
    assert [(line["level"], line["logger"]) for line in told] == [
        ("warning", "aiohttp.server"),
        ("error", "aiohttp.server"),
        ("warning", "py.warnings"),
    ]
    assert told[0]["event"] == "bad request from https://a.example/…"


def test_a_long_value_is_cut():
    assert len(logs.clean("x" * 10_000)) == logs.LENGTH


def test_a_closed_stderr_stops_nobody():
    stream = io.StringIO()
    logs.set_up(stream=stream)
    stream.close()
    structlog.get_logger().info("still here")


def test_the_stderr_of_the_moment_is_written_to(monkeypatch):
    logs.set_up()
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)  # what a progress bar does
    structlog.get_logger().info("here")
    assert lines(stream)[0]["event"] == "here"


@pytest.mark.parametrize("journal", [True, False])
def test_the_journal_gets_priorities_and_no_times(tmp_path, monkeypatch, journal):
    with (tmp_path / "stderr").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + (not journal)}")
        logs.set_up(stream=stream, verbosity=1)
        log = structlog.get_logger()
        log.debug("quiet")
        log.info("stream closed", peer="127.0.0.1:1", filters={"types": ["block_new"]}, reason="the client\nleft", n=2)
        log.warning("careful")
        try:
            int("<2>forged\n<0>forged")
        except ValueError:
            log.exception("it failed")
        stream.seek(0)
        told = stream.read().splitlines()
    if not journal:
        assert [json.loads(line)["level"] for line in told] == ["debug", "info", "warning", "error"]
        return
    assert told[0] == "<7>quiet"
    assert (
        told[1]
        == '<6>stream closed peer=127.0.0.1:1 filters={"types": ["block_new"]} reason="the client\\\\u000aleft" n=2'
    )
    assert told[2] == "<4>careful"
    assert told[3] == "<3>it failed"
    assert len(told) > 5
    assert all(line.startswith("<3>") for line in told[3:])
