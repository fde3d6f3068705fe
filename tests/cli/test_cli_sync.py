"""``sync``: status, one meeting, conflicts and what is taken back."""

import json
import time

import pytest

from axiom_persistence import Sync, blocking
from axiom_persistence.cli import main
from axiom_persistence.security import FileKey


@pytest.fixture
def run(capsys):
    def run(*arguments, code=0):
        assert main(["sync", *map(str, arguments)]) == code
        return capsys.readouterr()

    return run


@pytest.fixture
def devices(tmp_path):
    """Two stores that changed one field, and have not met."""
    places = [tmp_path / "a.db", tmp_path / "b.db"]
    for place in places:
        with blocking.open_persistence(place) as store:
            store.save("note", {"text": place.stem, "size": 1})
        time.sleep(0.005)
    return [*map(str, places), f"sqlite:{tmp_path}/remote.db"]


def shown(result):
    return json.loads(result.out)


def test_two_devices_meet(run, devices):
    """Each sends and takes over; the status says when it was up to date."""
    a, b, remote = devices
    assert run("status", a).out == "never synchronised\n"
    for _ in range(2):
        run("now", a, remote)
        run("now", b, remote)
    with blocking.open_persistence(a) as store:
        assert store.load("note", dict) == {"text": "b", "size": 1}
    facts = shown(run("status", a, "--json"))
    assert (facts["pending"], facts["known"]) == (0, 1)
    assert facts["up_to_date"]
    assert "1 known to the other devices" in run("status", a).out


def test_what_lost_is_listed_and_taken_back(run, devices):
    """By its number in the list; sent at the next meeting."""
    a, b, remote = devices
    with blocking.open_persistence(a, sync=Sync(remote, metered=lambda: True)) as one:
        one.sync.now()
        with blocking.open_persistence(b, sync=Sync(remote, metered=lambda: True)) as other:
            other.sync.now()
            other.sync.now()
            one.sync.now()
            one.save("note", {"text": "early", "size": 1})
            time.sleep(0.005)
            other.save("note", {"text": "late", "size": 1})
            one.sync.now()
            other.sync.now()
    (found,) = [one for one in shown(run("conflicts", b, "--json")) if one["lost"] == "early"]
    assert (found["key"], found["field"], found["kept"]) == ("note", "text", "late")
    lines = run("conflicts", b).out.splitlines()
    number = next(line.split()[0] for line in lines if '"early"' in line)
    assert shown(run("take-back", b, number, "--json"))["value"] == "early"
    run("take-back", b, 99, code=4)
    assert shown(run("now", b, remote, "--json"))["sent"] == 1
    run("now", a, remote)
    with blocking.open_persistence(a) as store:
        assert store.load("note", dict)["text"] == "early"


def test_only_some_keys(run, devices):
    """As keys= of the program says."""
    a, _, remote = devices
    assert shown(run("now", a, remote, "--only", "other/*", "--json"))["sent"] == 0


def test_a_remote_that_is_a_store(run, devices):
    """It is refused, and nothing is changed."""
    a, b, _ = devices
    assert "a store of its own" in run("now", a, b, code=1).err


def test_a_pause_is_meant(run, devices):
    """It holds for a program that has the store open, for one that opens it later, and until resume."""
    a, _, remote = devices
    with blocking.open_persistence(a, sync=Sync(remote, every=0.1)) as store:
        wait_for(lambda: store.sync.status.state == "idle" and store.sync.status.sent)
        run("pause", a)
        wait_for(lambda: store.sync.status.state == "paused")
        assert "paused since" in run("status", a).out
        store.save("note", {"text": "while paused", "size": 1})
        sent = store.sync.status.sent
    with blocking.open_persistence(a, sync=Sync(remote, every=0.1)) as store:
        assert store.sync.status.state == "paused"
        time.sleep(0.5)
        assert (store.sync.status.state, store.sync.status.sent) == ("paused", 0)
        assert shown(run("now", a, remote, "--json"))["sent"] == 1
        assert store.sync.status.state == "paused"
        store.save("note", {"text": "still", "size": 1})
        assert shown(run("resume", a, "--json")) == {"paused": False}
        wait_for(lambda: store.sync.status.sent == 1)
    assert shown(run("status", a, "--json"))["paused"] is None
    assert sent == 1


def wait_for(condition):
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_devices_are_listed_and_forgotten(run, devices):
    """Each that was there; one that is forgotten leaves what it sent, and comes back when it meets."""
    a, b, remote = devices
    run("now", a, remote)
    run("now", b, remote)
    listed = shown(run("devices", a, remote, "--json"))
    assert len({one["id"] for one in listed}) == 2
    assert run("devices", a, remote).out.count("last there") == 2
    said = run("forget", a, remote, listed[0]["id"]).err
    assert "what it sent stays" in said
    assert [one["id"] for one in shown(run("devices", a, remote, "--json"))] == [listed[1]["id"]]
    assert "did you mean" in run("forget", a, remote, listed[1]["id"][:-1], code=4).err
    run("now", a, remote)
    with blocking.open_persistence(a) as store:
        assert store.load("note", dict) == {"text": "b", "size": 1}
    run("now", b, remote)
    assert len(shown(run("devices", a, remote, "--json"))) == 2


def test_an_encrypted_place(run, devices, tmp_path):
    """Its key is given by --remote-keys."""
    a, b, remote = devices
    with blocking.open_persistence("memory:", keys=FileKey(tmp_path / "family.key", create=True)):
        pass
    for place in (a, b, a):
        run("now", place, remote, "--remote-keys", f"file:{tmp_path}/family.key")
    with blocking.open_persistence(a) as store:
        assert store.load("note", dict) == {"text": "b", "size": 1}
    assert "encrypted" in run("devices", a, remote, code=12).err
    assert (
        "--remote-keys 'nonsense' names no key"
        in run("now", a, remote, "--remote-keys", "nonsense", code=2).err
    )


def test_how_far_a_first_meeting_is(run, devices):
    """An object a line, the last one being what was done."""
    a, _, remote = devices
    lines = run("now", a, remote, "--jsonl").out.splitlines()
    assert json.loads(lines[-1])["event"] == "summary"
    assert json.loads(lines[-1])["sent"] == 1
