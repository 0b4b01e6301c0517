"""
What the scenarios of `@modelcontextprotocol/conformance` want to find: tools, resources and prompts with the names and
the answers that the tool's descriptions give, on the SDK's server, behind the daemon's bridge. A program of its own,
`python fixtures_app.py`; it prints the address that it listens at, and ends with its standard input.

What the scenarios prove with this is the bridge: every way in which the SDK answers goes through it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import warnings
from functools import partial
from typing import Annotated, Any

import mcp_types as types
import uvloop
from aiohttp import web
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from pydantic import Field

from chainwatch.config import ServerSettings
from chainwatch.server.asgi import Bridge, Call
from chainwatch.server.edge import Runner
from chainwatch.server.mcp import accepting
from chainwatch.server.origins import is_loopback, is_same_origin

# The handshake era has what the stateless one does without, and is served for as long as hosts speak it.
warnings.simplefilter("ignore", MCPDeprecationWarning)

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
SOUND = base64.b64encode(
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0"
).decode()

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

Content = list[types.TextContent | types.ImageContent | types.AudioContent | types.EmbeddedResource]
Needs = types.InputRequiredResult


def text(said: str) -> types.TextContent:
    return types.TextContent(type="text", text=said)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=IMAGE, mime_type="image/png")


def embedded(uri: str, said: str, kind: str = "text/plain") -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=kind, text=said)
    return types.EmbeddedResource(type="resource", resource=contents)


def form(message: str, **fields: str) -> types.ElicitRequest:
    """Asks a person for these fields, all of them; `fields`: their types by their names."""
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in fields.items()},
        "required": list(fields),
    }
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str, most: int) -> types.CreateMessageRequest:
    """Asks a model."""
    messages = [types.SamplingMessage(role="user", content=text(prompt))]
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=messages, max_tokens=most))


def roots() -> types.ListRootsRequest:
    return types.ListRootsRequest()


def given(ctx: Context, name: str, field: str) -> Any:
    """What the client filled in; None where it did not."""
    found = (ctx.input_responses or {}).get(name)
    return (found.content or {}).get(field) if isinstance(found, types.ElicitResult) else None


class Kept(EventStore):
    """What streams had, so that a client whose stream was closed reads on."""

    def __init__(self) -> None:
        self.events: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        place = int(last_event_id)
        stream = self.events[place - 1][0]
        for number, (of, message) in enumerate(self.events[place:], place + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def build() -> MCPServer:
    server = MCPServer("fixtures", version="1", tools=[_json_schema_tool()], log_level="ERROR")
    _tools_that_answer(server)
    _tools_that_tell(server)
    _tools_that_ask_in_the_handshake_era(server)
    _tools_that_need_input(server)
    _resources(server)
    _prompts(server)
    return server


def _json_schema_tool() -> Tool:
    tool = Tool.from_function(lambda: "as it is", name="json_schema_2020_12_tool", description="Its schema counts.")
    tool.parameters = SCHEMA
    return tool


def _tools_that_answer(server: MCPServer) -> None:
    tool = partial(server.tool, description="A fixture.")

    @tool()
    def test_simple_text() -> str:
        return "This is a simple text response for testing."

    @tool()
    def test_image_content() -> Content:
        return [image()]

    @tool()
    def test_audio_content() -> Content:
        return [types.AudioContent(type="audio", data=SOUND, mime_type="audio/wav")]

    @tool()
    def test_embedded_resource() -> Content:
        return [embedded("test://embedded-resource", "This is an embedded resource content.")]

    @tool()
    def test_multiple_content_types() -> Content:
        mixed = embedded("test://mixed-content-resource", '{"test": "data", "value": 123}', "application/json")
        return [text("Multiple content types test:"), image(), mixed]

    @tool()
    def test_error_handling() -> str:
        raise RuntimeError("This tool intentionally returns an error for testing")

    @tool()
    def test_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        return region

    @tool()
    def test_missing_capability(ctx: Context) -> str:
        if ctx.client_capabilities is None or ctx.client_capabilities.sampling is None:
            data = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "the client has to be able to sample", data)
        return "it can"


def _tools_that_tell(server: MCPServer) -> None:
    tool = partial(server.tool, description="A fixture.")

    @tool()
    async def test_tool_with_logging(ctx: Context) -> str:
        for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.info(said)
            await asyncio.sleep(0.05)
        return "it told three things"

    @tool()
    async def test_logging_tool(ctx: Context) -> str:
        await ctx.info("for whoever asked for this level")
        return "told, if it was to be"

    @tool()
    async def test_tool_with_progress(ctx: Context) -> str:
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100, f"Completed step {done} of 100")
            await asyncio.sleep(0.05)
        return "done"

    @tool()
    async def test_reconnection(ctx: Context) -> str:
        await ctx.close_sse_stream()
        await asyncio.sleep(0.2)  # meanwhile the client comes back
        return "it came back"

    @tool()
    async def test_trigger_tool_change(ctx: Context) -> str:
        await ctx.notify_tools_changed()
        return "told"

    @tool()
    async def test_trigger_prompt_change(ctx: Context) -> str:
        await ctx.notify_prompts_changed()
        return "told"


def _tools_that_ask_in_the_handshake_era(server: MCPServer) -> None:
    tool = partial(server.tool, description="A fixture.")

    async def ask(ctx: Context, message: str, schema: dict[str, Any]) -> str:
        found = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
        return f"action={found.action}, content={json.dumps(found.content)}"

    @tool()
    async def test_sampling(prompt: str, ctx: Context) -> str:
        messages = [types.SamplingMessage(role="user", content=text(prompt))]
        found = await ctx.session.create_message(messages, max_tokens=100, related_request_id=ctx.request_id)
        assert isinstance(found.content, types.TextContent)
        return f"LLM response: {found.content.text}"

    @tool()
    async def test_elicitation(message: str, ctx: Context) -> str:
        fields = {name: {"type": "string", "description": name} for name in ("username", "email")}
        asked = {"type": "object", "properties": fields, "required": list(fields)}
        return f"User response: {await ask(ctx, message, asked)}"

    @tool()
    async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
        fields = {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            "verified": {"type": "boolean", "default": True},
        }
        return f"Elicitation completed: {await ask(ctx, 'As it is?', {'type': 'object', 'properties': fields})}"

    @tool()
    async def test_elicitation_sep1330_enums(ctx: Context) -> str:
        plain = [f"option{number}" for number in (1, 2, 3)]
        titled = [{"const": f"value{number}", "title": f"The {number}."} for number in (1, 2, 3)]
        fields = {
            "untitledSingle": {"type": "string", "enum": plain},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": {"type": "string", "enum": plain, "enumNames": [one.title() for one in plain]},
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled}},
        }
        return f"Elicitation completed: {await ask(ctx, 'Which?', {'type': 'object', 'properties': fields})}"


def _tools_that_need_input(server: MCPServer) -> None:
    """Of the stateless era: the question is the answer, and the call comes again with what was asked for."""
    tool = partial(server.tool, description="A fixture.")
    who = form("What is your name?", name="string")

    @tool()
    def test_input_required_result_elicitation(ctx: Context) -> str | Needs:
        name = given(ctx, "user_name", "name")
        return Needs(input_requests={"user_name": who}) if name is None else f"Hello, {name}!"

    @tool()
    def test_streaming_elicitation(ctx: Context) -> str | Needs:
        return test_input_required_result_elicitation(ctx)

    @tool()
    def test_input_required_result_sampling(ctx: Context) -> str | Needs:
        found = (ctx.input_responses or {}).get("capital_question")
        if found is None:
            return Needs(input_requests={"capital_question": sample("What is the capital of France?", 100)})
        return found.model_dump_json()

    @tool()
    def test_input_required_result_list_roots(ctx: Context) -> str | Needs:
        found = (ctx.input_responses or {}).get("client_roots")
        return Needs(input_requests={"client_roots": roots()}) if found is None else found.model_dump_json()

    @tool()
    def test_input_required_result_request_state(ctx: Context) -> str | Needs:
        if ctx.request_state is None:
            return Needs(input_requests={"confirm": form("Please confirm", ok="boolean")}, request_state="asked")
        return f"state-ok: {ctx.request_state}"

    @tool()
    def test_input_required_result_tampered_state(ctx: Context) -> str | Needs:
        return test_input_required_result_request_state(ctx)

    @tool()
    def test_input_required_result_multiple_inputs(ctx: Context) -> str | Needs:
        asked = {"user_name": who, "greeting": sample("Generate a greeting", 50), "client_roots": roots()}
        if asked.keys() - (ctx.input_responses or {}).keys():
            return Needs(input_requests=asked, request_state="all of them")
        return "all of them came"

    @tool()
    def test_input_required_result_multi_round(ctx: Context) -> str | Needs:
        match ctx.request_state:
            case None:
                return Needs(
                    input_requests={"step1": form("Step 1: What is your name?", name="string")}, request_state="1"
                )
            case "1":
                step = form("Step 2: What is your favorite color?", color="string")
                return Needs(input_requests={"step2": step}, request_state="2")
        return "both came"

    @tool()
    def test_input_required_result_capabilities(ctx: Context) -> str | Needs:
        can = ctx.client_capabilities or types.ClientCapabilities()
        asked: dict[str, types.InputRequest] = {}
        if can.sampling is not None:
            asked["greeting"] = sample("Generate a greeting", 50)
        if can.elicitation is not None:
            asked["user_name"] = who
        return Needs(input_requests=asked) if asked else "nothing can be asked"


def _resources(server: MCPServer) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(IMAGE)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002 - the template names it
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        return "It can be watched."

    async def done(_ctx: Any, _params: Any) -> types.EmptyResult:
        return types.EmptyResult()

    low = server._lowlevel_server
    low.add_request_handler("resources/subscribe", types.SubscribeRequestParams, done)
    low.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, done)
    low.add_request_handler("logging/setLevel", types.SetLevelRequestParams, done)


def _prompts(server: MCPServer) -> None:
    prompt = partial(server.prompt, description="A fixture.")

    def said(*contents: Any) -> list[dict[str, Any]]:
        return [{"role": "user", "content": content} for content in contents]

    @prompt()
    def test_simple_prompt() -> list[dict[str, Any]]:
        return said(text("This is a simple prompt for testing."))

    @prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> list[dict[str, Any]]:
        return said(text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))

    @prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[dict[str, Any]]:  # noqa: N803 - as it is asked
        shown = embedded(resourceUri, "Embedded resource content for testing.")
        return said(shown, text("Please process the embedded resource above."))

    @prompt()
    def test_prompt_with_image() -> list[dict[str, Any]]:
        return said(image(), text("Please analyze the image above."))

    @prompt()
    def test_input_required_result_prompt(ctx: Context) -> list[dict[str, Any]] | Needs:
        context = given(ctx, "user_context", "context")
        if context is None:
            asked = form("What context should the prompt use?", context="string")
            return Needs(input_requests={"user_context": asked})
        return said(text(f"With {context}."))

    @server.completion()
    async def complete(_ref: Any, argument: types.CompletionArgument, _context: Any) -> types.Completion:
        found = [one for one in ("paris", "park", "party") if one.startswith(argument.value)]
        return types.Completion(values=found, total=len(found), has_more=False)


async def serve() -> None:
    manager = StreamableHTTPSessionManager(build()._lowlevel_server, event_store=Kept(), retry_interval=100)
    async with manager.run():
        bridge = Bridge(manager.handle_request)

        async def answer(request: web.Request) -> web.StreamResponse:
            host, origin = request.headers["Host"], request.headers.get("Origin", "")
            if not is_loopback(host) or (origin and not is_same_origin(origin, host)):
                raise web.HTTPForbidden
            return await bridge.answer(request, Call(request, await request.read()), headers=accepting(request))

        app = web.Application()
        app.router.add_route("*", "/mcp", answer)
        runner = Runner(app, ServerSettings, streams=lambda: 0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(f"http://127.0.0.1:{site.port}/mcp", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await bridge.close()
        await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(serve())
