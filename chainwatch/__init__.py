"""chainwatch: every event of your chains, once, in order, as a stream."""

__version__ = "0.1.0"
