"""Redis where something goes wrong: lost replies, killed servers, late copies, refused servers."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from axiom_persistence import (
    AccessDeniedError,
    ConfigurationError,
    StorageFullError,
    StorageUnavailableError,
    StoreNotFoundError,
    open_persistence,
)
from axiom_persistence.adapters._networked.commit import new_commit_id
from axiom_persistence.adapters.redis import RedisAdapter
from axiom_persistence.errors import CapabilityUnavailableError, ForeignStoreError, SchemaTooNewError
from axiom_persistence.testing import TCPProxy
from support.over_a_proxy import OverAProxy, proxies
from support.redis_server import Redis, directory, program, shared, store_of, told
from support.servers import free_port
from torture.redis import at, changes, failover, kills, listing, lost_replies

WITHIN_S = 5.0


@pytest.fixture
def server():
    return shared()


proxied = proxies(at)


@pytest.fixture
def store(tmp_path):
    return store_of(tmp_path)


def applied(store, server=None):
    """How many commits the log has, without the entry that it begins with."""
    return told("XLEN", f"{{{store}}}:log", server=server) - 1


# -- replies that are lost, and servers that are killed ------------------------------------------------


async def test_lost_replies_are_settled(server, store):
    """100 commits whose reply is lost: no false conflict, no double effect."""
    report = await lost_replies(server, 100, store)
    assert report == {"lost": 100, "false conflicts": 0, "double effects": 0}


async def test_naive_repeats_are_caught(server, store, monkeypatch):
    """A planted bug: each copy of a commit has an id of its own."""
    from axiom_persistence.adapters._redis import lanes

    plain = lanes.commit_command

    def naive(names, commit):
        if commit.is_sent:
            commit.id = new_commit_id()
        return plain(names, commit)

    monkeypatch.setattr(lanes, "commit_command", naive)
    report = await lost_replies(server, 10, store)
    assert report["false conflicts"] >= 8  # a reply may be lost before the commit itself was sent


async def test_two_copies_at_once_are_one_commit(server, store):
    """The server gets the second while the first still waits in its socket: applied once."""
    own = Redis(directory()).start()
    try:
        async with proxied(own, store, timeout=20) as (proxy, adapter):
            version = (await adapter.commit({"n": b"1"}))["n"]
            own.freeze()
            commit = asyncio.create_task(adapter.commit({"n": b"2"}, expect={"n": version}))
            trips = proxy.trips
            while proxy.trips == trips:
                await asyncio.sleep(0.01)
            connections = proxy.connections
            proxy.cut()  # the client comes again, while the first copy waits to be read
            while proxy.connections == connections:
                await asyncio.sleep(0.01)
            own.thaw()
            assert await commit == {"n": (await adapter.fetch(["n"]))["n"].version}
        assert applied(store, own) == 2
    finally:
        own.stop()


class TestOnTheWay(OverAProxy):
    """What every adapter of a server withstands."""

    at = staticmethod(at)
    proxied = staticmethod(proxied)
    cuts = range(1, 17 * 40, 17)

    @pytest.fixture
    def place(self, store):
        return store

    async def applied(self, server, place):
        return applied(place)


async def test_reads_of_absent_keys_are_protected(server, store):
    """Two commits at once that each rely on the absence of what the other writes: one goes ahead."""
    async with at(server.port, store) as first, at(server.port, store) as second:
        for n in range(100):
            a, b = f"a{n}", f"b{n}"
            outcomes = await asyncio.gather(
                first.commit({a: b""}, expect={b: None}),
                second.commit({b: b""}, expect={a: None}),
                return_exceptions=True,
            )
            assert sum(isinstance(outcome, dict) for outcome in outcomes) == 1


async def test_a_killed_server_loses_nothing(record_property):
    """SIGKILL under 8 tasks: nothing acknowledged is lost, nothing is done twice."""
    own = Redis(directory()).start()
    try:
        report = await kills(own, 10)
    finally:
        own.stop()
    record_property("told", f"redis: {report}")
    assert (report["lost"], report["twice"], report["unsettled"], report["kills"]) == (0, 0, 0, 10)


async def test_scripts_that_are_thrown_away_are_loaded_again(server, store):
    """SCRIPT FLUSH, as a restart or a failover does it, between two commits and in a hundred at once."""
    async with at(server.port, store) as adapter:
        for n in range(3):
            told("SCRIPT", "FLUSH")
            await asyncio.gather(*(adapter.commit({f"{k}": b"%d" % n}) for k in range(100)))
        assert applied(store) == 300


# -- round trips ---------------------------------------------------------------------------------------


async def test_round_trips_are_counted(server, store):
    """A save costs one, 100 keys one, a transaction of two reads and two writes three."""
    async with TCPProxy("127.0.0.1", server.port, delay=0.01) as proxy:
        address = f"redis://127.0.0.1:{proxy.port}/0?store={store}"
        async with open_persistence(address) as persistence:

            async def transact():
                async with persistence.transaction() as tx:
                    a, b = await tx.load("a", int, default=0), await tx.load("b", int, default=0)
                    await tx.save("a", a + 1)
                    await tx.save("b", b + 1)

            async def trips(work):
                before = proxy.trips
                await work()
                return proxy.trips - before

            keys = [f"k{n}" for n in range(100)]
            await persistence.save_many(dict.fromkeys(keys, 1))
            await transact()
            assert await trips(lambda: persistence.save("a", 5)) == 1
            assert await trips(lambda: persistence.load("a", int)) == 1
            assert await trips(lambda: persistence.load_many(keys, int)) == 1
            assert await trips(transact) == 3


async def test_a_hundred_savers_share_requests(server, store):
    """One waits for its own request; the others go together."""
    async with at(server.port, store) as adapter:
        await asyncio.gather(*(adapter.commit({f"{n}": b"x"}) for n in range(100)))
        stats = adapter.stats()
        assert stats["commits"] == 100
        assert stats["requests"] <= 3


# -- changes -------------------------------------------------------------------------------------------


async def test_no_change_is_missed(server, store):
    """Two writers, 1,000 commits, and a reader that is cut off and comes back."""
    report = await changes(server, 1000, store)
    assert report["missed"] == 0
    assert report["cuts"] >= 2


async def test_a_stream_tells_what_others_do(server, store):
    """Saved, deleted and own; and again after the connection was cut."""
    address = f"{server.address}?store={store}"
    async with open_persistence(address) as theirs, TCPProxy("127.0.0.1", server.port) as proxy:
        mine = f"redis://127.0.0.1:{proxy.port}/0?store={store}"
        async with open_persistence(mine) as persistence:
            await theirs.save("gone", 1)
            stream = persistence.changes()
            await persistence.save("own", 1)
            first = asyncio.create_task(anext(stream))
            assert (await first).key == "own"
            for n in range(3):
                await theirs.save_many({f"{n}/{k}": k for k in range(20)})
                seen = {(await anext(stream)).key for _ in range(20)}
                assert seen == {f"{n}/{k}" for k in range(20)}
                proxy.cut()
            await theirs.delete("gone")
            last = await anext(stream)
            assert (last.key, last.version, last.origin) == ("gone", None, "process")
            await stream.aclose()


async def test_a_log_that_does_not_go_on_says_so(server, store):
    """It was cut before the mark, or a failover lost the mark's commit: then any key may have changed."""
    async with at(server.port, store) as adapter:
        mark = (await adapter.changed(None)).mark
        await adapter.commit({"a": b""})
        found = await adapter.changed(mark)
        assert found.keys == {"a"}
        assert (await adapter.changed(found.mark)).keys == frozenset()
        place, _, _ = found.mark.partition("@")
        assert (await adapter.changed(f"{place}@{new_commit_id()}")).keys is None
        told("XTRIM", f"{{{store}}}:log", "MAXLEN", 1)
        assert (await adapter.changed(mark)).keys is None
        await adapter.commit({f"{n:0>500}": b"" for n in range(100)})  # more than the log names
        assert (await adapter.changed(found.mark)).keys is None
        told("DEL", f"{{{store}}}:log")
        empty = (await adapter.changed(found.mark)).mark
        await adapter.commit({"a": b""})
        assert (await adapter.changed(empty)).keys is None


async def test_notes_of_commits_go_by_themselves(server, store):
    """So the server's memory holds those of minutes, not of ever."""
    async with at(server.port, store, timeout=5) as adapter:
        version = (await adapter.commit({"a": b""}))["a"]
        assert 0 < told("TTL", f"{{{store}}}:note:{version}") <= 80
        await adapter.commit({}, expect={"a": version})
        assert len(told("KEYS", f"{{{store}}}:note:*")) == 1


# -- lifecycle -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_opens_it_again(server, store):
    """The sockets are its parent's; it is told so, and the parent goes on."""
    program = (
        "import asyncio, os, sys\n"
        "from axiom_persistence import CapabilityUnavailableError, RedisAdapter\n"
        f"adapter = RedisAdapter({f'{server.address}?store={store}'!r})\n"
        "async def child():\n"
        "    try:\n"
        "        await adapter.read('a')\n"
        "    except CapabilityUnavailableError:\n"
        "        await adapter.aopen()\n"
        "        await adapter.write('b', b'2')\n"
        "        os._exit(0)\n"
        "    os._exit(1)\n"
        "async def parent():\n"
        "    await adapter.aopen()\n"
        "    await adapter.write('a', b'1')\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        asyncio.events._set_running_loop(None)\n"
        "        asyncio.run(child())\n"
        "    _, status = await asyncio.to_thread(os.waitpid, pid, 0)\n"
        "    assert os.waitstatus_to_exitcode(status) == 0\n"
        "    assert await adapter.read('a') == b'1' and await adapter.read('b') == b'2'\n"
        "    await adapter.aclose()\n"
        "asyncio.run(parent())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_nothing_is_left_open():
    """Closing hangs up on every loop; the server sees no connection of ours any more."""
    own = Redis(directory()).start()
    try:
        async with at(own.port, "notes") as adapter:
            await asyncio.gather(*(adapter.fetch([f"{n}"]) for n in range(20)), adapter.commit({"a": b""}))
            await asyncio.to_thread(lambda: asyncio.run(adapter.commit({"b": b""})))
            await adapter.wait_for_change(0.01)
        with pytest.raises(CapabilityUnavailableError):
            await adapter.fetch(["a"])
        while len(told("CLIENT LIST", server=own)) > 1:  # the one that asks
            await asyncio.sleep(0.01)
    finally:
        own.stop()


async def test_opening_at_once_from_many_tasks(server, store):
    """One opening stays; the others let go of what they had. There is one store, begun once."""
    adapter = at(server.port, store)
    await asyncio.gather(*(adapter.aopen() for _ in range(5)), at(server.port, store).aopen())
    await adapter.commit({"a": b""})
    await adapter.aclose()
    assert applied(store) == 1


async def test_listing_in_pages(server):
    """All keys, in order; the torture lists a million."""
    report = await listing(server, 5000)
    assert (report["keys"], report["in order"]) == (5000, True)


async def test_over_a_socket_of_this_machine(store):
    """Its path stands where a host does, percent-encoded."""
    own = Redis(directory(), port="0")
    own.settings["unixsocket"] = f"{own.directory}/s"
    own.start()
    path = f"{own.directory}/s".replace("/", "%2F")
    try:
        async with RedisAdapter(f"redis://{path}/0?store={store}") as adapter:
            await adapter.commit({"a": b"1"})
            assert await adapter.read("a") == b"1"
    finally:
        own.stop()


# -- several servers -----------------------------------------------------------------------------------


async def test_a_cluster_keeps_a_store_on_one_node():
    """Whichever node is named; commits and fetches of many keys; never CROSSSLOT; a store that moves."""
    nodes = [Redis(directory(), cluster_enabled="yes", cluster_port=str(free_port())) for _ in range(3)]
    try:
        for node in nodes:
            node.start()
        command = [program("redis-cli"), "--cluster", "create", "--cluster-yes"]
        command += [f"127.0.0.1:{node.port}" for node in nodes]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        for node in nodes:
            while b"cluster_state:ok" not in told("CLUSTER", "INFO", server=node):
                await asyncio.sleep(0.02)
        holders = set()
        for name in ("one", "two", "three", "four", "five"):
            for node in nodes:
                async with at(node.port, name) as adapter:
                    found = await adapter.fetch([f"{n}" for n in range(50)])
                    expected = {f"{n}": found[f"{n}"].version if found else None for n in range(50)}
                    await adapter.commit({f"{n}": b"x" for n in range(50)}, expect=expected)
                    assert [key async for key in adapter.keys("4")] == ["4", *(f"4{n}" for n in range(10))]
                    holders.add(adapter._lanes().writing._raw.port)
                    with pytest.raises(ConfigurationError, match="no database of that number"):
                        await RedisAdapter(f"redis://127.0.0.1:{node.port}/1").aopen()
        assert holders == {node.port for node in nodes}
        first = ",".join(f"127.0.0.1:{port}" for port in (1, nodes[0].port))
        async with RedisAdapter(f"redis://{first}/0?store=one") as adapter:
            assert len(await adapter.fetch([f"{n}" for n in range(50)])) == 50
    finally:
        for node in nodes:
            node.stop()


async def test_failover_by_sentinels(record_property):
    """The new primary is found. What it had not got is lost and seen; no value is one that nobody wrote."""
    report = await failover(200, behind=True)
    record_property("told", f"redis, failover to a replica that was behind: {report}")
    assert report["wrong"] == 0
    assert report["lost"] >= 4
    assert report["acknowledged"] >= 4 * 200


async def test_replicas_are_waited_for(store):
    """Where the address says so: a commit that no replica has is sent again, and not acknowledged."""
    primary = Redis(directory()).start()
    replica = Redis(directory(), replicaof=f"127.0.0.1 {primary.port}").start()
    try:
        adapter = at(primary.port, store, replicas=1, timeout=3)
        while True:
            try:
                await adapter.aopen()
                break
            except StorageUnavailableError:
                await asyncio.sleep(0.05)  # it has 0 replicas yet
        assert adapter.stats()["replicas"] == 1
        await adapter.commit({"a": b"1"})
        with pytest.raises(AccessDeniedError, match="is a replica"):
            await RedisAdapter(f"{replica.address}?store={store}").aopen()
        async with RedisAdapter(f"{replica.address}?store={store}", inspect=True) as reading:
            assert await reading.read("a") == b"1"
        with pytest.raises(StoreNotFoundError, match="there is no store"):
            await RedisAdapter(f"{replica.address}?store=none", inspect=True).aopen()
        both = f"redis://127.0.0.1:{replica.port},127.0.0.1:{primary.port}/0?store={store}"
        async with RedisAdapter(both) as other:  # the one that takes writes is found
            await other.commit({"b": b"1"})
        replica.freeze()
        with pytest.raises(StorageUnavailableError, match="0 of 1 replicas have it") as refusal:
            await adapter.commit({"a": b"2"})
        assert refusal.value.indeterminate
        replica.thaw()
        while True:
            try:
                await adapter.commit({"a": b"3"})
                break
            except StorageUnavailableError:
                continue  # it takes a moment to follow again
        assert await adapter.read("a") == b"3"
        await adapter.aclose()
    finally:
        replica.stop()
        primary.stop()


# -- servers that are refused --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd():
    """Servers that may lose what they acknowledged, throw records away, want passwords, or offer TLS."""
    secret = Redis(directory())
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    certificate += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    certificate += ["-keyout", secret.directory / "key", "-out", secret.directory / "crt"]
    subprocess.run(certificate, check=True, capture_output=True)
    secret.settings |= {"port": "0", "tls-port": str(secret.port), "tls-auth-clients": "no"}
    secret.settings |= {"tls-key-file": f"{secret.directory}/key", "tls-cert-file": f"{secret.directory}/crt"}
    servers = {
        "tls": secret,
        "everysec": Redis(directory(), appendfsync="everysec"),
        "rewrites": Redis(directory(), no_appendfsync_on_rewrite="yes"),
        "forgets": Redis(directory(), appendonly="no"),
        "cache": Redis(directory(), maxmemory="100mb", maxmemory_policy="allkeys-lru"),
    }
    try:
        for server in servers.values():
            server.start()
        with servers["everysec"].client() as client:
            client.set("{theirs}:store", "something")
            client.set("{newer}:store", "axiom-persistence 2")
            client.lpush("{list}:store", "x")
            for name, rights in {"reader": "+@read +@connection +info", "managed": "+@all -config"}.items():
                client.execute_command("ACL", "SETUSER", name, "on", ">swordfish", "~*", *rights.split())
        yield {name: server.port for name, server in servers.items()}
    finally:
        for server in servers.values():
            server.stop()


REFUSED = {
    "wrong password": ("reader:hunter2@127.0.0.1:{everysec}/0?durability=process_exit", AccessDeniedError),
    "no password wanted": (":hunter2@127.0.0.1:{everysec}/0", AccessDeniedError),
    "may not write": ("reader:swordfish@127.0.0.1:{everysec}?durability=process_exit", AccessDeniedError),
    "nothing there": (":hunter2@127.0.0.1:1/0", StorageUnavailableError),
    "no such host": (":hunter2@no-such-host.invalid/0?sslmode=disable", StorageUnavailableError),
    "no such database": ("managed:swordfish@127.0.0.1:{everysec}/99", ConfigurationError),
    "everysec": ("managed@127.0.0.1:{everysec}/0", AccessDeniedError),
    "synced each second": ("127.0.0.1:{everysec}/0", ConfigurationError),
    "not synced at times": ("127.0.0.1:{rewrites}/0", ConfigurationError),
    "not kept": ("127.0.0.1:{forgets}/0?durability=process_exit", ConfigurationError),
    "thrown away": ("127.0.0.1:{cache}/0", ConfigurationError),
    "settings not told": ("managed:swordfish@127.0.0.1:{everysec}/0", ConfigurationError),
    "theirs": ("127.0.0.1:{everysec}/0?durability=process_exit&store=theirs", ForeignStoreError),
    "of another kind": ("127.0.0.1:{everysec}/0?durability=process_exit&store=list", ForeignStoreError),
    "newer": ("127.0.0.1:{everysec}/0?durability=process_exit&store=newer", SchemaTooNewError),
    "no replica": ("127.0.0.1:{everysec}/0?durability=process_exit&replicas=1", StorageUnavailableError),
    "no sentinel": ("127.0.0.1:{everysec}/0?durability=process_exit&sentinel=notes", StorageUnavailableError),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_at_opening(odd, name, caplog):
    """A clear error, soon, that says what to do and shows no credential."""
    rest, kind = REFUSED[name]
    adapter = RedisAdapter(f"redis://{rest.format(**odd)}")
    async with asyncio.timeout(6 * WITHIN_S):  # a busy machine is given time, an endless wait is found
        with pytest.raises(kind) as refusal:
            await adapter.aopen()
    assert type(refusal.value) is kind
    assert refusal.value.hint
    assert "[in RedisAdapter(redis://" in str(refusal.value)
    check_secrets(refusal.value, adapter, caplog)


def check_secrets(error, adapter, caplog):
    shown = [repr(adapter), str(adapter), adapter.location, caplog.text, repr(vars(adapter))]
    while error is not None:
        shown += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    assert "hunter2" not in "".join(shown)
    assert "swordfish" not in "".join(shown)


@pytest.mark.parametrize(
    "rest",
    [
        "127.0.0.1:{everysec}/0?durability=process_exit",
        "managed:swordfish@127.0.0.1:{everysec}/0?durability=power_loss",  # it does not tell, and is believed
        "127.0.0.1:{forgets}/0?durability=memory",
    ],
)
async def test_a_server_that_may_lose_is_taken_where_that_is_asked_for(odd, rest):
    """The promise is smaller then."""
    async with RedisAdapter(f"redis://{rest.format(**odd)}") as adapter:
        assert adapter.traits.durability == rest.rpartition("=")[2]
        await adapter.commit({"a": b"1"})
        assert await adapter.read("a") == b"1"
        assert "swordfish" not in f"{adapter!r} {adapter} {vars(adapter)}"


async def test_the_rights_on_the_page_are_enough(server, store):
    """docs/redis.md names them; the store of somebody else is out of reach."""
    page = (Path(__file__).parents[2] / "docs" / "redis.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"ACL SETUSER me (.*?)```", page, re.DOTALL)
    told("ACL", "SETUSER", store, *words.replace("{settings}", f"{{{store}}}").split())
    address = f"redis://{store}:secret@127.0.0.1:{server.port}/0?store={store}&replicas=0"
    async with open_persistence(address) as persistence:
        stream = persistence.changes()
        await persistence.save_many({"a": 1, "b": 2})
        assert (await anext(stream)).key in ("a", "b")
        await stream.aclose()
        assert await persistence.update("a", int, lambda n: n + 1) == 2
        assert await persistence.delete_prefix("a") == 1
        assert [key async for key in persistence.keys("")] == ["b"]
        assert await persistence.verify()
    with pytest.raises(AccessDeniedError):
        await RedisAdapter(address.replace(f"store={store}", "store=other")).aopen()
    told("ACL", "DELUSER", store)


async def test_tls_is_checked(odd, caplog):
    """The authority has to be known, and the name to be right; plain text is for this machine."""
    place = f"localhost:{odd['tls']}/0"
    unknown = RedisAdapter(f"rediss://:hunter2@{place}")
    with pytest.raises(ConfigurationError, match="no trusted TLS connection") as refusal:
        await unknown.aopen()
    check_secrets(refusal.value, unknown, caplog)
    with pytest.raises(StorageUnavailableError, match=r"whether that port takes TLS"):
        await RedisAdapter(f"rediss://localhost:{odd['forgets']}/0").aopen()
    async with RedisAdapter(f"rediss://{place}?sslmode=require") as adapter:
        await adapter.commit({"a": b"1"})
    with pytest.raises(ConfigurationError, match="in plain text"):
        RedisAdapter("redis://me@db.example.org/0")
    assert RedisAdapter("redis://me@db.example.org/0?sslmode=disable")._place.tls is None
    assert RedisAdapter("rediss://me@db.example.org/0")._place.tls.check_hostname


async def test_a_full_memory_changes_nothing(odd, store):
    """Nor half of a commit; what is deleted makes room."""
    own = Redis(directory(), maxmemory="8mb").start()
    try:
        async with at(own.port, store) as adapter:
            n, refusal = 0, None
            while refusal is None:
                n += 1
                try:
                    await adapter.commit({f"{n}": b"x" * 100_000, "last": b"%d" % n})
                except StorageFullError as error:
                    refusal = error
            assert refusal.key == f"{n}"
            found = await adapter.fetch([f"{n}", "last"])
            assert {key: stored.data for key, stored in found.items()} == {"last": b"%d" % (n - 1)}
            assert [key async for key in adapter.keys(f"{n}")] == []
            assert await adapter.delete_prefix("1") > 0
            await adapter.commit({"last": b"again"})
    finally:
        own.stop()


async def test_a_store_that_vanishes_is_told(server, store):
    """While it is open: FLUSHALL, or a restart without a log. Nothing is made anew behind its back."""
    async with at(server.port, store) as adapter:
        await adapter.commit({"a": b""})
        told("DEL", f"{{{store}}}:store")
        for use in (lambda: adapter.fetch(["a"]), lambda: adapter.commit({"a": b""})):
            with pytest.raises(StoreNotFoundError, match="the store is gone"):
                await use()


async def test_a_value_of_somebody_else_is_told(server, store):
    """It is of another kind; a commit that meets it changes nothing."""
    async with at(server.port, store) as adapter:
        await adapter.commit({"a": b"1"})
        told("LPUSH", f"{{{store}}}:record:b", "x")
        with pytest.raises(ForeignStoreError, match="value of another kind"):
            await adapter.commit({"a": b"2"}, expect={"b": None})
        assert await adapter.read("a") == b"1"
