"""`chainwatch service`: the unit file by which systemd keeps a daemon running."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from chainwatch.cli import Frame
from chainwatch.cli.printer import Notes
from chainwatch.errors import ChainwatchError, ConfigError
from chainwatch.text import printable

if TYPE_CHECKING:
    from chainwatch.systemd.unit import Service

SYSTEM_CONFIG: Final = Path("/etc/chainwatch/chainwatch.toml")
SYSTEM_UNITS: Final = Path("/etc/systemd/system")


def service(
    ctx: typer.Context,
    user: Annotated[
        bool, typer.Option("--user/--system", help="A service of yours, or of the machine. [default: --system]")
    ] = False,
    install: Annotated[
        bool, typer.Option("--install", help="Put it in its place, and print only what is next.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a unit that is there and differs.")] = False,
) -> None:
    """
    Print the unit file by which systemd keeps a daemon running, or --install it.

    A service of the system reads /etc/chainwatch/chainwatch.toml (or -c) as a user of its own. A file with endpoints or
    an API key, of mode 0600, is named there as ${CREDENTIALS_DIRECTORY}/NAME; it is beside the configuration, and is
    read again when the service is restarted. Its log and its keys are in /var/lib/chainwatch; `chainwatch keys`, run by
    root, is about those.
    """
    from chainwatch.systemd import unit

    frame: Frame = ctx.obj
    notes = Notes(frame.verbosity)
    made = _service(frame.config, user=user)
    for doubt in _doubts(made):
        notes.say(doubt, at=-1)
    text = unit.write(made)
    if not install:
        sys.stdout.write(text)
        return
    if not user and unit.hidden(Path(made.command[0]).resolve()):
        raise ChainwatchError(
            f"a service of the system cannot see {printable(made.command[0])}",
            hint="install chainwatch where everyone can read it, such as a venv in /opt/chainwatch; or give --user",
        )
    folder = _user_units() if user else SYSTEM_UNITS
    place = folder / unit.NAME
    how = put(place, text, force=force)
    systemctl = "systemctl --user" if user else "systemctl"
    print(f"{printable(str(place))}: {how}")
    print(f"next: {systemctl} daemon-reload && {systemctl} enable --now chainwatch")
    if user:
        print("it ends when you log out, unless: loginctl enable-linger")


def put(place: Path, text: str, *, force: bool) -> str:
    """Write the unit; what was done. `ChainwatchError` where another one is there, or it cannot be written."""
    shown = printable(str(place))
    try:
        there = place.read_bytes().decode(errors="replace") if place.exists() else None
        if there == text:
            return "is there already, as it should be"
        if there is not None and not force:
            raise ChainwatchError(
                f"{shown} is there, and differs",
                why="Somebody changed it, or another chainwatch made it; nothing was written.",
                hint=f"chainwatch service | diff {shown} - shows how; --force replaces it, and keeps it as .old",
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        if there is not None:
            place.replace(place.with_suffix(".service.old"))
        fresh = place.with_suffix(".service.new")
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(place)
    except OSError as error:
        root = isinstance(error, PermissionError) and os.geteuid() != 0
        raise ChainwatchError(
            f"cannot write {shown}",
            why=error.strerror or str(error),
            hint="run it by sudo, or give --user for a service of your own" if root else "",
        ) from None
    return "written" if there is None else "replaced; what was there is beside it, as .old"


def _service(given: Path | None, *, user: bool) -> Service:
    from chainwatch import config as settings
    from chainwatch.systemd import unit

    path = given
    if path is None:
        path = settings.find(None, os.environ) if user else SYSTEM_CONFIG if SYSTEM_CONFIG.is_file() else None
    path = None if path is None else path.absolute()
    credentials = {} if path is None else unit.credentials(_read(path), path.parent)
    return unit.Service(user=user, command=_command(), config=path, credentials=credentials, pages=_pages())


def _command() -> list[str]:
    """What starts this chainwatch, whatever `PATH` a service has."""
    program = Path(sys.argv[0])
    if program.name == "chainwatch" and (found := shutil.which(sys.argv[0])):
        return [os.path.abspath(found)]  # noqa: PTH100 - links stay: an update may move what is behind them
    return [sys.executable, "-m", "chainwatch"]


def _pages() -> list[str]:
    """The manual, where it was installed: by its names where `man` finds it, else by its files."""
    pages = [Path(sys.prefix, "share", "man", f"man{page[-1]}", page) for page in ("chainwatch.1", "chainwatch.toml.5")]
    found = [page for page in pages if page.is_file()]
    if sys.prefix in ("/usr", "/usr/local"):
        return [f"man:{page.stem}({page.suffix[1:]})" for page in found]
    return [page.as_uri() for page in found]


def _read(path: Path) -> dict[str, Any]:
    """The tables, whatever else is wrong with them: the daemon will say that."""
    shown = printable(str(path))
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration {shown}: {error.strerror}", hint="chainwatch init writes one"
        ) from None
    except ValueError:
        raise ConfigError(f"{shown} is not valid TOML", hint=f"chainwatch -c {shown} config check says where") from None


def _doubts(made: Service) -> list[str]:
    """What will not work, as far as can be seen from here."""
    from chainwatch.systemd import unit

    doubts = [
        f"{path} is not there: the service does not start without the credential {name}"
        for name, path in made.credentials.items()
        if not path.exists()
    ]
    if made.user:
        return doubts
    paths = [Path(made.command[0]), *([made.config] if made.config else [])]
    doubts += [f"a service of the system cannot see {path}" for path in paths if unit.hidden(path.resolve())]
    if made.config is None:
        doubts.append(f"{SYSTEM_CONFIG} is not there: Ethereum is followed through public endpoints")
    elif not made.config.stat().st_mode & stat.S_IROTH:
        doubts.append(
            f"{made.config} is closed to the user of the service: move secrets into files that it names as "
            "${CREDENTIALS_DIRECTORY}/NAME, then chmod 644 it"
        )
    return doubts


def keeps(config: Path | None) -> Path | None:
    """Where the service of the machine has its log and its keys, if there is one and it reads that configuration."""
    from chainwatch.systemd import unit

    try:
        text = (SYSTEM_UNITS / unit.NAME).read_text()
    except (OSError, ValueError):
        return None
    return unit.STATE if unit.reads(text, config) else None


def _user_units() -> Path:
    given = os.environ.get("XDG_CONFIG_HOME", "")
    home = Path(given) if given.startswith("/") else Path.home() / ".config"
    return home / "systemd" / "user"
