"""`chainwatch serve`: the daemon, in the foreground."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from chainwatch.cli import Frame, use_color


def serve(
    ctx: typer.Context,
    demo: Annotated[bool, typer.Option("--demo", help="Follow a simulated chain; needs no network.")] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", help="The same seed gives the same simulated chain.")
    ] = 1,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="ADDRESS", help="Where to listen. [default: 127.0.0.1]", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65_535,
            metavar="PORT",
            help="0 takes any free one. [default: 8080]",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="PATH", help="File of the event log.", show_default=False)
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let anyone who can reach a non-loopback address read and publish.")
    ] = False,
) -> int:
    """
    Follow the configured chains, keep their events in the log, and stream them.

    Without a configuration file it follows Ethereum through public endpoints. It prints one line on stdout, "listening
    on http://...", once streams can be opened; all else goes to stderr. SIGTERM and ^C end it gracefully; at SIGHUP it
    reads its configuration again, and every stream stays open.
    """
    _load_structlog()

    from chainwatch import config, logs

    # It would end the daemon before that can hear it; it is let through when it can.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    frame: Frame = ctx.obj
    # A demonstration has its own chain: what is configured for others is read only if it is named.
    path = frame.config
    flags = {"server.host": host, "server.port": port, "log.path": log}
    logs.set_up(verbosity=frame.verbosity, color=use_color(sys.stderr, frame.color, os.environ))

    def load() -> config.Settings:
        """Again at SIGHUP. A file that was found and is gone is an error then, and not another configuration."""
        nonlocal path
        if path is None and not demo:
            path = config.find(None, os.environ)
        found = config.load(path, os.environ, flags)
        logs.hide(
            secrets=[
                *(endpoint for chain in found.chains for endpoint in chain.endpoints),
                *(price.url for price in found.prices if price.url is not None),
            ],
            keys=config.api_keys(found).values(),
        )
        return found

    settings = load()

    from chainwatch import daemon

    source = None if demo else str(path) if path else "built in: public Ethereum endpoints"
    return daemon.run(settings, load, source=source, demo=demo, seed=seed, insecure=insecure)


def _load_structlog() -> None:
    """Without rich, which it would import to draw tracebacks: `logs` writes those itself."""
    absent = "rich" not in sys.modules
    if absent:
        sys.modules["rich"] = None  # type: ignore[assignment]  # what an import takes for «there is none»
    import structlog  # noqa: F401

    if absent:
        del sys.modules["rich"]
