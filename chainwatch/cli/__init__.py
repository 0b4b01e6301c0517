"""
The command line: what all commands share. One module a command; each is imported only when it is meant.

Exit codes: 0 done, 1 failure, 2 usage, 3 configuration, 4 cannot reach, 5 gap under --strict or
nothing in time, 130 ^C, 141 closed pipe. An error is one plain block on stderr: what, why, what to do.

A command is a plain function with typer's annotations, named in `COMMANDS`; or a `typer.Typer` of class `Group`, whose
own commands are. The options of the frame (-c, -v, -q, --color) are taken before and after a command's name; a command
that wants them takes `ctx: typer.Context` and finds a `Frame` in `ctx.obj`.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import gc
import importlib
import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from chainwatch.errors import ChainwatchError, UsageError
from chainwatch.text import printable, redact

Color = Literal["auto", "always", "never"]

INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 141
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
WHOLE: Final = "\b\n"  # help does not break the lines behind it: half of an example does something else
_FRAME_OPTIONS: Final = ("config", "verbose", "quiet", "color")


class Command(NamedTuple):
    """Where a command is, and what `--help` says of it without importing it."""

    target: str
    """`module:function`."""
    summary: str
    example: str


COMMANDS: Final[Mapping[str, Command]] = {
    "serve": Command(
        "chainwatch.cli.serve:serve",
        "Follow the configured chains and stream their events.",
        "chainwatch serve --demo",
    ),
    "tail": Command(
        "chainwatch.cli.tail:tail",
        "Print the events of a running daemon as they come.",
        "chainwatch tail --type token_transfer --token USDC --json",
    ),
    "monitor": Command(
        "chainwatch.cli.monitor:monitor",
        "See what a running daemon does, in a terminal.",
        "chainwatch monitor --url http://127.0.0.1:8080",
    ),
    "status": Command(
        "chainwatch.cli.status:status",
        "Show how a daemon is: chains, prices, wallets, listeners.",
        "chainwatch status",
    ),
    "history": Command(
        "chainwatch.cli.history:history",
        "Print the events that a daemon keeps.",
        "chainwatch history --type token_transfer --since 24h --csv > transfers.csv",
    ),
    "wait": Command(
        "chainwatch.cli.wait:wait",
        "Wait for the next event that is meant, print it, and exit.",
        "chainwatch wait --type wallet_incoming --token USDC --timeout 5m",
    ),
    "send": Command(
        "chainwatch.cli.send:send",
        "Publish an event of your own.",
        "chainwatch send deploy app=web version=1.4.2 ok:=true",
    ),
    "replay": Command(
        "chainwatch.cli.replay:replay",
        "Print what a past block tells, by the present configuration.",
        "chainwatch replay --block 18000000 --type token_transfer",
    ),
    "mcp": Command(
        "chainwatch.cli.mcp:mcp",
        "Serve AI agents by MCP, for hosts that start a command.",
        "chainwatch mcp --url http://127.0.0.1:8080 --type wallet_incoming",
    ),
    "webhooks": Command(
        "chainwatch.cli.webhooks:webhooks",
        "Have events sent to an address of yours.",
        "chainwatch webhooks add shop https://shop.example.com/hook --type wallet_incoming",
    ),
    "keys": Command(
        "chainwatch.cli.keys:keys",
        "Make, list and revoke API keys.",
        "chainwatch keys create phone --types wallet --expires 90d",
    ),
    "init": Command(
        "chainwatch.cli.init:init",
        "Write a configuration, by a few questions.",
        "chainwatch init --chain ethereum --wallet treasury=0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045",
    ),
    "config": Command(
        "chainwatch.cli.config:config",
        "Check the configuration, or show what is in force and by what.",
        "chainwatch config check --online",
    ),
    "service": Command(
        "chainwatch.cli.service:service",
        "Print or install the unit by which systemd runs the daemon.",
        "chainwatch service --install",
    ),
    "schema": Command(
        "chainwatch.cli.schema:schema",
        "Print the JSON Schema of events.",
        "chainwatch schema token_transfer",
    ),
    "completion": Command(
        "chainwatch.cli.completion:completion",
        "Print the script by which a shell completes all this.",
        "source <(chainwatch completion bash)",
    ),
}


@dataclass(slots=True)
class Frame:
    """The options of the frame, as they were given before and after the command's name."""

    config: Path | None = None
    """-c; None means that it has to be looked for."""
    verbosity: int = 0
    """The number of -v less that of -q."""
    color: Color = "auto"


def use_color(stream: TextIO, choice: Color, environ: Mapping[str, str]) -> bool:
    """Whether to colour what goes to `stream`: as --color says; else on a terminal, unless NO_COLOR is set."""
    if choice != "auto":
        return choice == "always"
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class Group(TyperGroup):
    """Commands that take the options of the frame, and the nearest name for one that is not there."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        return command and _framed(command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            path = ctx.command_path.removeprefix("chainwatch").strip()
            name = f"{path} {printable(args[0], 64)}".strip()
            close = difflib.get_close_matches(args[0], known, n=1, cutoff=0.5)
            hint = "" if close else f"there is: {', '.join(known)}"
            nearest = f"{path} {close[0]}".strip() if close else ""
            raise UsageError(f"no command {name!r}", value=args[0], nearest=nearest, hint=hint)
        return super().resolve_command(ctx, args)


class _Commands(Group):
    """A group that imports a command's module when the command is meant, and not for `--help`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if not (known := COMMANDS.get(cmd_name)):
            return None
        module, _, function = known.target.partition(":")
        app, example = getattr(importlib.import_module(module), function), f"Example: {known.example}"
        if not isinstance(app, typer.Typer):
            function, app = app, typer.Typer(rich_markup_mode=None, add_completion=False)
            app.command(cmd_name)(function)
        command: Any = typer.main.get_command(app)
        command.epilog = example
        return _framed(command)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])

    # typer turns a closed pipe into exit code 1 above these two; ours is 141.

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError:
            raise typer.Exit(CLOSED_PIPE) from None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(CLOSED_PIPE) from None


_app = typer.Typer(
    name="chainwatch",
    cls=_Commands,
    help="Follow chains, and stream every event of theirs, once and in order.",
    epilog="Example: chainwatch serve --demo",
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from chainwatch.cli.versions import versions

        print(*versions(), sep="\n")
        raise typer.Exit


@_app.callback(invoke_without_command=True)
def _frame(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="The configuration file.", show_default=False)
    ] = None,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Say more; twice: all.")
    ] = 0,
    quiet: Annotated[int, typer.Option("--quiet", "-q", count=True, show_default=False, help="Say less.")] = 0,
    color: Annotated[
        Color | None, typer.Option("--color", help="Colours: on a terminal (auto), always, never.")
    ] = None,
    version: Annotated[  # noqa: ARG001  # its callback does it
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the versions that matter, and exit."),
    ] = False,
) -> None:
    _merge(ctx.obj, config=config, verbose=verbose, quiet=quiet, color=color)
    need_command(ctx)


def _merge(frame: Frame, **given: Any) -> None:
    """Lay options over those that were given before: a later file or colour wins, -v and -q add up."""
    frame.config = given.get("config") or frame.config
    frame.color = given.get("color") or frame.color
    frame.verbosity += (given.get("verbose") or 0) - (given.get("quiet") or 0)


def need_command(ctx: typer.Context) -> None:
    """In the callback of a group: its help on stderr, and exit code 2, where none of its commands is named."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help(), file=sys.stderr)
        raise typer.Exit(2)


def _framed(command: Any) -> Any:
    """The command with the options of the frame, but for those that it has; and with its example on one line."""
    if command.epilog and not command.epilog.startswith(WHOLE):
        command.epilog = WHOLE + command.epilog
    taken = {option for parameter in command.params for option in parameter.opts}
    command.params += [option for option in _frame_options() if taken.isdisjoint(option.opts)]
    return command


def _frame_options() -> list[Any]:
    """The options of the frame once more, for a command: they go into the frame and not to the function."""

    def merge(ctx: Any, parameter: Any, value: Any) -> Any:
        _merge(ctx.obj, **{parameter.name: value})
        return value

    options = [option for option in typer.main.get_command(_app).params if option.name in _FRAME_OPTIONS]
    for option in options:
        option.expose_value = False
        option.callback = merge
    return options


def run(arguments: Sequence[str]) -> int:
    """Do what a command line asks, errors told; the exit code."""
    frame = Frame()
    try:
        group = typer.main.get_command(_app)
        if shell := os.environ.get("_CHAINWATCH_COMPLETE"):
            from chainwatch.cli import completion

            return completion.answer(group, arguments, shell)
        code = group.main(list(arguments), prog_name="chainwatch", standalone_mode=False, obj=frame)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # found by the flush
        code = CLOSED_PIPE
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except ChainwatchError as error:  # who raised it has redacted it
        code = _tell(error, frame, str(error), error.exit_code)
    except typer.TyperException as error:
        from chainwatch.cli.mistakes import told

        code = _tell(error, frame, told(error), error.exit_code)
    except Exception as error:  # noqa: BLE001  # a bug: people get a line, and with -vv the traceback
        if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
            close_stdout()
            return _tell(error, frame, f"cannot write to stdout\n{os.strerror(error.errno).lower()}", 1)
        if sys.stdout is None and isinstance(error, AttributeError) and error.obj is None:
            return _tell(error, frame, "stdout is closed\ngive it a file or a pipe", 1)
        what = redact(f"this should not have happened: {type(error).__name__}: {error}")
        code = _tell(error, frame, f"{what}\nrun it again with -vv for the whole story, and please report it", 1)
    if code == CLOSED_PIPE:
        close_stdout()
    if code == INTERRUPTED and sys.stderr is not None and sys.stderr.isatty():
        print(file=sys.stderr)  # the terminal shows ^C, and the prompt would stand right behind it
    return code if isinstance(code, int) else 0


def _tell(error: BaseException, frame: Frame, message: str, code: int) -> int:
    """One block on stderr; nothing in it can move a cursor."""
    if frame.verbosity >= 2:
        message = redact("".join(traceback.format_exception(error)))
    block = "\n".join(_priority() + printable(line, 2000) for line in f"chainwatch: {message}".splitlines())
    with contextlib.suppress(OSError, ValueError):  # nobody listens on stderr either: the exit code still says it
        print(block, file=sys.stderr, flush=True)
    return code


def _priority() -> str:
    """What marks a line as an error where systemd's journal reads it: why a service ended is looked for among those."""
    if "JOURNAL_STREAM" not in os.environ or sys.stderr is None:
        return ""
    from chainwatch.systemd.journal import is_journal

    return "<3>" if is_journal(sys.stderr, os.environ) else ""


def close_stdout() -> None:
    """Nothing more can be written: what is still buffered must not fail once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> NoReturn:
    """The program. What a terminal of another encoding has no character for is a question mark, and no error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    # What a command imports stays: to look through it for garbage, again and again, is a tenth of each start.
    gc.set_threshold(20_000, 20, 20)
    sys.exit(run(sys.argv[1:]))
