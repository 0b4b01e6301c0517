"""The SSE codec: the recorded cases whole and byte by byte, then what the standard leaves to those who attack it."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from chainwatch import sse

CASES = json.loads((Path(__file__).parent / "data" / "sse_cases.json").read_text())

one_line = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)))
streams = st.lists(
    st.sampled_from(
        [b"data: a", b"data:b", b"data", b"id: 7", b"id", b"id: \0", b"event: x", b":", b": c", b"retry: 5", b"\xff",
         b"\xe2\x82", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\xef\xbb\xbf"]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip


def parsed(*chunks: bytes, **options: object) -> tuple[list[sse.Message], sse.Parser]:
    parser = sse.Parser(**options)
    return [message for chunk in chunks for message in parser.feed(chunk)], parser


def pieces(body: bytes, size: int = 1) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_recorded_stream_gives_its_events_however_it_is_cut(case, size):
    messages, parser = parsed(*pieces(bytes.fromhex(case["hex"]), size))
    assert [{"type": m.event, "data": m.data, "id": m.id} for m in messages] == case["expect"]
    if "last_id_after" in case:
        assert parser.last_event_id == case["last_id_after"]


@given(streams, st.integers(1, 9))
def test_where_a_stream_is_cut_changes_nothing(body, size):
    whole, at_once = parsed(body)
    cut, bit_by_bit = parsed(*pieces(body, size))
    assert whole == cut
    assert (at_once.last_event_id, at_once.retry) == (bit_by_bit.last_event_id, bit_by_bit.retry)


def by_the_letter(body: bytes) -> list[sse.Message]:
    """Section 9.2.6 as it is written: decode first, then characters, buffers and lines."""
    text = body.decode(errors="replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]  # what has no end is discarded
    found, data, name, last_id = [], "", "", ""
    for line in lines:
        if not line:
            if data:
                found.append(sse.Message(name or "message", data.removesuffix("\n"), last_id))
            data = name = ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data += value + "\n"
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value
    return found


@given(streams)
def test_the_parser_does_what_the_standard_says_to_the_letter(body):
    assert parsed(body)[0] == by_the_letter(body)


@given(st.lists(st.tuples(one_line, one_line, one_line)), st.integers(1, 50))
def test_what_is_framed_is_parsed_back(events, size):
    body = b"".join(
        sse.named(name, sse.frame(cursor, data.encode())) if name else sse.frame(cursor, data.encode())
        for cursor, data, name in events
    )
    messages, _ = parsed(*pieces(body, size))
    # The parser drops a byte order mark at the very start only, where a frame never has one.
    assert messages == [sse.Message(name or "message", data, cursor) for cursor, data, name in events]


def test_a_frame_is_exactly_these_bytes():
    assert sse.frame("log1-7", b'{"id":"evt_1"}') == b'id: log1-7\ndata: {"id":"evt_1"}\n\n'
    assert sse.named("block_new", sse.frame("log1-7", b"{}")) == b"event: block_new\nid: log1-7\ndata: {}\n\n"
    assert sse.cursor_only("log1-7") == b"id: log1-7\n\n"
    assert sse.comment() == b":\n"
    assert sse.comment("catching up") == b": catching up\n"
    assert sse.retry(2500) == b"retry: 2500\n"
    assert sse.connect("a-1", b"{}", retry_ms=9) == b"retry: 9\nevent: connect\nid: a-1\ndata: {}\n\n"
    assert sse.gap("a-1", b"{}") == b"event: gap\nid: a-1\ndata: {}\n\n"
    assert sse.heartbeat() == b"event: heartbeat\ndata: {}\n\n"
    assert sse.complete() == b"event: complete\ndata: [DONE]\n\n"


@pytest.mark.parametrize("text", ["1\ndata: forged", "1\rdata: forged", "1\0"])
def test_text_that_would_inject_a_field_is_refused(text):
    for write in (sse.cursor_only, sse.comment, sse.event_line, lambda cursor: sse.frame(cursor, b"{}")):
        with pytest.raises(ValueError, match="inject"):
            write(text)
    with pytest.raises(ValueError, match="inject"):
        sse.connect(text, b"{}")
    with pytest.raises(ValueError, match="empty"):
        sse.event_line("")
    with pytest.raises(ValueError, match="-1 ms"):
        sse.retry(-1)


@given(st.binary())
def test_the_data_of_a_control_event_stays_data(about):
    messages, parser = parsed(sse.connect("a-1", about))
    assert [(message.event, message.id) for message in messages] == [("connect", "a-1")]
    assert parser.retry is None


def test_an_id_only_block_moves_the_cursor_and_dispatches_nothing():
    messages, parser = parsed(sse.frame("a-1", b"{}"), sse.cursor_only("a-9"))
    assert [message.id for message in messages] == ["a-1"]
    assert parser.last_event_id == "a-9"


def test_an_id_of_a_block_that_never_ended_is_forgotten():
    _, parser = parsed(sse.frame("a-1", b"{}"), b"id: a-2\ndata: {")
    assert parser.last_event_id == "a-1"


def test_a_new_connection_starts_from_the_last_event_id():
    messages, parser = parsed(b"data: x\n\n", last_event_id="a-5")
    assert messages == [sse.Message("message", "x", "a-5")]
    assert parser.last_event_id == "a-5"


def test_retry_is_read_when_it_is_digits_and_kept_within_reason():
    assert parsed(b"retry: 3000\n\n")[1].retry == 3000
    assert parsed(b"retry: 3s\n\n")[1].retry is None
    assert parsed("retry: ٣\n\n".encode())[1].retry is None
    assert parsed(b"retry: " + b"9" * 10_000 + b"\n\n")[1].retry == 10**9


def test_a_character_cut_in_two_by_chunks_is_whole_again():
    messages, _ = parsed(b"data: \xe2\x82", b"\xac \xf0\x9f", b"\x98\x80\n\n")
    assert messages[0].data == "€ 😀"


@pytest.mark.parametrize(
    "body",
    [b"data: " + b"x" * 2000, b"data: x\n" * 1000, b"data\n" * 2000, b"event: " + b"x" * 2000, b":" + b"x" * 2000],
)
@pytest.mark.parametrize("size", [1, 4096, 1 << 20])
def test_a_line_or_event_without_end_is_an_error_not_memory(body, size):
    with pytest.raises(sse.Oversize):
        parsed(*pieces(body, size), max_bytes=1000)


def test_many_events_of_bearable_size_are_no_error():
    messages, _ = parsed(sse.frame("a-1", b"x" * 900) * 100, max_bytes=1000)
    assert len(messages) == 100


def test_a_long_line_in_single_bytes_takes_linear_time():
    body = b"data: " + b"x" * 400_000 + b"\n\n"
    began = time.process_time()
    messages, _ = parsed(*pieces(body))
    assert len(messages) == 1
    assert time.process_time() - began < 5
