"""
Where settings come from: flags before `CHAINWATCH_*` variables before one file before the defaults.

The first file that is found wins whole. Everything that is wrong is reported at once, each with its place: the key in
the file, the variable, or the line of an `endpoints_file`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from chainwatch.config.explain import did_you_mean, explain
from chainwatch.config.keys import read_key
from chainwatch.config.known import CHAINS, token_tables
from chainwatch.config.model import SINGLE, TABLES, Settings, default_log_path, vocabulary
from chainwatch.config.places import line_of, lines as places_of
from chainwatch.config.references import check_references
from chainwatch.config.values import Wrong
from chainwatch.config.webhooks import check_files, check_urls, check_words
from chainwatch.errors import ConfigError, Problem
from chainwatch.text import printable

_ETHEREUM: Final = CHAINS["ethereum"]
PUBLIC_ETHEREUM: Final[dict[str, Any]] = {
    "chains": [{"name": _ETHEREUM.name, "chain_id": _ETHEREUM.chain_id, "endpoints": list(_ETHEREUM.endpoints)}],
    "tokens": token_tables(_ETHEREUM.name, _ETHEREUM),
}
"""What is watched where there is no file."""

CREDENTIALS: Final = "${CREDENTIALS_DIRECTORY}/"
_PREFIX: Final = "CHAINWATCH_"
_OTHERS: Final = frozenset({"CHAINWATCH_CONFIG", "CHAINWATCH_URL", "CHAINWATCH_KEY"})
"""Variables that are no settings: where the file is, and how clients reach a daemon."""

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that is good, and where each of its values is from."""

    settings: Settings
    path: Path | None
    lines: Mapping[str, int]
    """The line in the file of each place in it; none where there is no file."""
    overlaid: Mapping[str, str]
    """What a place was given by, where that was no file: a variable's name, or an option."""


def find(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """
    The file to read: `-c`, `$CHAINWATCH_CONFIG`, then the first of `usual` that exists; None where there is none. What
    was named by hand is not looked for: `load` says if it is missing.
    """
    if explicit is not None:
        return explicit
    if named := environ.get("CHAINWATCH_CONFIG"):
        return _expand(named, Path(), environ)
    return next((path for path in usual(environ) if path.is_file()), None)


def usual(environ: Mapping[str, str]) -> tuple[Path, Path]:
    """Where a file is looked for: that of the user, under `$XDG_CONFIG_HOME`, and that of the system."""
    given = environ.get("XDG_CONFIG_HOME", "")
    config_home = Path(given) if given.startswith("/") else _home(environ) / ".config"
    return config_home / "chainwatch" / "chainwatch.toml", Path("/etc/chainwatch/chainwatch.toml")


def load(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object], *, secrets: bool = True
) -> Settings:
    """
    The settings of a file (None: the built-in ones, public Ethereum), with variables and flags laid over it.

    `flags` are values by their place, `{"server.port": 9000, "log.path": Path("x.db")}`; None is "not given".
    Without `secrets`, files with endpoints and API keys are not read, for whoever asks no node and may not read them;
    the endpoints of such a file are then not there. `ConfigError` holds every problem.
    """
    return loaded(path, environ, flags, secrets=secrets).settings


def loaded(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object], *, secrets: bool = True
) -> Loaded:
    """The same, with where each value is from."""
    text = _read(path) if path else ""
    data = _parsed_toml(path, text) if path else _copy(PUBLIC_ETHEREUM)
    base = path.parent if path else Path()
    problems: list[Problem] = []
    places: dict[str, str] = {}
    _resolve_paths(data, base, environ)
    problems += _overlay_variables(data, environ, places)
    _overlay_flags(data, flags, environ, places)
    problems += _read_endpoints_files(data, base, environ, places, unread=not secrets)
    if secrets:
        problems += _check_key_files(data)
    log = data.setdefault("log", {})
    by_default = isinstance(log, dict) and "path" not in log
    if by_default:
        log["path"] = str(default_log_path(_home(environ), environ.get("XDG_STATE_HOME", "")))

    problems += check_references(data)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems = [*explain(error, places), *problems]
    else:
        problems += [*check_urls(settings.webhooks), *check_words(settings.webhooks, vocabulary(settings))]
    lines = places_of(text)
    if problems:
        problems = sorted((_placed(problem, lines) for problem in problems), key=lambda problem: problem.line or 0)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        where = str(path) if path else "the environment and the flags"
        raise ConfigError(f"{count} in {printable(where)}", problems, hint="nothing was started")
    if by_default:  # nobody named it: a demonstration must not write there
        settings.log.model_fields_set.discard("path")
    return Loaded(settings, path, lines, places)


def _placed(problem: Problem, lines: Mapping[str, int]) -> Problem:
    """With its line in the file; one of a variable, of an option or of another file has none."""
    return problem if " " in problem.key else replace(problem, line=line_of(problem.key, lines))


# --- reading ------------------------------------------------------------------------------------------------------


def _read(path: Path) -> str:
    shown = printable(str(path))
    try:
        return path.read_bytes().decode("utf-8-sig")  # an editor may have put a mark before it
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration {shown}: {error.strerror or type(error).__name__}",
            hint="name another one with -c; without any, public Ethereum endpoints are used",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown} is not UTF-8 (byte {error.start})", hint="TOML is written in UTF-8") from None


def _parsed_toml(path: Path, text: str) -> Data:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, _, where = str(error).rpartition(" (at ")
        place = where.rstrip(")") or "unknown place"
        raise ConfigError(f"{printable(str(path))} is not valid TOML", [Problem(place, printable(message))]) from None
    except RecursionError:
        raise ConfigError(f"{printable(str(path))} is no configuration", hint="lists in lists without end") from None


def _copy(data: Data) -> Data:
    return {key: [dict(table) for table in tables] for key, tables in data.items()}


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError:  # a service's user may have none; the default log then cannot be opened, and says so
        return Path("/")


def _expand(written: str, base: Path, environ: Mapping[str, str]) -> Path:
    """
    A path as people write it: `~` is the home folder; a relative one starts at `base`. `${CREDENTIALS_DIRECTORY}` is
    where systemd puts the credentials of a service; by hand they are where it takes them from, in `base`.
    """
    if written.startswith(CREDENTIALS):
        return Path(environ.get("CREDENTIALS_DIRECTORY") or base) / written.removeprefix(CREDENTIALS)
    if written == "~" or written.startswith("~/"):
        return _home(environ) / written[2:]
    return base / written


def _tables(data: Data, name: str) -> list[tuple[int, Data]]:
    """The tables of an array of tables, where it is one; what is not is reported by the models."""
    given = data.get(name)
    return [(i, table) for i, table in enumerate(given) if isinstance(table, dict)] if isinstance(given, list) else []


def _resolve_paths(data: Data, base: Path, environ: Mapping[str, str]) -> None:
    """Paths in a file are relative to that file."""
    log = data.get("log")
    if isinstance(log, dict) and isinstance(written := log.get("path"), str) and written:
        log["path"] = str(_expand(written, base, environ))
    server = data.get("server")
    if isinstance(server, dict) and isinstance(written := server.get("keys_file"), str) and written:
        server["keys_file"] = str(_expand(written, base, environ))
    for _, price in _tables(data, "prices"):
        if isinstance(written := price.get("api_key_file"), str) and written:
            price["api_key_file"] = str(_expand(written, base, environ))
    for _, webhook in _tables(data, "webhooks"):
        for key in ("secret_file", "ca_file"):
            if isinstance(written := webhook.get(key), str) and written:
                webhook[key] = str(_expand(written, base, environ))


def _read_endpoints_files(
    data: Data, base: Path, environ: Mapping[str, str], places: dict[str, str], *, unread: bool
) -> Iterable[Problem]:
    for index, chain in _tables(data, "chains"):
        if not isinstance(written := chain.get("endpoints_file"), str):
            continue
        place = f"chains[{index}].endpoints_file"
        if "endpoints" in chain:
            yield Problem(place, "endpoints are given too", "keep one of the two")
            continue
        # A stand-in, so that what cannot be read is not reported as missing as well; it is never used.
        chain["endpoints"] = ["wss://unread.invalid"]
        if unread:
            continue
        try:
            lines = _expand(written, base, environ).read_text("utf-8").splitlines()
        except OSError as error:
            yield Problem(place, f"cannot be read: {error.strerror or type(error).__name__}")
            continue
        except UnicodeDecodeError:
            yield Problem(place, "is not UTF-8")
            continue
        urls = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
        urls = [(number, line) for number, line in urls if not line.startswith("#")]
        if not urls:
            yield Problem(place, "holds no URL", "one a line; lines that begin with # are comments")
            continue
        chain["endpoints"] = [line for _, line in urls]
        places |= {
            f"chains[{index}].endpoints[{position}]": f"{place}, line {number}"
            for position, (number, _) in enumerate(urls)
        }


def _check_key_files(data: Data) -> Iterable[Problem]:
    """The settings hold no key, so that whoever prints them shows none; that there is one is seen here."""
    for index, price in _tables(data, "prices"):
        if isinstance(written := price.get("api_key_file"), str) and written:
            try:
                read_key(written)
            except Wrong as wrong:
                yield Problem(f"prices[{index}].api_key_file", str(wrong), wrong.hint)
    for index, webhook in _tables(data, "webhooks"):
        for key, found in check_files(webhook.get("secret_file"), webhook.get("ca_file")):
            yield Problem(f"webhooks[{index}].{key}", str(found), found.hint)


# --- variables and flags ------------------------------------------------------------------------------------------


def _overlay_variables(data: Data, environ: Mapping[str, str], places: dict[str, str]) -> Iterable[Problem]:
    known = {
        f"{_PREFIX}{section}_{key}".upper(): (section, key)
        for section in SINGLE
        for key in TABLES[section].model_fields
    }
    for variable, value in environ.items():
        if not variable.startswith(_PREFIX) or variable in _OTHERS:
            continue
        if variable not in known:
            yield Problem(printable(variable), "unknown variable", did_you_mean(variable, [*known, *_OTHERS]))
            continue
        section, key = known[variable]
        places[f"{section}.{key}"] = variable
        _put(data, section, key, _parsed(value, TABLES[section].model_fields[key].annotation))


def _parsed(value: str, annotation: Any) -> object:
    """A variable is text; numbers, booleans and lists (with commas) are read out of it, the rest as in the file."""
    if annotation is bool and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if annotation is int and re.fullmatch(r"-?[0-9]{1,20}", value.strip()):
        return int(value)
    if getattr(annotation, "__origin__", None) is tuple:
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _overlay_flags(data: Data, flags: Mapping[str, object], environ: Mapping[str, str], places: dict[str, str]) -> None:
    for place, value in flags.items():
        if value is not None:
            section, _, key = place.partition(".")
            places[place] = f"{place} on the command line"
            _put(data, section, key, str(value) if isinstance(value, Path) else value)
    for section, key in (("log", "path"), ("server", "keys_file")):
        table = data.get(section)
        if (
            isinstance(table, dict) and f"{section}.{key}" in places and table[key]
        ):  # of a variable or a flag: from here
            table[key] = str(_expand(table[key], Path(), environ))


def _put(data: Data, section: str, key: str, value: object) -> None:
    table = data.setdefault(section, {})
    if isinstance(table, dict):  # otherwise the model reports the section
        table[key] = value
