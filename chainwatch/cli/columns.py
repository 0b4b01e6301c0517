"""Events as CSV (RFC 4180, lines end as Unix has them). Every value was chosen by a stranger."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any, Final

from chainwatch.cli.render import looked_up, path_of, told_by
from chainwatch.errors import UsageError
from chainwatch.event import Event
from chainwatch.payloads import PAYLOADS

_ENVELOPE: Final = tuple(name for name in Event.__struct_encode_fields__ if name != "data")
_WHOLE: Final = 10**9  # characters: data are not cut
_LEADS: Final = tuple("=+-@＝＋－＠")  # some take the wide ones for the same
_NUMBER: Final = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")


class Csv:
    """
    A row an event. Columns are named by their paths, such as `data.amount`: the given ones; or those of the envelope
    and each field that the `types` can have; or, where any type may come, one column with the data as JSON.
    """

    def __init__(self, columns: Sequence[str], types: frozenset[str] | None) -> None:
        """`UsageError` where no event that is asked for can have a column."""
        self.doubts: list[str] = []
        if not columns:
            fields = [f"data.{name}" for kind in PAYLOADS if types and kind in types for name in _fields(kind)]
            columns = [*_ENVELOPE, *(dict.fromkeys(fields) or ("data",))]
        self._paths = [path_of(column, types, self.doubts, "columns") for column in columns]
        names = [".".join(path) for path in self._paths]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"the column {twice} is named twice", parameter="columns", value=twice)
        self.header = _row(names)

    def __call__(self, event: Event, _line: bytes, cursor: str) -> bytes:
        told = told_by(event, cursor)
        return _row([_harmless(looked_up(told, path, _WHOLE)) for path in self._paths])


def _fields(kind: str) -> Sequence[str]:
    return PAYLOADS[kind].__struct_encode_fields__


def _harmless(cell: str) -> str:
    """A spreadsheet takes what begins like this for a formula, and a token's name may be `=HYPERLINK(…)`."""
    return f"'{cell}" if cell[:1] in _LEADS and not _NUMBER.fullmatch(cell) else cell


def _row(cells: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="replace")
