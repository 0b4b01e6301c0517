"""Keys as the MCP SDK knows its users. Apart from `mcp`, since the SDK may not be installed."""

from __future__ import annotations

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken


def of(key: str) -> AuthenticatedUser:
    """Whoever holds the key with that id: the SDK keeps their sessions from everybody else."""
    return AuthenticatedUser(AccessToken(token="", client_id=key or "anybody", scopes=[]))
