"""
The daemon's own log: to stderr, for a person on a terminal, for systemd's journal as a line with its priority in front
(sd-daemon(3)) and no time of its own, as a line of JSON otherwise.

What is logged comes from nodes, clients and strangers. So every value of every line goes through `clean`: URLs and
credentials are cut out (a provider's key is in the path of its URL, a client's in its query), then characters that move
a cursor, hide or fake another line are written out.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, Final, TextIO

import structlog
from structlog.dev import ConsoleRenderer
from structlog.typing import EventDict, Processor, WrappedLogger

from chainwatch.systemd.journal import is_journal
from chainwatch.text import HIDDEN, printable, redact, secret_parts

LENGTH: Final = 2000
"""Characters kept of one value: a node may answer with a page of HTML."""

_SECRET_NAMES: Final = frozenset({"api_key", "apikey", "authorization", "key", "password", "secret", "x-api-key"})
_CREDENTIAL: Final = re.compile(
    r"(?i)\b(token=|api[-_]?key['\"]?\s*[=:]\s*['\"]?|bearer\s+|basic\s+|authorization['\"]?\s*[=:]\s*['\"]?)"
    r"(?!bearer\b|basic\b)[^\s&'\",]+"
)
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_LIBRARIES: Final = ("aiohttp", "websockets", "asyncio")


def set_up(
    *,
    verbosity: int = 0,
    color: bool = False,
    secrets: Iterable[str] = (),
    keys: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """
    Send everything that is logged, by structlog and by the standard library, to `stream` (default: the stderr of the
    moment), as text with or without `color` where that is a terminal, as text where the journal reads it, as JSON
    otherwise.

    `verbosity` is the number of -v less that of -q: 0 tells info and worse, 1 debug, -1 warnings, -2 errors.
    `secrets` are URLs whose long parts are cut out wherever they turn up, also alone: some libraries put the path of
    a request into their errors. `keys` are cut out whole.
    """
    level = {-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG if verbosity > 0 else logging.ERROR)
    terminal = (stream or sys.stderr).isatty()
    journal = not terminal and is_journal(stream or sys.stderr, os.environ)
    _cleaner.forget()
    hide(secrets=secrets, keys=keys)
    renderers: list[Processor] = [structlog.processors.JSONRenderer()]
    if terminal:
        renderers = [ConsoleRenderer(colors=color, pad_event_to=0)]
    elif journal:
        renderers = [_for_journal]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("%H:%M:%S", utc=False)
            if terminal
            else structlog.processors.TimeStamper("iso", utc=True),
            _cleaner,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    # At debug the libraries print requests as they go over the wire, keys included: not even -vv asks for that.
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)


def _for_journal(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """`<6>stream closed stream=str_1 peer="a b"`; each line of a traceback has the priority, too."""
    del event["timestamp"]
    priority = f"<{_PRIORITIES.get(event.pop('level'), 6)}>"
    words, exception = [str(event.pop("event"))], event.pop("exception", "")
    for name, value in event.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        quoted = isinstance(value, str) and not re.fullmatch(r"[^\s\"=]+", value)
        words.append(f"{name}={json.dumps(text, ensure_ascii=False) if quoted else text}")
    return "\n".join(priority + line for line in [" ".join(words), *exception.splitlines()])


def hide(*, secrets: Iterable[str] = (), keys: Iterable[str] = ()) -> None:
    """These are cut out as well from now on, see `set_up`: a configuration that is read again may have others."""
    _cleaner.hide(secrets, keys)


def clean(value: Any, secret: re.Pattern[str] | None = None) -> Any:
    """
    A value as it may be logged: text without URLs' secrets, credentials and hostile characters; numbers, true, false
    and null as they are; tables and lists with each value cleaned; anything else as text.
    """
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            shown = _CREDENTIAL.sub(rf"\1{HIDDEN}", redact(value))
            return printable(secret.sub(HIDDEN, shown) if secret else shown, LENGTH)
        case Mapping():
            return {clean(str(name)): _named(str(name), item, secret) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [clean(item, secret) for item in value]
        case BaseException():
            return clean(f"{type(value).__name__}: {value}", secret)
        case _:
            return clean(str(value), secret)


def _named(name: str, value: Any, secret: re.Pattern[str] | None) -> Any:
    return HIDDEN if name.lower() in _SECRET_NAMES and value else clean(value, secret)


class _Cleaner:
    """The processor that cleans every value, and turns an exception into text that is cleaned line by line."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._secrets: set[str] = set()
        self._keys: set[str] = set()
        self._secret: re.Pattern[str] | None = None

    def hide(self, secrets: Iterable[str], keys: Iterable[str]) -> None:
        """Beside those of before, which are still in use somewhere, or in an error that is yet to be told."""
        self._secrets.update(secrets)
        self._keys.update(keys)
        self._secret = secret_parts(self._secrets, self._keys)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        exception = event.pop("exc_info", None)
        first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
        cleaned: EventDict = {name: _named(name, value, self._secret) for name, value in {**first, **event}.items()}
        if exception:
            found = exception if isinstance(exception, BaseException) else None
            if found is None:
                found = exception[1] if isinstance(exception, tuple) else sys.exception()
            if found is not None:
                lines = "".join(traceback.format_exception(found)).splitlines()
                cleaned["exception"] = "\n".join(clean(line, self._secret) for line in lines)
        return cleaned


_cleaner: Final = _Cleaner()


class _Lines:
    """Writes lines. The stderr of the moment is looked up each time: a progress bar puts its own in front of it."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # who read the log is gone: no reason to stop ingesting
            print(line, file=self._stream or sys.stderr, flush=True)

    debug = info = warning = error = critical = exception = log = msg


class _Forward(logging.Handler):
    """Hands what libraries log to structlog, so that it is cleaned and looks the same."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a library's own mistake in a format must not hide what it meant to say
            message = str(record.msg)
        structlog.get_logger().log(record.levelno, message, logger=record.name, exc_info=record.exc_info)
