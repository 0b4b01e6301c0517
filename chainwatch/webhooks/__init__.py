"""Webhooks: events of the log, delivered as signed requests."""
