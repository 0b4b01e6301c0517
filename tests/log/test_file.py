"""Which files are taken as logs, which are refused, and that a refused one stays as it was to the last byte."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from chainwatch.errors import LogDamaged, LogError, LogInUse
from chainwatch.filter import OPEN, Filter
from chainwatch.log import file, schema

HERE = Path(__file__).parent


def fingerprint(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def killed(tmp_path) -> Path:
    """A log whose daemon was killed: most of it is in the WAL."""
    path = tmp_path / "events.db"
    appender = subprocess.Popen([sys.executable, HERE / "appender.py", path, "0"], stdout=subprocess.PIPE, text=True)
    assert appender.stdout
    for line in appender.stdout:
        if int(line) > 400:
            break
    appender.send_signal(signal.SIGKILL)
    appender.wait()
    appender.stdout.close()
    assert Path(f"{path}-wal").stat().st_size > 100_000
    return path


def leave_a_wal(path: Path) -> None:
    """A small WAL beside the log, as of a daemon that was killed soon after its start."""
    code = "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); "
    code += "db.execute('PRAGMA wal_autocheckpoint=0'); "
    code += "db.execute(\"INSERT INTO state VALUES('k', x'00')\"); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, path], check=True)
    assert Path(f"{path}-wal").stat().st_size


def try_to_append(path: Path, *before: str) -> str:
    """What another process says that wants to append to that log."""
    command = [*before, sys.executable, HERE / "appender.py", path, "0"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stderr


async def refused(opened, path: Path, words: str) -> None:
    before = fingerprint(path.parent)
    with pytest.raises(LogDamaged, match=words) as told:
        await opened(path)
    assert str(path) in told.value.what
    assert told.value.hint
    # The killed daemon's lock file is ours to take over, and so to remove.
    before.pop(f"{path.name}.lock", None)
    assert fingerprint(path.parent) == before


async def test_a_file_that_is_no_database_is_refused(opened, tmp_path):
    path = tmp_path / "events.db"
    path.write_text("notes of mine\n" * 1000)
    await refused(opened, path, "not an SQLite database")
    path.write_bytes(b"SQLite format 3\0")
    await refused(opened, path, "not an SQLite database")


async def test_a_database_of_another_program_is_refused(opened, tmp_path):
    path = tmp_path / "events.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE events(x)")
    await refused(opened, path, "another program")


async def test_a_log_of_a_newer_format_is_refused(opened, tmp_path):
    path = tmp_path / "events.db"
    file.create(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA user_version={schema.FORMAT + 1}")
    await refused(opened, path, "newer chainwatch")


async def test_a_log_with_other_tables_is_refused(opened, tmp_path):
    path = tmp_path / "events.db"
    file.create(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TABLE keys")
    await refused(opened, path, "tables")


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95, 0.999])
async def test_a_log_that_was_cut_off_is_refused(opened, made, tmp_path, part):
    path = tmp_path / "events.db"
    log = await opened(path)
    await log.append(made.random(2000))
    await log.close()
    os.truncate(path, int(path.stat().st_size * part))
    await refused(opened, path, "cut off|broken")


async def test_a_killed_log_whose_file_was_cut_off_is_refused(opened, killed):
    log = await opened(killed)  # takes what is in the WAL into the file
    await log.close()
    os.truncate(killed, killed.stat().st_size // 2)
    await refused(opened, killed, "cut off|broken")


async def test_a_killed_log_that_is_refused_keeps_its_wal(opened, killed):
    """Half of the file is gone, and what the WAL holds is not that half."""
    log = await opened(killed)
    await log.close()
    leave_a_wal(killed)
    os.truncate(killed, killed.stat().st_size // 2)
    await refused(opened, killed, "cut off|broken")
    os.truncate(f"{killed}-wal", 100)  # nothing that counts, and still not ours to remove
    await refused(opened, killed, "cut off|broken")


async def test_a_killed_log_whose_newest_events_are_broken_is_refused(opened, made, tmp_path):
    path = tmp_path / "events.db"
    log = await opened(path)
    await log.append(made.random(2000))
    newest = f"id: {log.identity}-2000\n".encode()
    await log.close()
    whole = path.read_bytes()
    path.write_bytes(whole.replace(newest, b"x" * len(newest)))
    await refused(opened, path, "cannot be read")


async def test_a_wal_without_its_database_is_refused(opened, killed):
    """An empty log would take the WAL for its own."""
    killed.unlink()
    await refused(opened, killed, "written ahead")


async def test_what_a_killed_daemon_left_is_looked_at_without_touching_it(killed):
    before = fingerprint(killed.parent)
    file.inspect(killed)
    assert fingerprint(killed.parent) == before


async def test_a_killed_log_is_opened_with_all_it_had(opened, killed):
    log = await opened(killed)
    assert log.head > 400
    page, looked = await log.page(0, OPEN, 100_000)
    assert [sequence for sequence, _ in page] == list(range(1, log.head + 1))
    assert looked == log.head


async def test_damage_that_is_met_later_is_told_as_such(opened, made, tmp_path):
    path = tmp_path / "events.db"
    log = await opened(path)
    await log.append(made.random(3000))
    middle = f"id: {log.identity}-1500\n".encode()
    await log.close()
    whole = bytearray(path.read_bytes())
    page = whole.index(middle) // 4096 * 4096
    whole[page : page + 4096] = os.urandom(4096)
    path.write_bytes(whole)
    log = await opened(path, memory=0)
    for question in (
        log.read(1400, OPEN, named=False, max_bytes=1 << 20),
        log.read(1400, Filter(types=frozenset({"token_transfer"})), named=False, max_bytes=1 << 20),
        log.page(1400, OPEN, 500),
    ):
        with pytest.raises(LogDamaged):
            await question
    assert (await log.read(2000, OPEN, named=False, max_bytes=1000)).events


async def test_missing_events_in_the_middle_are_damage_not_silence(opened, made, tmp_path):
    path = tmp_path / "events.db"
    log = await opened(path)
    await log.append(made.random(300))
    await log.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM events WHERE seq = 150")
    log = await opened(path)
    with pytest.raises(LogDamaged, match="cannot be used"):
        await log.read(100, OPEN, named=False, max_bytes=1 << 20)
    with pytest.raises(LogDamaged, match="cannot be used"):
        await log.page(100, OPEN, 1000)


async def test_a_second_daemon_on_one_log_is_turned_away(opened, made, tmp_path, monkeypatch):
    path = tmp_path / "events.db"
    log = await opened(path)
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    monkeypatch.chdir(tmp_path)
    for name in (path, link, Path("events.db"), tmp_path / "elsewhere" / ".." / "events.db"):
        with pytest.raises(LogInUse, match=r"in use") as told:
            await opened(name)
        assert f"process {os.getpid()}" in told.value.why
    assert "LogInUse" in await asyncio.to_thread(try_to_append, path)
    await log.append([made.block(1)])
    await log.close()
    log = await opened(link)
    assert log.head == 1


async def test_nothing_is_left_behind_but_the_log(opened, made, tmp_path):
    log = await opened(tmp_path / "made" / "on" / "the" / "way" / "events.db")
    await log.append([made.block(1)])
    await log.close()
    assert [path.name for path in (tmp_path / "made" / "on" / "the" / "way").iterdir()] == ["events.db"]


async def test_a_draft_that_a_crash_left_is_no_hindrance(opened, tmp_path):
    (tmp_path / "events.db.new").write_text("half a log")
    (tmp_path / "events.db").touch()
    log = await opened()
    assert log.head == 0


async def test_places_that_cannot_hold_a_log_are_named(opened, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "folder", tmp_path / "file" / "events.db", tmp_path / "loop", Path("/dev/null")):
        with pytest.raises(LogError) as told:
            await opened(path)
        assert str(path) in told.value.what


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    file.create(folder / "events.db")
    (folder / "events.db").chmod(0o444)
    folder.chmod(0o555)
    as_nobody = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"] if os.geteuid() == 0 else []
    said = try_to_append(folder / "events.db", *as_nobody)
    folder.chmod(0o755)
    assert "LogError" in said
    assert "Permission denied" in said
    assert str(folder) in said
