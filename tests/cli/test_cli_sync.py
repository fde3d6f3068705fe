"""``sync``: status, one meeting, conflicts and what is taken back."""

import json
import time

import pytest

from axiom_persistence import Sync, blocking
from axiom_persistence.cli import main


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
