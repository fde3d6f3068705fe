"""PostgreSQL where something goes wrong: lost replies, killed servers, late copies, refused servers."""

import asyncio
import os
import subprocess
import sys

import asyncpg
import pytest

from axiom_persistence import (
    AccessDeniedError,
    ConfigurationError,
    ConflictError,
    StorageError,
    StorageUnavailableError,
    StoreNotFoundError,
    open_persistence,
)
from axiom_persistence.adapters._networked.commit import new_commit_id
from axiom_persistence.adapters.postgres import PostgresAdapter
from axiom_persistence.errors import CapabilityUnavailableError, ForeignStoreError, SchemaTooNewError
from axiom_persistence.testing import TCPProxy
from support.over_a_proxy import OverAProxy, proxies
from support.postgres import USER, PgBouncer, Postgres, address_at, directory, shared, sql, table_of
from torture.postgres import at, changes, kills, listing, lost_replies

WITHIN_S = 5.0


@pytest.fixture
def server():
    return shared()


def silent(adapter):
    adapter._lanes().changes.announce = lambda: None  # it would be what is lost, or counted


proxied = proxies(at, silent)


@pytest.fixture
def table(tmp_path):
    return table_of(tmp_path)


# -- replies that are lost, and servers that are killed ------------------------------------------------


async def test_lost_replies_are_settled(server, table):
    """100 commits whose reply is lost: no false conflict, no double effect."""
    report = await lost_replies(server, 100, table)
    assert report == {"lost": 100, "false conflicts": 0, "double effects": 0}


async def test_naive_repeats_are_caught(server, table, monkeypatch):
    """A planted bug: each copy of a commit has an id of its own."""
    from axiom_persistence.adapters._postgres.lanes import Lanes

    plain = Lanes._ask

    async def naive(self, commits):
        for commit in commits:
            if commit.is_sent:
                commit.id, commit.is_sent = new_commit_id(), False
        await plain(self, commits)

    monkeypatch.setattr(Lanes, "_ask", naive)
    report = await lost_replies(server, 10, table)
    assert report["false conflicts"] >= 8  # a reply may be lost before the commit itself was sent


async def test_fetching_to_compare_is_caught(server, table, monkeypatch):
    """A planted bug: a lost reply is settled by a look at the record, which may be overwritten since."""
    from axiom_persistence.adapters._postgres.lanes import Lanes

    plain = Lanes._ask

    async def comparing(self, commits):
        (commit,) = commits
        if commit.is_sent:
            stored = (await self.fetches.fetch([commit.key])).get(commit.key)
            if stored is not None and stored.version == commit.id:
                commit.applied()
            else:
                commit.conflicts([commit.key], "it")
            return
        await plain(self, commits)

    async def once():
        async with proxied(server, table) as (proxy, adapter), at(server.port, table) as other:
            version = (await adapter.commit({"a": b"0"}))["a"]
            version = (await adapter.commit({"a": b"0"}, expect={"a": version}))["a"]  # prepared by now
            proxy.lose_replies()
            commit = asyncio.create_task(adapter.commit({"a": b"1"}, expect={"a": version}))
            while not proxy.lost:
                await asyncio.sleep(0)
            proxy.freeze()  # the second copy waits
            await other.commit({"a": b"2"})
            proxy.thaw()
            return await commit

    assert await once()
    monkeypatch.setattr(Lanes, "_ask", comparing)
    with pytest.raises(ConflictError):
        await once()


async def test_two_copies_at_once_are_one_commit(server, table):
    """The first is still under way, blocked on a lock, when the second arrives: applied once."""
    async with at(server.port, table) as setting:
        version = (await setting.commit({"n": b"1"}))["n"]
    async with proxied(server, table, timeout=9) as (proxy, adapter):
        await adapter.fetch(["n"])
        blocker = await asyncpg.connect(server.address)
        lock = blocker.transaction()
        await lock.start()
        await blocker.execute(f"SELECT * FROM {table} WHERE key = 'n' FOR UPDATE")
        commit = asyncio.create_task(adapter.commit({"n": b"2"}, expect={"n": version}))
        while not await sql(server, "SELECT 1 FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        proxy.cut()  # the client sends again, while the server goes on waiting for the first copy
        while len(await sql(server, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")) < 2:
            await asyncio.sleep(0.01)
        await lock.commit()
        await blocker.close()
        assert await commit == {"n": (await adapter.fetch(["n"]))["n"].version}
    rows = await sql(server, f"SELECT count(*) AS n FROM {table}_log WHERE ok")
    assert rows[0]["n"] == 2


class TestOnTheWay(OverAProxy):
    """What every adapter of a server withstands."""

    at = staticmethod(at)
    proxied = staticmethod(proxied)
    cuts = range(1, 3 * 40, 3)

    @pytest.fixture
    def place(self, table):
        return table

    async def applied(self, server, place):
        return (await sql(server, f"SELECT count(*) AS n FROM {place}_log WHERE ok"))[0]["n"]


async def skew(server, table, rounds):
    """Two commits at once that each rely on the absence of what the other writes; who won, each time.

    Both wait for a row that somebody holds, so each has begun before the other has committed.
    """
    holder = await asyncpg.connect(server.address)
    won = []
    async with at(server.port, table) as first, at(server.port, table) as second:
        held = await first.commit({"Held": b""})
        for n in range(rounds):
            a, b = f"a{n}", f"b{n}"
            lock = holder.transaction()
            await lock.start()
            await holder.execute(f"SELECT FROM {table} WHERE key = 'Held' FOR UPDATE")
            commits = asyncio.gather(
                first.commit({a: b""}, expect={b: None} | held),
                second.commit({b: b""}, expect={a: None} | held),
                return_exceptions=True,
            )
            while len(await sql(server, "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'")) < 2:
                await asyncio.sleep(0.001)
            await lock.rollback()
            won.append(sum(isinstance(outcome, dict) for outcome in await commits))
    await holder.close()
    return won


async def test_reads_of_absent_keys_are_protected(server, table):
    """One of the two goes ahead, never both, and never none."""
    assert await skew(server, table, 20) == [1] * 20


async def test_unprotected_absence_is_caught(server, table, monkeypatch):
    """A planted bug: only keys that are written get a row, so nothing stands for an absence."""
    from axiom_persistence.adapters._postgres import lanes

    plain = lanes._puts

    def unprotected(commits):
        ids, keys, *puts = plain(commits)
        changed = {key for commit in commits for key in commit.changes}
        rows = [row for row in zip(*puts, strict=True) if row[1] in changed]
        return [ids, keys, *lanes._columns(rows)]

    monkeypatch.setattr(lanes, "_puts", unprotected)
    assert 2 in await skew(server, table, 20)


async def test_a_killed_server_loses_nothing(record_property):
    """SIGKILL to all of it, under 8 tasks: nothing acknowledged is lost, nothing is done twice."""
    own = Postgres(directory()).start()
    try:
        report = await kills(own, 10)
    finally:
        own.stop()
    record_property("told", f"postgres: {report}")
    assert (report["lost"], report["twice"], report["unsettled"], report["kills"]) == (0, 0, 0, 10)


# -- round trips ---------------------------------------------------------------------------------------


async def test_round_trips_are_counted(server, table):
    """A save costs one, 100 keys one, a transaction of two reads and two writes three."""
    async with TCPProxy("127.0.0.1", server.port, delay=0.01) as proxy:
        address = f"postgresql://{USER}@127.0.0.1:{proxy.port}/postgres?table={table}"
        async with open_persistence(address) as persistence:

            async def transact():
                async with persistence.transaction() as tx:
                    a, b = await tx.load("a", int, default=0), await tx.load("b", int, default=0)
                    await tx.save("a", a + 1)
                    await tx.save("b", b + 1)

            async def trips(work):
                counts = []
                for _ in range(3):  # the notice of what was before may still come
                    await asyncio.sleep(0.3)
                    before = proxy.trips
                    await work()
                    counts.append(proxy.trips - before)
                return min(counts)

            keys = [f"k{n}" for n in range(100)]
            await persistence.save_many(dict.fromkeys(keys, 1))
            await transact()
            await persistence.save("a", 4)  # statements are prepared by now
            await persistence.load_many(keys, int)
            assert await trips(lambda: persistence.save("a", 5)) == 1
            assert await trips(lambda: persistence.load("a", int)) == 1
            assert await trips(lambda: persistence.load_many(keys, int)) == 1
            assert await trips(transact) == 3


async def test_a_hundred_savers_share_requests(server, table):
    """One waits for its own request; the others go together."""
    async with at(server.port, table) as adapter:
        await asyncio.gather(*(adapter.commit({f"{n}": b"x"}) for n in range(100)))
        stats = adapter.stats()
        assert stats["commits"] == 100
        assert stats["requests"] <= 3


# -- changes -------------------------------------------------------------------------------------------


async def test_no_change_is_missed(server):
    """Two writers, 1,000 commits, and a reader that is cut off and comes back."""
    report = await changes(server, 1000)
    assert report["missed"] == 0
    assert report["cuts"] >= 2


async def test_a_stream_tells_what_others_do(server, table):
    """Saved, deleted and own; and again after the connection was cut."""
    address = f"{server.address}?table={table}"
    async with open_persistence(address) as theirs, TCPProxy("127.0.0.1", server.port) as proxy:
        mine = f"postgresql://{USER}@127.0.0.1:{proxy.port}/postgres?table={table}"
        async with open_persistence(mine) as persistence:
            await theirs.save("gone", 1)
            stream = persistence.changes()
            await persistence.save("own", 1)
            first = asyncio.create_task(anext(stream))
            assert (await first).key == "own"
            for n in range(3):
                await theirs.save_many({f"{n}/{k}": k for k in range(20)})
                told = {(await anext(stream)).key for _ in range(20)}
                assert told == {f"{n}/{k}" for k in range(20)}
                proxy.cut()
            await theirs.delete("gone")
            told = await anext(stream)
            assert (told.key, told.version, told.origin) == ("gone", None, "process")
            await stream.aclose()


async def test_a_mark_that_is_too_old_says_so(server, table):
    """Then any key may have changed, and a stream compares everything."""
    async with at(server.port, table) as adapter:
        mark = (await adapter.changed(None)).mark
        await adapter.commit({"a": b""})
        assert (await adapter.changed(mark)).keys == {"a"}
        number, _, then = mark.partition("@")
        assert (await adapter.changed(f"{number}@{float(then) - 4000}")).keys is None
        assert (await adapter.changed(f"{2**40}@{then}")).keys is None


async def test_old_commits_are_forgotten(server, table):
    """And the rows that stood for what is absent; nothing younger than an hour, and nothing that is there."""
    async with at(server.port, table) as adapter:
        await adapter.commit({"kept": b"1", "gone": b"1", "late": b"1"})
        await adapter.commit({"gone": None})
        await sql(server, f"UPDATE {table} SET at = now() - interval '2 hours'")
        await sql(server, f"UPDATE {table}_log SET at = now() - interval '2 hours'")
        await adapter.commit({"late": None})
        await adapter._lanes()._sweep()
        assert [row["key"] for row in await sql(server, f"SELECT key FROM {table} ORDER BY key")] == [
            "kept",
            "late",
        ]
        assert len(await sql(server, f"SELECT 1 FROM {table}_log")) == 1
        assert await adapter.read("kept") == b"1"


# -- tables, processes, loops --------------------------------------------------------------------------


async def test_many_open_a_new_store_at_once(server, table):
    """One makes the tables, in a schema that is new, too."""
    adapters = [at(server.port, "x", schema=table) for _ in range(12)]
    await asyncio.gather(*(adapter.aopen() for adapter in adapters))
    await asyncio.gather(*(adapter.commit({f"{n}": b""}) for n, adapter in enumerate(adapters)))
    assert len([key async for key in adapters[0].keys("")]) == 12
    await asyncio.gather(*(adapter.aclose() for adapter in adapters))


async def test_stores_of_one_database_are_apart(server, table):
    """By table and by schema, whatever characters are in their names."""
    names = [{"table": table}, {"table": f"{table}%20é;--"}, {"schema": f"{table}%7Bx%7D"}]
    addresses = [
        f"{server.address}?" + "&".join(f"{key}={name}" for key, name in each.items()) for each in names
    ]
    for n, address in enumerate(addresses):
        async with PostgresAdapter(address) as adapter:
            await adapter.commit({"a": b"%d" % n})
    for n, address in enumerate(addresses):
        async with PostgresAdapter(address) as adapter:
            assert await adapter.read("a") == b"%d" % n


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_opens_its_own(tmp_path):
    """It is refused what it inherited, opens anew, and its parent goes on."""
    program = (
        "import asyncio, os\n"
        "from axiom_persistence.adapters.postgres import PostgresAdapter\n"
        "from axiom_persistence.errors import CapabilityUnavailableError\n"
        f"adapter = PostgresAdapter({address_at(tmp_path)!r})\n"
        "async def child():\n"
        "    try:\n"
        "        await adapter.commit({'a': b'child'})\n"
        "    except CapabilityUnavailableError as error:\n"
        "        assert 'forked' in str(error)\n"
        "    await adapter.aopen()\n"
        "    await adapter.commit({'a': b'child'})\n"
        "    await adapter.aclose()\n"
        "async def parent():\n"
        "    await adapter.aopen()\n"
        "    await adapter.commit({'a': b'parent'})\n"
        "    if os.fork() == 0:\n"
        "        asyncio.events._set_running_loop(None)\n"
        "        asyncio.run(child())\n"
        "        os._exit(0)\n"
        "    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0\n"
        "    assert await adapter.read('a') == b'child'\n"
        "    await adapter.commit({'a': b'parent'})\n"
        "    await adapter.aclose()\n"
        "asyncio.run(parent())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_nothing_is_left_open(server, table):
    """Closing hangs up on every loop; the server sees no connection of ours any more."""
    async with at(server.port, table) as adapter:
        await asyncio.gather(*(adapter.fetch([f"{n}"]) for n in range(20)), adapter.commit({"a": b""}))
        await asyncio.to_thread(lambda: asyncio.run(adapter.commit({"b": b""})))
        await adapter.wait_for_change(0.01)
    with pytest.raises(CapabilityUnavailableError):
        await adapter.fetch(["a"])
    asked = f"SELECT 1 FROM pg_stat_activity WHERE query LIKE '%{table}%' AND pid <> pg_backend_pid()"
    while await sql(server, asked):
        await asyncio.sleep(0.01)


async def test_through_pgbouncer(server, table):
    """In transaction mode: counted exactly, listed, changes seen; nothing is set or prepared in a session."""
    bouncer = PgBouncer(directory(), server)
    try:
        async with PostgresAdapter(f"{bouncer.address}&table={table}") as adapter:
            mark = (await adapter.changed(None)).mark

            async def count():
                for _ in range(5):
                    while True:
                        found = (await adapter.fetch(["n"])).get("n")
                        old = (0, None) if found is None else (int(found.data), found.version)
                        try:
                            await adapter.commit({"n": b"%d" % (old[0] + 1)}, expect={"n": old[1]})
                            break
                        except ConflictError:
                            continue

            await asyncio.gather(*(count() for _ in range(6)))
            assert await adapter.read("n") == b"30"
            assert [key async for key in adapter.keys("")] == ["n"]
            await adapter.wait_for_change(0.01)
            assert (await adapter.changed(mark)).keys == {"n"}
    finally:
        bouncer.stop()


async def test_listing_beside_what_no_key_has(server, table):
    """NUL is in no key and no text of the server; it has its place in the order all the same."""
    async with at(server.port, table) as adapter:
        await adapter.commit(dict.fromkeys(["a", "a\1", "b"], b""))
        assert [key async for key in adapter.keys("a\0")] == []
        assert [key async for key in adapter.keys("", after="a\0z")] == ["a\1", "b"]
        assert [key async for key in adapter.keys("", after="a\0z", reverse=True)] == ["a"]
        assert [key async for key in adapter.keys("", after="\0")] == ["a", "a\1", "b"]


async def test_opening_at_once_from_many_tasks(server, table):
    """One opening stays; the others let go of what they had."""
    adapter = at(server.port, table)
    await asyncio.gather(*(adapter.aopen() for _ in range(5)))
    await adapter.commit({"a": b""})
    await adapter.aclose()


async def test_listing_in_pages(server):
    """All keys, in order; the torture lists a million."""
    await sql(server, "DROP TABLE IF EXISTS many, many_log")
    report = await listing(server, 5000)
    assert (report["keys"], report["in order"]) == (5000, True)


# -- servers that are refused --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd():
    """A server that may lose what it acknowledged, wants passwords and offers TLS."""
    path = directory()
    odd = Postgres(path, fsync="off", ssl="on")
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    certificate += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    certificate += ["-keyout", odd.data / "server.key", "-out", odd.data / "server.crt"]
    subprocess.run(certificate, check=True, capture_output=True)
    for name in ("server.key", "server.crt"):
        os.chown(odd.data / name, odd.data.stat().st_uid, odd.data.stat().st_gid)
        os.chmod(odd.data / name, 0o600)
    hba = odd.data / "pg_hba.conf"
    hba.write_text(f"host all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n{''}")
    odd.start()

    async def prepare():
        await sql(odd, "CREATE ROLE locked LOGIN PASSWORD 'swordfish'")
        await sql(odd, "CREATE ROLE reader LOGIN")
        await sql(odd, "CREATE ROLE stranger LOGIN")
        await sql(odd, "ALTER ROLE reader SET default_transaction_read_only = on")
        await sql(
            odd, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        await sql(odd, "CREATE TABLE theirs (key text)")
        await sql(odd, "CREATE TABLE newer (key text)")
        await sql(odd, "COMMENT ON TABLE newer IS 'axiom-persistence 2'")

    asyncio.run(prepare())
    yield odd
    odd.stop()


REFUSED = {
    "wrong password": ("locked:hunter2@127.0.0.1:{port}/postgres?durability=process_exit", AccessDeniedError),
    "no such user": ("nobody-here:hunter2@127.0.0.1:{port}/postgres", AccessDeniedError),
    "no such database": ("ax:hunter2@127.0.0.1:{port}/elsewhere", StoreNotFoundError),
    "nothing there": ("ax:hunter2@127.0.0.1:1/postgres", StorageUnavailableError),
    "no such host": ("ax:hunter2@no-such-host.invalid/postgres?sslmode=disable", StorageUnavailableError),
    "fsync=off": ("ax:hunter2@127.0.0.1:{port}/postgres", ConfigurationError),
    "encoding": ("ax:hunter2@127.0.0.1:{port}/ascii?durability=process_exit", ConfigurationError),
    "read-only": ("reader:hunter2@127.0.0.1:{port}/postgres?durability=process_exit", AccessDeniedError),
    "may not create": (
        "stranger:hunter2@127.0.0.1:{port}/postgres?durability=process_exit",
        AccessDeniedError,
    ),
    "their table": (
        "ax:hunter2@127.0.0.1:{port}/postgres?durability=process_exit&table=theirs",
        ForeignStoreError,
    ),
    "newer table": (
        "ax:hunter2@127.0.0.1:{port}/postgres?durability=process_exit&table=newer",
        SchemaTooNewError,
    ),
    "unknown authority": ("ax:hunter2@localhost:{port}/postgres?sslmode=verify-full", ConfigurationError),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_at_opening(odd, name, caplog):
    """A clear error, soon, that says what to do and shows no credential."""
    rest, kind = REFUSED[name]
    adapter = PostgresAdapter(f"postgresql://{rest.format(port=odd.port)}")
    async with asyncio.timeout(6 * WITHIN_S):  # a busy machine is given time, an endless wait is found
        with pytest.raises(kind) as refusal:
            await adapter.aopen()
    assert type(refusal.value) is kind
    assert refusal.value.hint
    assert "[in PostgresAdapter(postgresql://" in str(refusal.value)
    chain, shown = (
        refusal.value,
        [repr(adapter), str(adapter), adapter.location, caplog.text, repr(vars(adapter))],
    )
    while chain is not None:
        shown += [str(chain), repr(chain)]
        chain = chain.__cause__ or chain.__context__
    assert "hunter2" not in "".join(shown)


async def test_a_server_that_may_lose_is_taken_where_that_is_asked_for(odd):
    """With a password, over TLS that is checked; the promise is smaller then."""
    address = (
        f"postgresql://locked:swordfish@localhost:{odd.port}/postgres?durability=process_exit"
        f"&sslmode=verify-full&sslrootcert={odd.data}/server.crt&table=x&schema=locked"
    )
    await sql(odd, "CREATE SCHEMA locked AUTHORIZATION locked")
    async with PostgresAdapter(address) as adapter:
        assert adapter.traits.durability == "process_exit"
        await adapter.commit({"a": b"1"})
        assert await adapter.read("a") == b"1"
    assert "swordfish" not in f"{adapter!r} {adapter} {vars(adapter)}"


async def test_a_server_without_tls_is_refused(server):
    """Where it is asked for, as it is for every host beyond this one."""
    with pytest.raises(ConfigurationError, match="offers no TLS"):
        await PostgresAdapter(f"{server.address}?sslmode=require").aopen()
    far = PostgresAdapter("postgresql://me@db.example.org/x")
    assert far._place.tls.check_hostname
    assert PostgresAdapter("postgresql://me@db.example.org/x?sslmode=disable")._place.tls is None


async def test_a_standby_is_refused_and_can_be_inspected(server, table):
    """It takes no writes; mode="inspect" reads what the primary has."""
    async with at(server.port, table) as primary:
        await primary.commit({"a": b"1"})
    standby = await asyncio.to_thread(lambda: server.standby(directory()).start())
    try:
        with pytest.raises(AccessDeniedError, match="is a standby"):
            await at(standby.port, table).aopen()
        both = f"postgresql://{USER}@127.0.0.1:{standby.port},127.0.0.1:{server.port}/postgres?table={table}"
        async with PostgresAdapter(both) as adapter:  # the one that takes writes is found
            await adapter.commit({"b": b"1"})
        async with PostgresAdapter(f"{standby.address}?table={table}", inspect=True) as adapter:
            assert await adapter.read("a") == b"1"
        with pytest.raises(StoreNotFoundError, match="there is no store"):
            await PostgresAdapter(f"{standby.address}?table=none", inspect=True).aopen()
    finally:
        standby.stop()


async def test_a_server_that_turns_async_is_set_right(server, table):
    """synchronous_commit=off, for the user or the database, is set to on for our sessions."""
    await sql(server, "CREATE DATABASE hasty")
    await sql(server, "ALTER DATABASE hasty SET synchronous_commit = off")
    hasty = f"postgresql://{USER}@127.0.0.1:{server.port}/hasty"
    async with PostgresAdapter(hasty) as adapter:
        (row,) = await adapter._lanes().writing.run("SELECT current_setting('synchronous_commit') AS now")
        assert row["now"] == "on"
    with pytest.raises(ConfigurationError, match="behind pgbouncer no session can set it"):
        await PostgresAdapter(f"{hasty}?pgbouncer=true").aopen()


async def test_tables_that_vanish_are_told(server, table):
    """While the store is open; nothing is made anew behind its back."""
    async with at(server.port, table) as adapter:
        await adapter.commit({"a": b""})
        await sql(server, f"DROP TABLE {table}, {table}_log")
        for use in (lambda: adapter.fetch(["a"]), lambda: adapter.commit({"a": b""})):
            with pytest.raises(StorageError, match="tables of the store are gone"):
                await use()
