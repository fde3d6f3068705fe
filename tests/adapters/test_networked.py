"""What networked adapters share: one order, grouped requests, lost replies, deadlines, loops, addresses."""

import asyncio
import gc
import os
import pickle
import random
import socket
import warnings

import pytest

from axiom_persistence.adapters._networked.address import Credential, ServerAddress
from axiom_persistence.adapters._networked.commit import new_commit_id, time_of
from axiom_persistence.adapters._networked.fetch import FetchGroup
from axiom_persistence.adapters._networked.group import CommitGroup
from axiom_persistence.adapters._networked.loops import PerLoop
from axiom_persistence.adapters._networked.settle import Unreachable, answer
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    ConflictError,
    StorageError,
    StorageUnavailableError,
)
from axiom_persistence.testing import TCPProxy

# -- commits -------------------------------------------------------------------------------------------


class Server:
    """Keeps values and the ids it has seen, in one step; it loses replies as ``fate`` says."""

    def __init__(self, fate=lambda: None):
        self.fate = fate
        self.values, self.versions, self.seen = {}, {}, {}
        self.requests, self.applied = [], []

    async def send(self, commits):
        await asyncio.sleep(0)
        what = self.fate()
        if what == "not sent":
            raise Unreachable("no route to it")
        for commit in commits:
            commit.sending()
        if what == "lost request":
            raise Unreachable("cut off")
        self.requests.append([commit.id for commit in commits])
        outcomes = [self.take(commit) for commit in commits]
        if what == "lost reply":
            raise Unreachable("cut off")
        for commit, bad in zip(commits, outcomes, strict=True):
            if bad is None:
                commit.applied()
            else:
                commit.conflicts(bad, "the server")

    def take(self, commit):
        if commit.id not in self.seen:
            bad = [key for key, version in commit.expect.items() if self.versions.get(key) != version]
            self.seen[commit.id] = bad or None
            if not bad:
                self.applied.append(commit.id)
                for key, data in commit.changes.items():
                    self.values[key] = data
                    self.versions[key] = commit.id
        return self.seen[commit.id]

    async def refuse(self, ids):
        if self.fate() is not None:
            raise Unreachable("no route to it")
        for each in ids:
            self.seen.setdefault(each, [])


def group(server, *, apart=False, timeout=30.0):
    return CommitGroup(server.send, server.refuse, apart=apart, timeout=timeout, adapter="the server")


async def test_what_came_meanwhile_is_the_next_request():
    """The first goes out alone and at once, all others together, in the order of the calls."""
    server = Server()
    commits = group(server)
    await asyncio.gather(*(commits.commit({"k": b"%d" % n}, None) for n in range(100)))
    assert [len(each) for each in server.requests] in ([100], [1, 99])
    assert server.values == {"k": b"99"}
    await asyncio.gather(*(commits.commit({f"{n}": b""}, None) for n in range(600)))
    assert [len(each) for each in server.requests][-3:] == [256, 256, 88]
    assert (commits.commits, commits.requests) == (700, len(server.requests))


async def test_commits_of_a_common_key_do_not_share_a_request():
    """Where an engine has one snapshot for a request; and large ones go alone."""
    server = Server()
    commits = group(server, apart=True)
    await asyncio.gather(
        commits.commit({"a": b"1", "b": b"1"}, None),
        commits.commit({"c": b"1"}, {"b": None, "d": None}),
        commits.commit({"e": b"1"}, None),
        commits.commit({"f": b"x" * 5_000_000}, None),
        return_exceptions=True,
    )
    assert [len(each) for each in server.requests] == [1, 2, 1]


async def test_a_conflict_fails_its_own_commit_only():
    """It names the key, and what shares the request is applied."""
    commits = group(Server())
    version = (await commits.commit({"a": b"1"}, None))["a"]
    outcomes = await asyncio.gather(
        commits.commit({"a": b"2"}, {"a": version}),
        commits.commit({"a": b"3"}, {"a": version}),
        commits.commit({"b": b"1"}, {"b": None}),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], ConflictError)
    assert outcomes[1].key == "a"
    assert [type(each) for each in outcomes] == [dict, ConflictError, dict]


async def test_lost_replies_are_settled_by_the_same_id():
    """Neither a false conflict nor a second effect in 90 increments, whatever gets lost."""
    chance = random.Random(7)
    fates = [None, None, "lost reply", "lost request", "not sent"]
    server = Server(lambda: chance.choice(fates))
    commits = group(server)

    async def count(key):
        for n in range(15):
            version = server.versions.get(key)
            await commits.commit({key: b"%d" % (n + 1)}, {key: version})

    await asyncio.gather(*(count(f"{n}") for n in range(6)))
    assert server.values == {f"{n}": b"15" for n in range(6)}
    assert len(server.applied) == len(set(server.applied)) == 90


async def test_what_is_given_up_is_refused_before_anything_else_is_sent():
    """A late original changes nothing any more; the error says whether the server may have it."""
    fate = "not sent"
    server = Server(lambda: fate)
    commits = group(server, timeout=0.1)
    with pytest.raises(StorageUnavailableError, match="nothing was changed") as refusal:
        await commits.commit({"a": b"1"}, None)
    assert refusal.value.indeterminate is False
    fate, late = "lost request", []
    plain = server.send

    async def send(asked):
        late.extend(asked)
        await plain(asked)

    commits._send = send
    with pytest.raises(StorageUnavailableError, match="may be there or not") as refusal:
        await commits.commit({"a": b"1"}, None)
    assert refusal.value.indeterminate is True
    assert refusal.value.key == "a"
    fate = None
    assert await commits.commit({}, None) == {}  # what was called before has taken effect, or never will
    assert server.take(late[0]) == []
    assert server.values == {}


async def test_a_fault_of_the_server_reaches_every_caller():
    """Of the class it has, naming the key; what comes later is sent all the same."""
    server = Server()
    commits = group(server)
    plain = server.send

    async def send(asked):
        raise OSError("no such table")

    commits._send = send
    outcomes = await asyncio.gather(
        *(commits.commit({f"{n}": b""}, None) for n in range(3)), return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [StorageError] * 3
    assert {each.key for each in outcomes} == {"0", "1", "2"}
    commits._send = plain
    await commits.commit({"a": b""}, None)
    await commits.finish()


async def test_a_cancelled_caller_leaves_the_others_alone():
    """One that was sent goes on to its end, one that was not is dropped; both before what follows."""
    server = Server()
    commits = group(server)
    tasks = [asyncio.create_task(commits.commit({f"{n}": b"%d" % n}, None)) for n in range(9)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[4].cancel()
    await asyncio.wait(tasks)
    await commits.commit({"last": b""}, None)
    assert set(server.values) >= {f"{n}" for n in (1, 2, 3, 5, 6, 7, 8)}


async def test_reading_goes_on_until_it_is_answered():
    """And ends with an error that shows how long it was tried."""
    fates = iter([Unreachable(), Unreachable("cut"), TimeoutError()])

    async def ask():
        for error in fates:
            raise error
        return 7

    assert await answer(ask, 5.0, "the server") == 7

    async def never():
        await asyncio.sleep(60)

    with pytest.raises(StorageUnavailableError, match=r"no answer within 0.1 seconds"):
        await answer(never, 0.1, "the server", "k")


async def test_fetches_that_wait_are_joined():
    """Each gets its own keys; an error reaches all of one request."""
    asked = []

    async def ask(keys):
        asked.append(list(keys))
        await asyncio.sleep(0)
        if "bad" in keys:
            raise StorageError("refused")
        return {key: key.upper() for key in keys if key != "absent"}

    group = FetchGroup(ask, 2)
    found = await asyncio.gather(*(group.fetch([f"a{n}", "absent", f"b{n}"]) for n in range(50)))
    assert found == [{f"a{n}": f"A{n}", f"b{n}": f"B{n}"} for n in range(50)]
    assert [len(each) for each in asked] == [3, 3, 97]
    outcomes = await asyncio.gather(*(group.fetch(["bad"]) for n in range(4)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [StorageError] * 4
    assert await group.fetch(["x"]) == {"x": "X"}


def test_commit_ids_are_in_the_order_of_time():
    """So they lie together in an index, and tell when they were made."""
    first, second = new_commit_id(), new_commit_id()
    assert first[:13] <= second[:13]
    assert first != second
    assert abs(time_of(first) - __import__("time").time()) < 60


# -- event loops and processes -------------------------------------------------------------------------


class Connection:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.closed_on = None

    async def aclose(self):
        self.closed_on = asyncio.get_running_loop()


async def finish(_):
    pass


@pytest.mark.parametrize("turns", range(1, 6))
async def test_what_is_kept_for_a_loop_is_closed_though_closing_is_cancelled(turns):
    closed = []

    class Kept:
        async def aclose(self):
            await asyncio.sleep(0)
            closed.append(True)

    async def finish(kept):
        await asyncio.sleep(0)

    loops = PerLoop(Kept, "the test")
    loops.here()
    closing = asyncio.create_task(loops.aclose(finish))
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    gc.collect()  # of what nobody holds any more
    for _ in range(4):
        await asyncio.sleep(0)
    assert closed


async def test_each_event_loop_has_its_own_and_takes_it_along():
    """What a loop got is closed on that loop: when it ends, or when the adapter closes."""
    kept = PerLoop(Connection, "the adapter")
    mine = kept.here()
    assert kept.here() is mine

    async def elsewhere():
        return kept.here()

    theirs = await asyncio.to_thread(asyncio.run, elsewhere())
    assert theirs is not mine
    assert theirs.closed_on is theirs.loop is not mine.loop
    await kept.aclose(finish)
    assert mine.closed_on is mine.loop
    with pytest.raises(CapabilityUnavailableError, match="not open"):
        kept.here()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_is_refused():
    """It says so, and closes without touching what is its parent's."""

    async def main():
        kept = PerLoop(Connection, "the adapter")
        mine = kept.here()
        child = os.fork()
        if child == 0:
            try:
                kept.here()
            except CapabilityUnavailableError as error:
                os._exit(0 if "forked" in str(error) and mine.closed_on is None else 1)
            finally:
                os._exit(2)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        await kept.aclose(finish)

    asyncio.run(main())


# -- addresses -----------------------------------------------------------------------------------------


def parsed(rest):
    return ServerAddress.parse("redis", "redis:" + rest, port=6379, known=("tls", "timeout"))


def test_an_address_is_taken_apart():
    """Users and passwords with any character, several hosts, numbers of version 6, options."""
    address = parsed("//me:p%40ss%2Fw@h1:1,[::1]:2,h3/a%20b?tls=yes&timeout=2.5")
    assert address.hosts == (("h1", 1), ("::1", 2), ("h3", 6379))
    assert (address.user, address.password.reveal(), address.path) == ("me", "p@ss/w", "a b")
    assert address.flag("tls", False) is True
    assert address.seconds("timeout", 1.0) == 2.5
    assert str(address) == "redis://h1:1,[::1]:2,h3:6379/a b"
    assert parsed("//").hosts == (("localhost", 6379),)


@pytest.mark.parametrize(
    ("host", "local"), [("localhost", True), ("127.0.0.2", True), ("[::1]", True), ("db", False)]
)
def test_what_leaves_this_machine(host, local):
    """One host elsewhere is enough."""
    assert parsed(f"//{host}/x").is_local is local
    assert not parsed(f"//{host},example.org/x").is_local


@pytest.mark.parametrize(
    "rest",
    [
        "host/x",
        "//me:hunter2@host:port/x",
        "//me:hunter2@host:99999/x",
        "//me:hunter2@host/x?hunter2=1",
        "//me:pw?hunter2@host/x",
        "//me:pw/hunter2@host/x",
    ],
)
def test_a_wrong_address_shows_no_secret(rest):
    """Whatever part of a password was taken for something else."""
    with pytest.raises(ConfigurationError) as refusal:
        parsed(rest)
    assert "hunter2" not in str(refusal.value)


def test_wrong_options_are_named_without_what_they_say():
    """A number that is none, a truth that is none."""
    address = parsed("//host/x?timeout=hunter2&tls=hunter2")
    for ask in (lambda: address.seconds("timeout", 1.0), lambda: address.flag("tls", True)):
        with pytest.raises(ConfigurationError) as refusal:
            ask()
        assert "hunter2" not in str(refusal.value)


def test_a_credential_shows_itself_to_nobody():
    """Neither printed nor pickled, nor in whatever holds it."""
    secret = parsed("//me:hunter2@host/x")
    assert "hunter2" not in f"{secret!r} {secret} {secret.password!r} {vars(Holder(secret))}"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Credential("hunter2"))


class Holder:
    def __init__(self, address):
        self.password = address.password


# -- the proxy -----------------------------------------------------------------------------------------


@pytest.fixture
async def echo():
    """A server that answers each line in capitals, and the lines it got."""
    got, writers = [], set()

    async def serve(reader, writer):
        writers.add(writer)
        while line := await reader.readline():
            got.append(line)
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with TCPProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy, got
    server.close()
    for writer in writers:
        writer.close()


async def ask(proxy, line, *, timeout=5.0):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(line)
        async with asyncio.timeout(timeout):
            return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_a_proxy_passes_everything_and_counts(echo):
    proxy, got = echo
    assert [await ask(proxy, b"a\n"), await ask(proxy, b"b\n")] == [b"A\n", b"B\n"]
    assert (proxy.trips, proxy.connections, proxy.lost, got) == (2, 2, 0, [b"a\n", b"b\n"])


async def test_a_proxy_loses_a_reply(echo):
    """The server got the request; the client hears nothing of it."""
    proxy, got = echo
    proxy.lose_replies()
    assert await ask(proxy, b"a\n") == b""
    assert (got, proxy.lost) == ([b"a\n"], 1)
    assert await ask(proxy, b"b\n") == b"B\n"


async def test_a_proxy_holds_a_request(echo):
    """The server gets it when everything else has been done."""
    proxy, got = echo
    holding = proxy.hold_request()
    assert await ask(proxy, b"late\n") == b""
    held = await holding
    assert await ask(proxy, b"early\n") == b"EARLY\n"
    assert await held.release() == b"LATE\n"
    assert got == [b"early\n", b"late\n"]


async def test_a_proxy_cuts_at_a_byte(echo):
    proxy, got = echo
    proxy.cut_after(3)
    assert await ask(proxy, b"abcdef\n") == b""
    assert got == [b"abc"]
    proxy.cut_after(2, "client")
    assert await ask(proxy, b"abcdef\n") in (b"AB", b"")
    assert await ask(proxy, b"b\n") == b"B\n"


async def test_a_proxy_freezes_and_thaws(echo):
    proxy, got = echo
    proxy.freeze()
    asked = asyncio.create_task(ask(proxy, b"a\n"))
    await asyncio.sleep(0.05)
    assert got == []
    proxy.thaw()
    assert await asked == b"A\n"
    proxy.cut()


async def leave(port, turns):
    """A proxy that is left while a client's connection is being made, so many turns of the loop later."""
    with socket.socket() as client:
        client.setblocking(False)
        async with TCPProxy("127.0.0.1", port) as proxy:
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", proxy.port))
            for _ in range(turns):
                await asyncio.sleep(0)


def test_a_proxy_that_is_left_closes_what_it_was_opening():
    with socket.create_server(("127.0.0.1", 0)) as server, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for turns in range(12):
            asyncio.run(leave(server.getsockname()[1], turns))
            gc.collect()
    assert [str(warning.message) for warning in told] == []
