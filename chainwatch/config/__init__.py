"""
The configuration: typed, documented, and checked all at once.

`model` says what there is, `values` how it is written, `load` where it comes from: flags before `CHAINWATCH_*`
variables before the file before the defaults.
"""

from chainwatch.config.keys import api_keys, readable_by_all
from chainwatch.config.load import Loaded, find, load, loaded, usual
from chainwatch.config.model import (
    ChainSettings,
    LogSettings,
    ServerSettings,
    Settings,
    TokenSettings,
    WalletSettings,
    vocabulary,
)
from chainwatch.config.prices import PriceSettings
from chainwatch.config.webhooks import WebhookSettings

__all__ = [
    "ChainSettings",
    "Loaded",
    "LogSettings",
    "PriceSettings",
    "ServerSettings",
    "Settings",
    "TokenSettings",
    "WalletSettings",
    "WebhookSettings",
    "api_keys",
    "find",
    "load",
    "loaded",
    "readable_by_all",
    "usual",
    "vocabulary",
]
