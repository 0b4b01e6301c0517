"""
The MCP server: tools, resources and updates in the words of the protocol, both of its eras, on the official SDK.

It knows callers only as desks. In the daemon a desk is made of each request and its key; over stdio there is one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any, Final

import anyio
import anyio.lowlevel
import mcp_types as types
import msgspec
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY, ResourceUpdated, event_to_notification
from pydantic import BaseModel, ValidationError

from chainwatch.mcp import resources, told, tools, updates
from chainwatch.mcp.desk import Desk, Turned
from chainwatch.mcp.subscriptions import Subscriptions
from chainwatch.text import printable

Context = ServerRequestContext[Any, Any]
Desks = Callable[[Context], Desk]
"""Whose request this is."""

JSON: Final = "application/json"
LISTED: Final = 100
"""Resources of one page of the list."""
_LONGEST: Final = 2000  # characters of what is said to be wrong
INSTRUCTIONS: Final = (
    "chainwatch follows blockchains and tells what happens on them. To react to something: subscribe_to_events, then "
    "wait_for_event again and again, each time with the cursor of the answer before; nothing is missed between two "
    "calls, and nothing comes twice. After a reorganisation of the chain, events come again with `removed: true`: take "
    f"back what you did for the event named in `retracts`. Amounts are in base units, beside `decimals`. {told.WARNING}"
)


class Agents:
    """The handlers of one server, and what they share."""

    def __init__(self, desks: Desks) -> None:
        self._desk = desks
        self._subscriptions = Subscriptions()
        self.watches = updates.Watches()

    def server(self, version: str) -> Server[Any]:
        """The SDK's server with these handlers."""
        return _Server(
            "chainwatch",
            version=version,
            title="chainwatch",
            description="Events of blockchains, once and in order.",
            instructions=INSTRUCTIONS,
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
            on_list_resources=self.list_resources,
            on_list_resource_templates=self.list_templates,
            on_read_resource=self.read_resource,
            on_subscribe_resource=self.subscribe_resource,
            on_unsubscribe_resource=self.unsubscribe_resource,
            on_subscriptions_listen=self.listen,
        )

    # --- tools --------------------------------------------------------------------------------------------------------

    async def list_tools(self, ctx: Context, _: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """Those that the caller may use."""
        desk = self._desk(ctx)
        return types.ListToolsResult(tools=[_described(tool) for tool in tools.TOOLS.values() if desk.may(tool.needs)])

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Run one. What is wrong with the call is a result that the model can read, and correct."""
        desk = self._desk(ctx)
        tool = tools.TOOLS.get(params.name)
        if tool is None:
            names = ", ".join(name for name, one in tools.TOOLS.items() if desk.may(one.needs))
            raise MCPError(types.INVALID_PARAMS, f"unknown tool {printable(params.name, 80)!r}; there is: {names}")
        if not desk.may(tool.needs):
            return _failed(f"The key of this session may not {tool.needs}. Ask whoever made it for another one.")

        async def progress(done: int, total: int, line: str) -> None:
            await ctx.session.report_progress(done, total, line)

        try:
            asked = tool.takes.model_validate(params.arguments or {})
            gives = await tool.run(tools.Call(desk, self._subscriptions, progress), asked)
        except ValidationError as error:
            return _failed(_wrong(tool, error))
        except Turned as turned:
            return _failed(_lines(str(turned)))
        found = gives.model_dump(mode="json")
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=_json(found))], structured_content=found
        )

    # --- resources ----------------------------------------------------------------------------------------------------

    async def list_resources(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """A page of them: a daemon may watch thousands of wallets. The cursor is how many came before."""
        cursor = (params.cursor if params is not None else None) or "0"
        if not re.fullmatch("[0-9]{1,9}", cursor):
            raise MCPError(types.INVALID_PARAMS, "this is no cursor of the list of resources")
        found = await _or_error(resources.listed(self._desk(ctx), self._subscriptions))
        end = int(cursor) + LISTED
        return types.ListResourcesResult(
            resources=[
                types.Resource(uri=one.uri, name=one.name, description=one.description, mime_type=JSON)
                for one in found[int(cursor) : end]
            ],
            next_cursor=str(end) if end < len(found) else None,
        )

    async def list_templates(
        self, _ctx: Context, _: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(
            resource_templates=[
                types.ResourceTemplate(uri_template=one.uri, name=one.name, description=one.description, mime_type=JSON)
                for one in resources.TEMPLATES
            ]
        )

    async def read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(params.uri)
        found = await _or_error(resources.read(uri, self._desk(ctx), self._subscriptions), uri)
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=uri, text=_json(found), mime_type=JSON)]
        )

    async def subscribe_resource(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Of the handshake era: the session is told, by its standing stream, until it ends."""
        desk, uri = self._desk(ctx), str(params.uri)
        find = partial(resources.words_of, uri, desk, self._subscriptions)
        cursor = await _or_error(desk.cursor(await _or_error(find(), uri)), uri)
        connection = ctx.session._connection  # noqa: SLF001 - the SDK has no other name for it; pinned by a test
        session, name = ctx.session, _name(connection)

        async def tell() -> None:
            await session.send_resource_updated(uri)

        try:
            self.watches.start(name, uri, desk, find, cursor, tell)
        except Turned as turned:
            raise MCPError(types.INVALID_REQUEST, str(turned)) from None
        if not connection.state.setdefault("chainwatch", False):
            connection.state["chainwatch"] = True
            connection.exit_stack.callback(self.watches.stop, name)
        return types.EmptyResult()

    async def unsubscribe_resource(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        self.watches.stop(_name(ctx.session._connection), str(params.uri))  # noqa: SLF001 - as above
        return types.EmptyResult()

    async def listen(
        self, ctx: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """
        Of the stateless era: the answer to this request is the stream, until its client leaves, or nothing is there any
        more that it could tell of. What there is not, or is not theirs to see, is not honoured, and the acknowledgement
        says so.
        """
        desk, asked = self._desk(ctx), params.notifications.resource_subscriptions or []
        if (request := ctx.request_id) is None:
            raise MCPError(types.INVALID_REQUEST, "subscriptions/listen is a request, and has an id")
        if len(asked) > updates.MOST:
            raise MCPError(types.INVALID_PARAMS, f"at most {updates.MOST} resources can be listened to at once")
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: request}
        honoured: dict[str, tuple[updates.Find, str]] = {}
        for uri in dict.fromkeys(map(str, asked)):
            await anyio.lowlevel.checkpoint()  # an expression takes milliseconds to read: not all in one turn
            find = partial(resources.words_of, uri, desk, self._subscriptions)
            with suppress(Turned):
                honoured[uri] = find, await desk.cursor(await find())
        granted = types.SubscriptionFilter(resource_subscriptions=list(honoured) or None)
        await ctx.session.send_notification(
            types.SubscriptionsAcknowledgedNotification(
                params=types.SubscriptionsAcknowledgedNotificationParams(notifications=granted, _meta=meta)
            ),
            related_request_id=request,
        )

        async def watch(uri: str) -> None:
            async def tell() -> None:
                notification = event_to_notification(ResourceUpdated(uri=uri), meta)
                await ctx.session.send_notification(notification, related_request_id=request)

            find, cursor = honoured[uri]
            with suppress(Turned):  # it was told; the others are watched on
                await updates.watch(desk, find, cursor, tell)

        async with anyio.create_task_group() as group:
            for uri in honoured:
                group.start_soon(watch, uri)
                await anyio.lowlevel.checkpoint()  # each reads it again
            if not honoured:
                await anyio.sleep_forever()
        return types.SubscriptionsListenResult(_meta=meta)


class _Server(Server[Any]):
    """Says only what it does: whoever listens hears of resources that change, never of lists that did."""

    def get_capabilities(self, *given: Any, **more: Any) -> types.ServerCapabilities:
        found = super().get_capabilities(*given, **more)
        for one in (found.tools, found.resources):
            if one is not None:
                one.list_changed = False
        return found


def _name(connection: Connection) -> Hashable:
    """What stands for a session: its id, which hosting knows too; over stdio there is one, and it has none."""
    return connection.session_id or connection


@cache  # making schemas takes 20 ms of CPU, and the SDK looks at all of them for each call of one
def _described(tool: tools.Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=schema_of(tool.takes),
        output_schema=schema_of(tool.gives),
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=not tool.changes,
            destructive_hint=False,
            idempotent_hint=not tool.changes,
            open_world_hint=tool.name == "send_event",
        ),
    )


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Its JSON Schema, without the titles that pydantic makes of names: they cost tokens and say nothing."""
    schema: dict[str, Any] = _untitled(model.model_json_schema())
    return schema


def _untitled(schema: Any) -> Any:
    if isinstance(schema, dict):
        kept = [(name, one) for name, one in schema.items() if not (name == "title" and isinstance(one, str))]
        return {name: _untitled(one) for name, one in kept}
    return [_untitled(one) for one in schema] if isinstance(schema, list) else schema


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)


def _wrong(tool: tools.Tool, error: ValidationError) -> str:
    """What is wrong with the arguments of a call, and which there are."""
    known = [*tool.takes.model_fields]
    wrong, takes = "; ".join(faults(known, error)), ", ".join(known) or "none"
    return printable(f"{tool.name} cannot be called like this: {wrong}. It takes: {takes}.", _LONGEST)


def faults(known: Sequence[str], error: ValidationError) -> list[str]:
    """What is wrong with each argument, of which there are these: as pydantic says it, but where that is of Python."""
    found = []
    for one in error.errors(include_url=False, include_input=False)[:10]:
        name, words = ".".join(map(str, one["loc"])) or "arguments", one["msg"]
        match one["type"]:
            case "extra_forbidden":
                close = difflib.get_close_matches(name[:64].lower(), known, n=1, cutoff=0.5)
                words = "there is no such argument" + (f", did you mean {close[0]!r}?" if close else "")
            case "dict_type":
                words = "it has to be a JSON object"
        found.append(f"{name}: {words}")
    return found


def _lines(text: str) -> str:
    """What is wrong, within bounds. An expression is shown in a line of its own, with a mark below."""
    return "\n".join(printable(line, _LONGEST) for line in text[:_LONGEST].split("\n"))[:_LONGEST]


async def _or_error(asked: Any, uri: str = "") -> Any:
    """What was asked for, where it can be had; else an error of the protocol that says why not."""
    try:
        return await asked
    except Turned as turned:
        data = {"uri": uri} if uri else None
        raise MCPError(types.INVALID_PARAMS, printable(str(turned), 1000), data) from None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
