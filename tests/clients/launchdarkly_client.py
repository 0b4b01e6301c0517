"""launchdarkly-eventsource for Python."""

from __future__ import annotations

import sys

from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ErrorStrategy, RetryDelayStrategy
from telling import tell

client = SSEClient(
    sys.argv[1],
    error_strategy=ErrorStrategy.always_continue(),
    retry_delay_strategy=RetryDelayStrategy.default(max_delay=0.1),
)
for action in client.all:
    if isinstance(action, Event):
        tell(action.event, data=action.data, cursor=action.last_event_id)
    elif isinstance(action, Fault):
        tell("error", closed=False)
