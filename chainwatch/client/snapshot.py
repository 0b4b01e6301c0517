"""How a daemon is: what is connected, how far behind the head, how late, and who listens."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from chainwatch.client.request import answer, base_url, body, key_headers, open_session
from chainwatch.client.subscription import Trouble, decoded
from chainwatch.errors import ChainwatchError

_SILENCE: Final = 15.0
_MAX_ANSWER: Final = 16 * 1024 * 1024  # 256 streams, and the chains of anybody

_STATS: Final = msgspec.json.Decoder(dict[str, Any])


async def stats(url: str, *, key: str | None = None) -> dict[str, Any]:
    """
    `GET /v1/stats`, as /asyncapi.json describes it; asked once. `Unreachable` where nobody answers, `Refused` where the
    daemon wants another key.
    """
    base = base_url(url)
    async with open_session(_SILENCE) as session:
        try:
            async with answer(session, base, "/v1/stats", (), key_headers(key)) as response:
                return decoded(await body(response, base, _MAX_ANSWER), _STATS, base)
        except Trouble as trouble:
            raise trouble.fatal or ChainwatchError(trouble.reason, hint=trouble.hint) from None
