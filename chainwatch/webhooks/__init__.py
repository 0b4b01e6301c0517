"""
Webhooks: events of the log, delivered as signed requests, each at least once and in order.

A webhook is a durable reader of the log with an address instead of a connection: a filter, a cursor, and what came of
the last attempts, kept as state of the log. One event is one request (`POST`, the JSON of the event as a stream has
it), one request is under way at a time, and the cursor moves when it was answered with 2xx. So a receiver that fails,
stalls or is gone costs a place in the log and nothing else, and a daemon that is killed repeats one event at most.

`signing` is the Standard Webhooks scheme, `config.target` says which addresses may be called, `delivery` what follows
from an answer (again, later, dead letter, pause): these are pure. `caller` makes the request; `kept` and `register` are
what is kept; `courier` is the task of one webhook; `house` has them all, and is what the server and the daemon use.
"""

from chainwatch.webhooks.caller import Caller, Trust
from chainwatch.webhooks.configured import Configured, configured
from chainwatch.webhooks.delivery import Fault, Reply
from chainwatch.webhooks.house import Webhooks
from chainwatch.webhooks.kept import MOST, NAME, OPERATOR, Letter, Purpose
from chainwatch.webhooks.register import Status, Webhook, place_of
from chainwatch.webhooks.terms import Terms, TooMany, TooOften, Withdrawn, Words

__all__ = [
    "MOST", "NAME", "OPERATOR", "Caller", "Configured", "Fault", "Letter", "Purpose", "Reply", "Status", "Terms",
    "TooMany", "TooOften", "Trust", "Webhook", "Webhooks", "Withdrawn", "Words", "configured", "place_of",
]  # fmt: skip
