"""API keys: how one is found, what their file may hold, who writes it, and how a daemon keeps up with it."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from structlog.testing import capture_logs

from chainwatch.config import values
from chainwatch.errors import ChainwatchError, ConfigError, UsageError
from chainwatch.keys import PERMISSIONS, SHAPE, Key, Keyring, Watch, create, form, load, revoke, ring as rings

NOW = 1_780_000_000_123
DAY = 86_400_000
ADDRESS = "0x" + "a1" * 20


def make(path: Path, name: str = "phone", **other) -> tuple[Key, str]:
    wanted = {"can": ["read"], "chains": [], "types": [], "addresses": [], "expires": None, "now": NOW}
    return create(path, name=name, **(wanted | other))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


# --- a ring -------------------------------------------------------------------------------------------------------


def test_a_key_is_found_by_its_text_and_by_nothing_less(path):
    key, text = make(path)
    other, _ = make(path, "other")
    ring = load(path)
    assert ring.find(text) == key == ring.get(key.id) == ring.named("phone")
    swapped = f"cw_{other.id}_{text[-43:]}"
    for wrong in ("", key.id, text[:-1], text + "0", text.upper(), f"{text}\n", text[3:], swapped, "cw_" + "é" * 54):
        assert ring.find(wrong) is None
    assert ring.get("0" * 10) is None


def test_an_expired_key_is_found_so_that_it_can_be_told(path):
    key, text = make(path, expires=NOW + DAY)
    assert load(path).find(text) == key
    assert not key.is_expired(NOW + DAY - 1)
    assert key.is_expired(NOW + DAY)


def test_an_unknown_id_costs_what_a_wrong_secret_costs(path, monkeypatch):
    key, text = make(path)
    ring = load(path)
    compared = []

    def compare(a, b):
        compared.append((len(a), len(b)))
        return same(a, b)

    same = rings.hmac.compare_digest
    monkeypatch.setattr(rings.hmac, "compare_digest", compare)
    for presented in (text, f"cw_{key.id}_{'0' * 43}", f"cw_{'0' * 10}_{text[-43:]}"):
        ring.find(presented)
    assert compared == [(64, 64)] * 3


def test_nobody_holds_the_key_that_an_unknown_id_is_compared_with():
    """Were the stand-in's digest that of some secret, this would be a key for every id."""
    assert rings.digest_of("0" * 43) != rings._NOBODY
    assert Keyring().find(f"cw_{'0' * 10}_{'0' * 43}") is None


def test_a_ring_is_true_where_keys_are_wanted(path):
    assert not load(path), "no file"
    key, _ = make(path, expires=NOW + 1)
    assert load(path)
    assert Keyring([key]), "an expired key closes, too"
    revoke(path, "phone", now=NOW)
    assert load(path), "the last key is revoked: that opens to nobody what was closed"
    assert load(path).keys == ()


def test_every_key_is_another_one(path):
    made = [make(path, f"key{number}") for number in range(5)]
    assert len({text for _, text in made}) == len({key.id for key, _ in made}) == 5
    assert all(SHAPE.fullmatch(text)["id"] == key.id for key, text in made)
    assert 43 * 5.954 >= 256, "bits of 43 digits of 62 kinds"


@given(st.from_regex(SHAPE, fullmatch=True))
def test_what_looks_like_a_key_is_no_address_and_no_symbol(text):
    for word in (text, text.upper(), text.lower(), text.replace("k", "\u212a")):
        for read in (values.address, values.label):
            with pytest.raises(values.Wrong) as caught:
                read(word)
            assert text[14:] not in f"{caught.value} {caught.value.hint}"


def test_no_digest_and_no_secret_is_in_what_is_shown(path):
    key, text = make(path)
    ring = load(path)
    for shown in (repr(key), str(key), repr(ring), repr([key])):
        assert "phone" in shown
        assert key.digest not in shown
        assert text[-43:] not in shown
    assert text[-43:] not in path.read_text()


# --- what is made ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "problem", "hint"),
    [
        ({"name": ""}, "'' is no name for a key", "up to 64 letters"),
        ({"name": "a b"}, "'a b' is no name for a key", "up to 64 letters"),
        ({"name": "-x"}, "'-x' is no name for a key", "the first a letter or a digit"),
        ({"name": "x\n"}, "'x\\\\u000a' is no name for a key", "up to 64 letters"),
        ({"name": "é"}, "'é' is no name for a key", "up to 64 letters"),
        ({"name": "x" * 65}, "is no name for a key", "up to 64 letters"),
        ({"name": "there"}, "there is a key 'there' already (expired)", "chainwatch keys revoke there"),
        ({"can": []}, "a key that may do nothing", "there is: read, send, admin"),
        ({"can": ["read", "raed"]}, "unknown permission 'raed'", "did you mean 'read'?"),
        ({"can": ["fly"]}, "unknown permission 'fly'", "there is: read, send, admin"),
        ({"types": ["tokn"]}, "unknown event type or category 'tokn'", "did you mean 'token'?"),
        ({"types": ["custom:9"]}, "'custom:9' is no custom type", "a letter, then"),
        ({"expires": NOW}, "a key that has expired already", "in the future"),
    ],
)
def test_what_cannot_be_meant_is_named_and_leaves_nothing(path, given, problem, hint):
    make(path, "there", expires=NOW - 1, now=NOW - DAY)
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        make(path, **given)
    assert problem in caught.value.what
    assert hint in caught.value.hint
    assert path.read_bytes() == before


def test_what_cannot_be_meant_leaves_no_folder(tmp_path):
    with pytest.raises(UsageError):
        make(tmp_path / "new" / "keys.toml", types=["tokn"])
    assert list(tmp_path.iterdir()) == []


def test_a_key_as_a_name_is_refused_and_not_shown(path):
    _, text = make(path)
    with pytest.raises(UsageError, match="that is a key") as caught:
        make(path, text)
    assert text[14:] not in str(caught.value)


def test_words_are_kept_as_they_were_given_and_addresses_in_lower_case(path):
    key, _ = make(path, types=["Tokens", "custom:deposit"], addresses=[ADDRESS.upper().replace("X", "x"), ADDRESS])
    assert (key.types, key.addresses) == (("Tokens", "custom:deposit"), (ADDRESS,))
    assert load(path).keys == (key,)


# --- what is revoked ------------------------------------------------------------------------------------------------


def test_a_key_is_revoked_by_its_name_its_id_or_its_text(path):
    made = [make(path, name) for name in ("a", "b", "c", "d")]
    for (key, _), word in zip(made, ("a", made[1][0].id, made[2][1]), strict=False):
        assert revoke(path, word, now=NOW) == key
    assert load(path).keys == (made[3][0],)


def test_a_name_can_be_used_again(path):
    first, text = make(path)
    revoke(path, "phone", now=NOW)
    second, _ = make(path)
    assert load(path).keys == (second,)
    assert first.id != second.id
    assert load(path).find(text) is None


@pytest.mark.parametrize(
    ("given", "problem", "hint"),
    [
        ("phnoe", "no key has the name or id 'phnoe'", "did you mean 'phone'?"),
        ("zzz", "no key has the name or id 'zzz'", "there is: phone"),
        ("\x1b[2J", "no key has the name or id '\\\\u001b[2J'", "there is: phone"),
        ("old", "the key 'old'", ""),
    ],
)
def test_what_is_no_key_cannot_be_revoked_and_the_nearest_is_named(path, given, problem, hint):
    make(path, "old")
    make(path)
    revoke(path, "old", now=NOW)
    with pytest.raises(UsageError) as caught:
        revoke(path, given, now=NOW)
    assert problem in caught.value.what
    assert hint == caught.value.hint


def test_who_revokes_once_more_is_not_led_to_another_key(path):
    key, text = make(path, "shop1")
    make(path, "shop2")
    revoke(path, "shop1", now=NOW)
    for again in ("shop1", key.id, text):
        with pytest.raises(UsageError) as caught:
            revoke(path, again, now=NOW)
        assert str(caught.value) == f"the key 'shop1' ({key.id}) was revoked already, 2026-05-28T20:26:40.123Z"


def test_a_key_that_lost_a_character_is_not_shown(path):
    _, text = make(path)
    with pytest.raises(UsageError) as caught:
        revoke(path, text[:-1], now=NOW)
    assert text[14:-1] not in str(caught.value)
    assert "'cw_…'" in str(caught.value)


def test_where_there_are_no_keys_none_can_be_revoked(tmp_path):
    with pytest.raises(UsageError, match="there are no keys"):
        revoke(tmp_path / "new" / "keys.toml", "x", now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_the_last_hundred_revoked_are_remembered(path):
    before = [rings.Revoked(name=f"k{n}", id=f"{n:010}", at=NOW) for n in range(100)]
    key, _ = make(path)
    path.write_text(form.write([key], before))
    revoke(path, "phone", now=NOW)
    _, gone, _ = form.parse(path.read_bytes(), "keys")
    assert gone == [*before[1:], rings.Revoked(name="phone", id=key.id, at=NOW)]


# --- the file -------------------------------------------------------------------------------------------------------

WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1), max_size=3, unique=True)
TIMES = st.integers(0, 253_402_300_799_999)
KEYS = st.builds(
    Key,
    name=st.from_regex(rings.NAME, fullmatch=True),
    id=st.from_regex("[0-9A-Za-z]{10}", fullmatch=True),
    digest=st.from_regex("[0-9a-f]{64}", fullmatch=True),
    created=TIMES,
    expires=st.none() | TIMES,
    can=st.frozensets(st.sampled_from(PERMISSIONS), min_size=1),
    chains=WORDS.map(tuple),
    types=st.lists(st.sampled_from(["wallet", "token_swap", "custom:x"]), unique=True).map(tuple),
    addresses=st.lists(st.from_regex("0x[0-9a-f]{40}", fullmatch=True), max_size=2, unique=True).map(tuple),
)


@settings(max_examples=30)
@given(st.lists(KEYS, max_size=3, unique_by=(lambda key: key.name, lambda key: key.id)))
def test_what_is_written_is_read(keys):
    names, ids = {key.name for key in keys}, {key.id for key in keys}
    if names.isdisjoint(ids):
        assert form.parse(form.write(keys, ()).encode(), "keys") == (keys, [], [])


GOOD = f"""
[[keys]]
name = "phone"
id = "0123456789"
digest = "{"0" * 64}"
created = 2026-01-01T00:00:00Z
can = ["read"]
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file: Object missing required field `keys`"),
        ("[[keys]", "the file: "),
        ("\xff", "the file: "),
        ("keys = 1", "keys: Expected `array`, got `int`"),
        (GOOD + 'nmae = "x"', "keys[0]: Object contains unknown field `nmae`"),
        ("tokens = 1\n" + GOOD, "the file: Object contains unknown field `tokens`"),
        (GOOD.replace('name = "phone"', ""), "keys[0]: Object missing required field `name`"),
        (GOOD.replace('"phone"', '"a b"'), "keys[0].name: 'a b' is no name for a key (up to 64"),
        (GOOD.replace("0123456789", "012"), "keys[0].id: is no id (10 letters and digits)"),
        (GOOD.replace('"00', '"s3cret'), "keys[0].digest: is no SHA-256 (64 hexadecimal digits, in lower case)"),
        (GOOD.replace("00Z", "00"), "keys[0].created: Expected `datetime` with a timezone component"),
        (GOOD.replace("2026-01-01T00:00:00Z", "1"), "keys[0].created: Expected `datetime`, got `int`"),
        (GOOD.replace('["read"]', "[]"), "keys[0].can: Expected `array` of length >= 1"),
        (GOOD.replace("read", "raed"), "keys[0].can: unknown permission 'raed' (did you mean 'read'?)"),
        (GOOD + "chains = []", "keys[0].chains: Expected `array` of length >= 1"),
        (GOOD + 'chains = [""]', "keys[0].chains[0]: Expected `str` of length >= 1"),
        (GOOD + 'addresses = ["0x12"]', "keys[0].addresses: '0x12' is no address"),
        (GOOD + GOOD.replace("0123456789", "9876543210"), "keys[1]: 'phone' is another key already"),
        (GOOD + GOOD.replace("phone", "other"), "keys[1]: '0123456789' is another key already"),
        (GOOD + GOOD.replace("phone", "0123456789").replace('d = "0123456789', 'd = "x123456789'), "keys[1]: '0123"),
        ("revoked = [{name = 1}]\n" + GOOD, "revoked[0].name: Expected `str`, got `int`"),
    ],
)
def test_a_broken_file_is_an_error_with_its_place_and_nothing_writes_over_it(path, text, problem):
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    for use in (load, make, lambda path: revoke(path, "phone", now=NOW)):
        with pytest.raises(ConfigError) as caught:
            use(path)
        assert f"the API keys in {path} cannot be used" in str(caught.value)
        assert problem in str(caught.value)
        assert "s3cret" not in str(caught.value)
    assert path.read_bytes() == text.encode("latin-1")


def test_a_type_of_another_version_is_told_and_keeps_no_revocation_back(path):
    make(path)
    path.write_text(path.read_text() + 'types = ["tokn", "block"]\n')
    watch = Watch(path)
    assert watch.ring.doubts == (
        f"in {path}, phone is limited to an unknown type 'tokn', which allows nothing (did you mean 'token'?)",
    )
    assert watch.ring.keys[0].types == ("tokn", "block")
    revoke(path, "phone", now=NOW)
    watch.look()
    assert watch.ring.keys == ()


def test_what_is_no_file_is_an_error_and_is_not_waited_for(path, tmp_path):
    os.mkfifo(path)
    for place in (path, tmp_path):
        with pytest.raises(ConfigError, match=r"is no file|Is a directory"):
            load(place)


def test_a_new_folder_and_the_file_are_for_their_owner_alone(tmp_path):
    path = tmp_path / "new" / "keys.toml"
    before = os.umask(0)
    try:
        make(path)
    finally:
        os.umask(before)
    for place, mode in ((path.parent, 0o700), (path, 0o600), (path.with_name("keys.toml.lock"), 0o600)):
        assert stat.S_IMODE(place.stat().st_mode) == mode
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["keys.toml", "keys.toml.lock"]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_refused(path, mode):
    make(path)
    path.chmod(mode)
    for use in (load, lambda path: make(path, "other"), lambda path: revoke(path, "phone", now=NOW)):
        with pytest.raises(ConfigError) as caught:
            use(path)
        assert str(caught.value) == f"others can write the API keys in {path}, and so add keys\nchmod 600 {path}"


def test_a_file_that_everyone_can_replace_is_refused(path):
    make(path)
    path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="everyone can replace"):
        load(path)
    path.parent.chmod(0o1777)  # as /tmp is
    assert load(path)


def test_a_file_of_another_user_is_refused_unless_that_is_root(path, monkeypatch):
    make(path)
    if os.getuid() == 0:
        os.chown(path, 4241, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(ConfigError, match="belong to another user"):
        load(path)


def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    folder.mkdir()
    if os.getuid() == 0:
        os.chown(folder, 4241, 4243)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    make(folder / "keys.toml")
    make(folder / "keys.toml", "other")
    owner = folder.stat().st_uid, folder.stat().st_gid
    for entry in folder.iterdir():
        assert (entry.stat().st_uid, entry.stat().st_gid) == owner


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_can_read_is_used_and_told(path, mode):
    key, _ = make(path)
    path.chmod(mode)
    assert load(path).keys == (key,)
    (doubt,) = load(path).doubts
    assert "others can read" in doubt
    make(path, "other")
    assert load(path).doubts == (), "writing puts it right"


def test_a_link_stays_a_link(path, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path.symlink_to(tmp_path / "elsewhere" / "real.toml")
    key, _ = make(path)
    assert path.is_symlink()
    assert load(tmp_path / "elsewhere" / "real.toml").keys == (key,) == load(path).keys


def test_the_lock_is_no_way_to_a_file_of_somebody_else(path, tmp_path):
    (tmp_path / "other").write_text("theirs")
    path.with_name("keys.toml.lock").symlink_to(tmp_path / "other")
    with pytest.raises(ChainwatchError, match="cannot write the API keys"):
        make(path)


def test_where_it_cannot_be_written_nothing_is_changed(path):
    make(path)
    before = path.read_bytes()
    path.with_name("keys.toml.new").mkdir()  # in the way, for root too
    with pytest.raises(ChainwatchError, match="cannot write the API keys") as caught:
        make(path, "other")
    assert "nothing was changed" in caught.value.hint
    assert path.read_bytes() == before


# --- many at once, and the end at any moment --------------------------------------------------------------------------

# Processes are forked by one that has imported everything: twenty imports would be most of the test.
CROWD = """
import multiprocessing, sys
from pathlib import Path
from chainwatch import keys

path = Path(sys.argv[1])
def work(number, start):
    start.wait()
    for name in (f"a{number}", f"b{number}"):
        keys.create(path, name=name, can=["read"], chains=[], types=[], addresses=[], expires=None, now=1)
    keys.revoke(path, f"a{number}", now=2)

fork = multiprocessing.get_context("fork")
start = fork.Barrier(20)
crowd = [fork.Process(target=work, args=(number, start)) for number in range(20)]
for one in crowd: one.start()
for one in crowd: one.join()
sys.exit(any(one.exitcode for one in crowd))
"""


def test_twenty_processes_at_once_lose_nothing(path):
    subprocess.run([sys.executable, "-c", CROWD, str(path)], check=True)
    assert {key.name for key in load(path).keys} == {f"b{number}" for number in range(20)}
    _, gone, _ = form.parse(path.read_bytes(), "keys")
    assert {one.name for one in gone} == {f"a{number}" for number in range(20)}


# A child is killed before its first step, another before its second, and so on, until one gets to the end. A step is a
# line of `_replace`, or of what it calls to do something to a file.
CRASH = """
import os, signal, sys
from pathlib import Path
from chainwatch import keys

path, left, replacing = Path(sys.argv[1]), 0, False
def create(name):
    keys.create(path, name=name, can=["read"], chains=[], types=[], addresses=[], expires=None, now=1)
def step(frame, event, _):
    global left, replacing
    code = frame.f_code
    replacing = replacing or code.co_name == "_replace"
    inside = code.co_filename.endswith("keys/file.py") or code.co_name in ("open", "replace", "unlink", "write_text")
    if not replacing or not inside:
        return None
    if event == "line":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return step

create("before")
before, there, steps = path.read_bytes(), keys.load(path).keys, 0
while True:
    steps += 1
    path.write_bytes(before)
    if os.fork() == 0:
        left = steps
        sys.settrace(step)
        create("new")
        os._exit(0)
    _, status = os.wait()
    found = keys.load(path).keys
    assert found[:1] == there, "what was there is there"
    assert [key.name for key in found[1:]] in ([], ["new"]), "all or nothing of the new one"
    if status == 0:
        break
    assert status == signal.SIGKILL
print(steps)
"""


def test_killed_at_any_step_the_file_is_the_old_one_or_the_new_one(path):
    done = subprocess.run([sys.executable, "-c", CRASH, str(path)], check=True, stdout=subprocess.PIPE)
    assert int(done.stdout) > 20


# --- a daemon keeps up ------------------------------------------------------------------------------------------------


def looked(watch: Watch) -> Keyring | None:
    """The new ring that a look found."""
    before = watch.ring
    watch.look()
    return None if watch.ring is before else watch.ring


def test_what_a_watch_finds_is_told_once(path):
    watch = Watch(path)
    assert not watch.ring
    assert looked(watch) is None
    key, text = make(path)
    told = looked(watch)
    assert told.keys == (key,)
    assert told.find(text) == key
    assert looked(watch) is None
    revoke(path, "phone", now=NOW)
    assert looked(watch).keys == ()
    assert watch.ring, "still closed"


def test_a_file_that_is_written_again_as_it_was_is_no_change(path):
    make(path)
    watch = Watch(path)
    text = path.read_bytes()
    path.unlink()
    path.write_bytes(text)
    path.chmod(0o600)
    assert looked(watch) is None


BREAKS = {
    "emptied": lambda path: path.write_text(""),
    "mistyped": lambda path: path.write_text(path.read_text() + "nmae = 1\n"),
    "opened to others": lambda path: path.chmod(0o666),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a loop": lambda path: (path.unlink(), path.symlink_to(path)),
}


@pytest.mark.parametrize("breaks", BREAKS.values(), ids=BREAKS)
def test_a_broken_file_keeps_the_keys_that_were_and_is_logged_once(path, breaks):
    _, text = make(path)
    watch = Watch(path)
    breaks(path)
    with capture_logs() as logged:
        assert [looked(watch) for _ in range(3)] == [None] * 3
    assert [(line["log_level"], line["event"]) for line in logged] == [("error", "the API keys stay as they were")]
    assert str(path) in logged[0]["error"]
    assert watch.ring.find(text)


def test_a_file_that_is_put_right_is_read(path):
    make(path)
    watch = Watch(path)
    good = path.read_text()
    path.write_text("")
    assert looked(watch) is None
    path.write_text(good + "\n")
    assert looked(watch) is None, "the keys are those that were"
    key, _ = make(path, "other")
    assert looked(watch).keys[-1] == key


def test_where_the_file_is_gone_no_key_is_good_and_nothing_is_open(path):
    _, text = make(path)
    watch = Watch(path)
    path.unlink()
    with capture_logs() as logged:
        told = looked(watch)
        assert looked(watch) is None
    assert [line["log_level"] for line in logged] == ["error", "info"]
    assert (bool(told), told.find(text)) == (True, None)
    key, text = make(path)
    looked(watch)
    assert watch.ring.find(text) == key


def test_a_broken_file_lets_no_daemon_start(path):
    path.write_text("")
    with pytest.raises(ConfigError):
        Watch(path)


def test_what_is_doubtful_is_logged_at_the_start(path):
    make(path)
    path.chmod(0o644)
    with capture_logs() as logged:
        looked(Watch(path))
    assert [(line["log_level"], "others can read" in line["event"]) for line in logged] == [("warning", True)]


def test_what_is_logged_of_a_change_is_names(path):
    _, text = make(path, "old")
    watch = Watch(path)
    revoke(path, "old", now=NOW)
    key, new = make(path, "new")
    with capture_logs() as logged:
        looked(watch)
    (line,) = logged
    assert (line["new"], line["gone"]) == (["new"], ["old"])
    assert not re.search(f"{text[14:]}|{new[14:]}|{key.digest}", str(logged))


async def test_a_watch_that_runs_hears_of_a_change(path):
    told: asyncio.Queue[Keyring] = asyncio.Queue()
    watch = Watch(path)
    make(path, "before")
    watch.look()
    task = asyncio.create_task(watch.run(told.put_nowait))
    async with asyncio.timeout(10):
        assert (await told.get()).named("before"), "what others saw is told too"
        make(path, "after")
        assert (await told.get()).named("after")
        make(path, "at-a-signal")
        watch.look()
        assert (await told.get()).named("at-a-signal")
    task.cancel()
