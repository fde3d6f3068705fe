"""Object stores where something goes wrong: lost replies, killed servers, late copies, refused servers."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from axiom_persistence import (
    AccessDeniedError,
    ConfigurationError,
    ConflictError,
    CorruptedDataError,
    StorageUnavailableError,
    StoreNotFoundError,
    open_persistence,
)
from axiom_persistence.adapters._networked.commit import new_commit_id
from axiom_persistence.adapters._objects.checkpoint import make_checkpoint
from axiom_persistence.adapters._objects.entry import MARKER, checkpoint_name, entry_name
from axiom_persistence.adapters._objects.log import Log
from axiom_persistence.adapters.objects import ObjectStoreAdapter
from axiom_persistence.errors import CapabilityUnavailableError, ForeignStoreError, SchemaTooNewError
from support.objects import (
    BUCKET,
    SECRET,
    USER,
    Seaweed,
    address,
    address_at,
    boto,
    directory,
    is_ready,
    made,
    prefix_of,
    program,
    shared,
    until,
)
from support.over_a_proxy import OverAProxy, proxies
from support.servers import free_port
from torture.objects import at, changes, ids, kills, lost_replies, tidying

WITHIN_S = 5.0


@pytest.fixture
def server():
    return shared()


@pytest.fixture
def prefix(tmp_path):
    return made(prefix_of(tmp_path))


proxied = proxies(at)


def tidy(adapter, everything=True):
    return make_checkpoint(adapter._workers.log, adapter._workers.stopped, everything=everything)


# -- replies that are lost, and servers that are killed ------------------------------------------------


async def test_lost_replies_are_settled(server, prefix):
    """30 commits whose reply is lost: no false conflict, no double effect."""
    report = await lost_replies(server, 30, prefix)
    assert report == {"lost": 30, "false conflicts": 0, "double effects": 0}


async def test_naive_repeats_are_caught(server, prefix, monkeypatch):
    """A planted bug: each copy of a commit has an id of its own."""
    plain = Log.append

    def naive(self, commits):
        sent = {each.id: each for each in commits}
        for commit in commits:
            if commit.is_sent:
                commit.id, self._under_way = new_commit_id(), None
        outcomes = plain(self, commits)
        return outcomes | {old: outcomes[each.id] for old, each in sent.items()}

    monkeypatch.setattr(Log, "append", naive)
    report = await lost_replies(server, 5, prefix)
    assert report["false conflicts"] == 5


async def test_fetching_to_compare_is_caught(server, prefix, monkeypatch):
    """A planted bug: a lost reply is settled by a look at the record, which may be overwritten since."""
    plain = Log.append

    def comparing(self, commits):
        (commit,) = commits
        if commit.is_sent:
            spot = self.refresh().find([commit.key]).get(commit.key)
            return {commit.id: [] if spot is not None and spot.version == commit.id else [commit.key]}
        return plain(self, commits)

    async def once():
        async with proxied(server, prefix) as (proxy, adapter), at(server.port, prefix) as other:
            version = (await adapter.commit({"a": b"0"}))["a"]
            proxy.lose_replies()
            commit = asyncio.create_task(adapter.commit({"a": b"1"}, expect={"a": version}))
            while not proxy.lost:
                await asyncio.sleep(0)
            proxy.freeze()  # the second copy waits
            await other.commit({"a": b"2"})
            proxy.thaw()
            return await commit

    assert await once()
    monkeypatch.setattr(Log, "append", comparing)
    with pytest.raises(ConflictError):
        await once()


class TestOnTheWay(OverAProxy):
    """What every adapter of a server withstands."""

    at = staticmethod(at)
    proxied = staticmethod(proxied)
    cuts = range(1, 29 * 30, 29)

    @pytest.fixture
    def place(self, prefix):
        return prefix

    async def begin(self, proxy, adapter):
        await adapter.commit({"b": b"0"})
        holding = proxy.hold_request()
        commit = asyncio.create_task(adapter.commit({"a": b"mine"}, expect={"b": None}))
        with pytest.raises(ConflictError):  # it looks first: what is held is that look
            await asyncio.gather(holding, commit)

    async def applied(self, server, place):
        async with at(server.port, place) as adapter:
            return (await asyncio.to_thread(ids, adapter)).total()


async def test_what_was_settled_by_a_reader_or_a_checkpoint(server, prefix):
    """A commit whose reply was lost is found as its own, when its entry has been cleared meanwhile, too."""
    async with proxied(server, prefix) as (proxy, adapter), at(server.port, prefix) as other:
        version = (await adapter.commit({"a": b"0"}))["a"]
        proxy.lose_replies()
        commit = asyncio.create_task(adapter.commit({"a": b"1"}, expect={"a": version}))
        while not proxy.lost:
            await asyncio.sleep(0)
        proxy.freeze()
        await other.commit({"a": b"2"})
        assert await asyncio.to_thread(tidy, other)
        proxy.thaw()
        assert (await commit)["a"] in await asyncio.to_thread(ids, other)
        assert await adapter.read("a") == b"2"


async def skew(server, prefix, rounds):
    """Two commits at once that each rely on the absence of what the other writes; who won, each time."""
    won = []
    async with at(server.port, prefix) as first, at(server.port, prefix) as second:
        for n in range(rounds):
            a, b = f"a{n}", f"b{n}"
            outcomes = await asyncio.gather(
                first.commit({a: b""}, expect={b: None}),
                second.commit({b: b""}, expect={a: None}),
                return_exceptions=True,
            )
            won.append(sum(isinstance(outcome, dict) for outcome in outcomes))
    return won


async def test_reads_of_absent_keys_are_protected(server, prefix):
    """One of the two goes ahead, never both, and never none."""
    assert await skew(server, prefix, 5) == [1] * 5


async def test_unprotected_absence_is_caught(server, prefix, monkeypatch):
    """A planted bug: what a commit relies on to be absent is not looked at again."""
    plain = Log._judged

    def unprotected(self, commits):
        for commit in commits:
            commit.expect = {key: version for key, version in commit.expect.items() if version is not None}
        return plain(self, commits)

    monkeypatch.setattr(Log, "_judged", unprotected)
    assert await skew(server, prefix, 2) == [2, 2]


async def follow(server, prefix, count):
    """Keys that a reader does not know, which looks on many threads while somebody writes."""
    async with at(server.port, prefix) as writer, at(server.port, prefix) as reader:
        done = asyncio.Event()

        async def look():
            while not done.is_set():
                await reader.exists("a")

        looking = [asyncio.create_task(look()) for _ in range(4)]
        for n in range(count):
            await writer.commit({f"k{n}": b""})
        done.set()
        await asyncio.gather(*looking)
        return count - len([key async for key in reader.keys("k")])


async def test_readers_at_once_skip_no_entry(server, prefix):
    """Several threads read the end of the log together; each entry is applied once."""
    assert await follow(server, prefix, 100) == 0


async def test_a_number_that_is_read_again_is_caught(server, prefix, monkeypatch):
    """A planted bug: an entry is applied as the next one at that time, not at the number it was read from."""
    from axiom_persistence.adapters._objects.index import Index

    plain = Index.take
    monkeypatch.setattr(Index, "take", lambda self, _, *rest: plain(self, self.last + 1, *rest))
    assert await follow(server, prefix, 100) > 0


async def test_a_killed_server_loses_nothing(record_property):
    """SIGKILL to all of it, under 8 tasks: nothing acknowledged is lost, nothing is done twice."""
    own = await asyncio.to_thread(lambda: Seaweed(directory()).start())
    try:
        report = await kills(own, 1)
    finally:
        own.stop()
    record_property("told", f"objects: {report}")
    assert (report["lost"], report["twice"], report["unsettled"], report["kills"]) == (0, 0, 0, 1)


# -- round trips ---------------------------------------------------------------------------------------


async def test_requests_are_counted(server, prefix):
    """A save costs one; a load, and 100 keys, one more than what is not kept here."""
    async with at(server.port, prefix) as adapter, at(server.port, prefix) as other:
        keys = [f"k{n}" for n in range(100)]

        async def requests(of, work):
            before = {kind: n for kind, n in of.stats().items() if kind in ("puts", "gets")}
            await work()
            return sum(of.stats()[kind] - n for kind, n in before.items())

        version = await adapter.commit(dict.fromkeys(keys, b"x" * 1000))
        assert await requests(adapter, lambda: adapter.commit({"a": b"1"}, expect={"k1": version["k1"]})) == 1
        assert await requests(adapter, lambda: adapter.fetch(["a"])) == 1
        assert await requests(adapter, lambda: adapter.fetch(keys)) == 1
        assert await requests(adapter, lambda: adapter.exists("none")) == 1
        assert await requests(other, lambda: other.fetch(["none"])) == 3  # two entries, and no third
        assert await requests(other, lambda: other.fetch(keys)) == 2


async def test_a_hundred_savers_share_requests(server, prefix, record_property):
    """One waits for its own object; the others go together: below 0.1 requests a save, of all kinds."""
    async with at(server.port, prefix) as adapter:

        async def saver(name):
            for n in range(20):
                await adapter.commit({f"{name}": b"%d" % n})

        def sent():
            return sum(adapter.stats()[kind] for kind in ("puts", "gets", "lists", "deletes"))

        before = sent()
        await asyncio.gather(*(saver(name) for name in range(100)))
        assert adapter.stats()["commits"] == 2000
        each = (sent() - before) / 2000
    record_property("told", f"objects: {each:.3f} requests a save under 100 savers")
    assert each < 0.1


# -- changes -------------------------------------------------------------------------------------------


async def test_no_change_is_missed(server, prefix):
    """Two writers, 200 commits, and a reader that is cut off and comes back."""
    report = await changes(server, 200, prefix)
    assert report["missed"] == 0
    assert report["cuts"] >= 1


async def test_a_stream_tells_what_others_do(server, prefix):
    """Saved, deleted and own."""
    async with (
        open_persistence(address(server.port, prefix)) as theirs,
        open_persistence(address(server.port, prefix)) as mine,
    ):
        await theirs.save("gone", 1)
        stream = mine.changes()
        await mine.save("own", 1)
        assert (await anext(stream)).key == "own"
        await theirs.save_many({f"{k}": k for k in range(20)})
        assert {(await anext(stream)).key for _ in range(20)} == {f"{k}" for k in range(20)}
        await theirs.delete("gone")
        told = await anext(stream)
        assert (told.key, told.version, told.origin) == ("gone", None, "process")
        await stream.aclose()


async def test_a_mark_that_is_too_old_says_so(server, prefix):
    """Then any key may have changed, and a stream compares everything."""
    async with at(server.port, prefix) as adapter:
        mark = (await adapter.changed(None)).mark
        await adapter.commit({"a": b""})
        assert (await adapter.changed(mark)).keys == {"a"}
        assert (await adapter.changed("99")).keys is None
        await asyncio.to_thread(tidy, adapter)
    async with at(server.port, prefix) as adapter:
        assert (await adapter.changed(mark)).keys is None


# -- checkpoints ---------------------------------------------------------------------------------------


async def test_nothing_is_lost_while_others_tidy_up(server, prefix):
    """Two writers, two readers, and two that make checkpoints all the time."""
    report = await tidying(server, 60, prefix)
    assert report["wrong"] == 0
    assert report["checkpoints"] > 1


async def test_a_checkpoint_is_made_when_it_is_due(server, prefix, monkeypatch):
    """And leaves of the log only ids, of the parts those that are needed; a store opens from it."""
    from axiom_persistence.adapters._objects import lanes

    monkeypatch.setattr(lanes, "_CHECKPOINT_EVERY", 5)
    async with at(server.port, prefix) as adapter:
        while adapter.stats()["checkpoints"] < 2:
            await adapter.commit({"a": b"1" * 1000, "b": b"2"})
    async with at(server.port, prefix) as adapter:
        assert adapter._workers.log.index.number >= 2
        assert (await adapter.fetch(["a", "b"]))["a"].data == b"1" * 1000
        assert len(adapter._workers.bucket.names("data/")) == 1
        cleared = adapter._workers.log.index.cleared
        assert adapter._workers.bucket.read(entry_name(cleared)).size < 100


async def test_what_a_killed_checkpoint_left_is_tidied_up(server, prefix, monkeypatch):
    """It was created, and nothing was cleared; or parts were written, and it was not created."""
    from axiom_persistence.adapters._objects import checkpoint

    async with at(server.port, prefix) as adapter:
        for n in range(5):
            await adapter.commit({"a": b"%d" % n * 1000, "b": b"2"})
        bucket = adapter._workers.bucket
        bucket.put("data/left-behind", b"x")
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "_clear", lambda *_: None)
            assert await asyncio.to_thread(tidy, adapter)
        assert bucket.read(entry_name(5)).size > 1000
        await adapter.commit({"c": b"3"})
        assert await asyncio.to_thread(tidy, adapter)
        assert {bucket.read(entry_name(n)).size < 100 for n in range(1, 7)} == {True}
        assert "data/left-behind" not in bucket.names("data/")
        assert bucket.read(checkpoint_name(1)).data == b"superseded"
        assert (await adapter.fetch(["a"]))["a"].data == b"4" * 1000


async def test_long_work_is_not_cut_off(server, prefix, monkeypatch):
    """A checkpoint and an opening of many keys take longer than one request may; the server does answer."""
    from axiom_persistence.adapters._networked import settle
    from axiom_persistence.adapters._objects import lanes

    def slowly(work):
        def later(*arguments, **options):
            time.sleep(0.2)
            return work(*arguments, **options)

        return later

    monkeypatch.setattr(settle, "_ATTEMPTS", 300)  # a tenth of a second for one of them
    monkeypatch.setattr(lanes, "make_checkpoint", slowly(make_checkpoint))
    monkeypatch.setattr(Log, "open", slowly(Log.open))
    async with at(server.port, prefix) as adapter:
        await adapter.commit({"a": b"1"})
        await adapter.scrub()
        assert adapter.stats()["checkpoints"] == 1


async def test_what_is_purged_is_nowhere(server, prefix):
    """Neither in the log nor in a part, wherever it had been moved to."""
    async with at(server.port, prefix) as adapter:
        await adapter.commit({"secret": b"hunter2" * 10, "other": b"kept"})
        await asyncio.to_thread(tidy, adapter)
        await adapter.purge(["secret"])
        bucket = adapter._workers.bucket
        every = [bucket.read(name).data for name in bucket.names("")]
        assert not any(b"hunter2" in data for data in every)
        assert await adapter.read("other") == b"kept"


async def test_objects_that_vanish_are_told(server, prefix):
    """A rule of the bucket deletes what is old, or somebody does: no value is made up."""
    async with at(server.port, prefix) as adapter:
        await adapter.commit({"a": b"1", "large": b"x" * (2 << 20)})
        await asyncio.to_thread(tidy, adapter)
        bucket = adapter._workers.bucket
        bucket.delete(bucket.names("data/"))
        with pytest.raises(CorruptedDataError, match="is gone from the bucket"):
            await adapter.fetch(["large"])
        bucket.delete(bucket.names("ckpt/"))
    with pytest.raises(CorruptedDataError, match="checkpoint of the store is gone"):
        await at(server.port, prefix).aopen()


# -- stores, processes, loops --------------------------------------------------------------------------


async def test_several_open_a_new_store_at_once(server, prefix):
    """One makes it."""
    adapters = [at(server.port, f"{prefix}-new") for _ in range(3)]
    await asyncio.gather(*(adapter.aopen() for adapter in adapters))
    await asyncio.gather(*(adapter.commit({f"{n}": b""}) for n, adapter in enumerate(adapters)))
    assert len([key async for key in adapters[0].keys("")]) == 3
    await asyncio.gather(*(adapter.aclose() for adapter in adapters))


async def test_opening_at_once_from_many_tasks(server, prefix):
    """One opening stays; the others let go of what they had."""
    adapter = at(server.port, prefix)
    await asyncio.gather(*(adapter.aopen() for _ in range(3)))
    await adapter.commit({"a": b""})
    await adapter.aclose()
    with pytest.raises(CapabilityUnavailableError):
        await adapter.fetch(["a"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_is_refused(tmp_path):
    """The client's threads have not come along; the parent goes on."""
    program = (
        "import asyncio, os\n"
        "from axiom_persistence.adapters.objects import ObjectStoreAdapter\n"
        "from axiom_persistence.errors import CapabilityUnavailableError\n"
        f"adapter = ObjectStoreAdapter({address_at(tmp_path)!r})\n"
        "async def child():\n"
        "    for use in (lambda: adapter.commit({'a': b'child'}), adapter.aopen):\n"
        "        try:\n"
        "            await use()\n"
        "        except CapabilityUnavailableError as error:\n"
        "            assert 'forked' in str(error)\n"
        "        else:\n"
        "            raise AssertionError\n"
        "async def parent():\n"
        "    await adapter.aopen()\n"
        "    await adapter.commit({'a': b'parent'})\n"
        "    if os.fork() == 0:\n"
        "        asyncio.events._set_running_loop(None)\n"
        "        asyncio.run(child())\n"
        "        os._exit(0)\n"
        "    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0\n"
        "    assert await adapter.read('a') == b'parent'\n"
        "    await adapter.aclose()\n"
        "asyncio.run(parent())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


# -- servers that are refused --------------------------------------------------------------------------


@pytest.fixture
def careless():
    """The port of a server that takes conditional requests and ignores the condition."""
    path, port = Path(directory()), free_port()
    (path / BUCKET).mkdir()
    command = [program("rclone"), "serve", "s3", f"--addr=127.0.0.1:{port}", path]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: is_ready(port), [process])
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(path)


async def test_a_server_that_ignores_conditions_is_refused(careless):
    """Else two writers would overwrite each other's commits without a word."""
    with pytest.raises(ConfigurationError, match="ignores If-None-Match") as refusal:
        await at(careless, "x").aopen()
    assert "honours conditional writes" in refusal.value.hint


REFUSED = {
    "wrong secret": (f"s3://{USER}:hunter2@{BUCKET}/x?endpoint=http://127.0.0.1:{{port}}", AccessDeniedError),
    "wrong user": (f"s3://hunter2:hunter2@{BUCKET}/x?endpoint=http://127.0.0.1:{{port}}", AccessDeniedError),
    "no key": (f"s3://{BUCKET}/x?endpoint=http://127.0.0.1:{{port}}&timeout=2", AccessDeniedError),
    "no such bucket": (
        f"s3://{USER}:{SECRET}@elsewhere/x?endpoint=http://127.0.0.1:{{port}}",
        StoreNotFoundError,
    ),
    "nothing there": (
        f"s3://{USER}:hunter2@{BUCKET}/x?endpoint=http://127.0.0.1:1&timeout=1",
        StorageUnavailableError,
    ),
    "no such host": (
        f"s3://{USER}:hunter2@{BUCKET}/x?endpoint=http://no-such-host.invalid&plaintext=true&timeout=1",
        StorageUnavailableError,
    ),
    "their objects": (
        f"s3://{USER}:{SECRET}@{BUCKET}/theirs?endpoint=http://127.0.0.1:{{port}}",
        ForeignStoreError,
    ),
    "their mark": (
        f"s3://{USER}:{SECRET}@{BUCKET}/marked?endpoint=http://127.0.0.1:{{port}}",
        ForeignStoreError,
    ),
    "newer store": (
        f"s3://{USER}:{SECRET}@{BUCKET}/newer?endpoint=http://127.0.0.1:{{port}}",
        SchemaTooNewError,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_at_opening(server, name, caplog, monkeypatch):
    """A clear error, soon, that says what to do and shows no credential."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable, raising=False)
    put = boto(server.port).put_object
    put(Bucket=BUCKET, Key="theirs/photo.jpg", Body=b"x")
    put(Bucket=BUCKET, Key=f"marked/{MARKER}", Body=b"x")
    put(Bucket=BUCKET, Key=f"newer/{MARKER}", Body=b'{"format":2}')
    rest, kind = REFUSED[name]
    adapter = ObjectStoreAdapter(rest.format(port=server.port))
    async with asyncio.timeout(6 * WITHIN_S):  # a busy machine is given time, an endless wait is found
        with pytest.raises(kind) as refusal:
            await adapter.aopen()
    assert type(refusal.value) is kind
    assert refusal.value.hint
    assert "[in ObjectStoreAdapter(s3://" in str(refusal.value)
    chain, shown = (
        refusal.value,
        [repr(adapter), str(adapter), adapter.location, caplog.text, repr(vars(adapter))],
    )
    while chain is not None:
        shown += [str(chain), repr(chain)]
        chain = chain.__cause__ or chain.__context__
    for secret in ("hunter2", SECRET, f"{USER}:"):
        assert secret not in "".join(shown)


async def test_inspecting_makes_nothing(server, prefix):
    """It reads what is there, and refuses where no store is."""
    async with at(server.port, prefix) as adapter:
        await adapter.commit({"a": b"1"})
    async with ObjectStoreAdapter(address(server.port, prefix), inspect=True) as adapter:
        assert await adapter.read("a") == b"1"
    with pytest.raises(StoreNotFoundError, match="there is no store"):
        await ObjectStoreAdapter(address(server.port, "none"), inspect=True).aopen()


def test_what_an_address_promises():
    """Amazon's own keep what they acknowledge; of others the address says it."""
    assert ObjectStoreAdapter("s3://bucket/x").traits.durability == "power_loss"
    theirs = "s3://me:hunter2@bucket/x?endpoint=https://objects.example.org"
    assert ObjectStoreAdapter(theirs).traits.durability == "process_exit"
    adapter = ObjectStoreAdapter(f"{theirs}&durability=power_loss")
    assert adapter.traits.durability == "power_loss"
    assert adapter.location == "s3://bucket/x?endpoint=https://objects.example.org"
