"""
API keys: who may ask a daemon, and for what.

    ring    what a key is and how a presented one is found; no file, no clock
    file    the file of the keys: read whole or not at all, replaced in one step by whoever holds its lock
    watch   a daemon that keeps up with its file

A key is shown once, when it is made. What is kept is a digest: it finds a key that is presented, and tells none.
"""

from chainwatch.keys.file import create, load, revoke
from chainwatch.keys.ring import PERMISSIONS, SHAPE, Key, Keyring
from chainwatch.keys.watch import Watch

__all__ = ["PERMISSIONS", "SHAPE", "Key", "Keyring", "Watch", "create", "load", "revoke"]
