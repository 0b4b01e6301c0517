"""
The unit file, for systemd 252 (Debian 12) and later. Pure: what is known of the machine goes in, text comes out.

Type=notify and not notify-reload, which is of 253; the daemon tells RELOADING and READY either way. A configuration
that is wrong ends it for good (`RestartPreventExitStatus`); the check before it may fail (the `-`), for systemd looks
at the exit status of the main process alone there, and would try a failed check again for ever. No check is in front
of a reload: systemd 257 hides the credentials from it, so it would fail whatever is right; the daemon says what is not.

A service of the system is a user of its own (`DynamicUser`), to whom files of 0600 are closed: what holds a secret is
written as `${CREDENTIALS_DIRECTORY}/NAME` in the configuration, and systemd, as root, reads it from beside that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

NAME: Final = "chainwatch.service"
STATE: Final = Path("/var/lib/chainwatch")
"""Where a service of the system keeps its log."""
_CREDENTIAL: Final = re.compile(r"\$\{CREDENTIALS_DIRECTORY\}/([A-Za-z0-9][A-Za-z0-9._-]*)")
_HIDDEN: Final = (Path("/home"), Path("/root"), Path("/run/user"))
"""What `ProtectHome` takes away."""

# A user's manager may take no capabilities away, and needs a user namespace, which not every kernel gives, for what
# changes what is mounted.
_BOTH: Final = """\
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077
"""
_SYSTEM: Final = """\
AmbientCapabilities=
CapabilityBoundingSet=
DevicePolicy=closed
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a unit is made for."""

    user: bool
    """A service of the user who asks, and not of the system."""
    command: Sequence[str]
    """What starts chainwatch, an absolute path first."""
    config: Path | None
    """None: it is looked for, and public endpoints are used where there is none."""
    credentials: Mapping[str, Path]
    """By their names: the files they are read from."""
    pages: Sequence[str]
    """Where the manual is, as URIs."""


def credentials(data: object, folder: Path) -> dict[str, Path]:
    """The credentials that a configuration names in any of its values; their files are beside it, in `folder`."""
    return {name: folder / name for text in _texts(data) if (name := _named(text))}


def _named(text: str) -> str:
    found = _CREDENTIAL.fullmatch(text)
    return found[1] if found else ""


def _texts(data: Any) -> Iterator[str]:
    match data:
        case str():
            yield data
        case dict():
            for value in data.values():
                yield from _texts(value)
        case list():
            for value in data:
                yield from _texts(value)


def hidden(path: Path) -> bool:
    """Whether a service of the system cannot see that path."""
    return any(path.is_relative_to(folder) for folder in _HIDDEN)


def word(text: str) -> str:
    """A word of a command line or a path, as systemd reads it: specifiers, variables and quotes mean nothing."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return plain if re.fullmatch(r"[\w@%+=:,./~$-]+", plain) else f'"{plain}"'


def reads(text: str, config: Path | None) -> bool:
    """Whether the unit `text`, as `write` made it, is of that configuration (None: of none that is named)."""
    started = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    if config is None:
        return any(" -c " not in line for line in started)
    return any(line.endswith(f" -c {word(str(config))} serve") for line in started)


def write(service: Service) -> str:
    """The unit file."""
    config = [] if service.config is None else ["-c", str(service.config)]
    start = " ".join(map(word, [*service.command, *config]))
    loaded = "".join(
        f"LoadCredential={name}:{str(path).replace('%', '%%')}\n" for name, path in sorted(service.credentials.items())
    )
    own = "" if service.user else "DynamicUser=yes\nStateDirectory=chainwatch\nStateDirectoryMode=0700\n"
    # Under it are the log and, beside that, the keys, where the configuration names no others.
    own += "" if service.user else "Environment=XDG_STATE_HOME=%S\n"
    network = "" if service.user else "Wants=network-online.target\nAfter=network-online.target\n"
    pages = f"Documentation={' '.join(service.pages).replace('%', '%%')}\n" if service.pages else ""
    return f"""\
# Made by `chainwatch service`; your own settings belong in a drop-in: systemctl {"--user " * service.user}edit {NAME}
[Unit]
Description=chainwatch, every event of your chains
{pages}{network}
[Service]
Type=notify
NotifyAccess=main
ExecStartPre=-{start} config check
ExecStart={start} serve
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2s
# The command line or the configuration is wrong, or a credential is not there: to start again changes nothing.
RestartPreventExitStatus=2 3 243
# Fed by the event loop, and only while the log can be written.
WatchdogSec=60s
# One that hung is ended by SIGABRT, and its last word is where it was.
Environment=PYTHONFAULTHANDLER=1
TimeoutStartSec=3min
TimeoutStopSec=30s
LimitNOFILE=65536
{own}{loaded}
{_BOTH}{"" if service.user else _SYSTEM}
[Install]
WantedBy={"default" if service.user else "multi-user"}.target
"""
