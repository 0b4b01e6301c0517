"""A WebSocket client that knows nothing: what a test uses to look at a node without the code under test."""

from __future__ import annotations

import json


class BareClient:
    """Answers by call, pushes in order, one call at a time."""

    def __init__(self, socket):
        self.socket = socket
        self.pushed = []

    async def answer(self, method, *params):
        """The whole answer."""
        await self.socket.send(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
        while "id" not in (message := json.loads(await self.socket.recv())):
            self.pushed.append(message["params"])
        return message

    async def result(self, method, *params):
        answer = await self.answer(method, *params)
        assert "error" not in answer, answer
        return answer["result"]

    async def pushes(self):
        """What was pushed so far, with its subscription: an answer to a question asked now comes behind all of it."""
        await self.result("eth_chainId")
        pushed, self.pushed = self.pushed, []
        return pushed
