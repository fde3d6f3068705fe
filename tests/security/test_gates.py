"""Gates: who is asked when, for how long it holds, and what a refusal does."""

import asyncio
import os
import threading
import time

import pytest

from axiom_persistence import AutoSave, Client, blocking, client_state, open_persistence
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.errors import AuthenticationError, ConfigurationError, KeyUnavailableError
from axiom_persistence.layers.cached import Cached
from axiom_persistence.layers.guarded import Guarded
from axiom_persistence.layers.observed import Observed
from axiom_persistence.runtime.upkeep import Upkeep
from axiom_persistence.security import Authenticator, Gate, GuardedKey, StaticKey
from axiom_persistence.storage.layer import Layer
from axiom_persistence.testing import ConfidentialMemory
from support.embedded import listed


class Person(Authenticator):
    """Answers as it is told: an outcome, an error, or an event to wait for first."""

    name = "person"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0
        self.taken_back = 0
        self.is_there = True

    async def authenticate(self, reason):
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else "granted"
        if isinstance(answer, asyncio.Event):
            try:
                await answer.wait()
            except asyncio.CancelledError:
                self.taken_back += 1
                raise
        elif isinstance(answer, Exception):
            raise answer
        elif answer != "granted":
            raise AuthenticationError("it did not open", outcome=answer, hint="try again")

    async def can_authenticate(self):
        return self.is_there


class Clock:
    """Both clocks, set by the test."""

    def __init__(self, monkeypatch):
        self.monotonic, self.wall = 1000.0, 1e9
        monkeypatch.setattr("axiom_persistence.security.gates.time", self)

    def time(self):
        return self.wall

    def __getattr__(self, name):
        return getattr(time, name)


@pytest.fixture
def clock(monkeypatch):
    made = Clock(monkeypatch)
    monotonic = made.monotonic
    made.__dict__["monotonic"] = lambda: monotonic + made.passed
    made.passed = 0.0
    return made


def passes(clock, seconds, *, asleep=False):
    """Time passes; while the machine sleeps, only the clock on the wall goes on."""
    clock.wall += seconds
    if not asleep:
        clock.passed += seconds


async def outcome_of(gate):
    try:
        await gate.enter()
    except AuthenticationError as error:
        return error.outcome
    return "open"


async def test_asked_once_for_a_while(clock):
    """For the grace, and then again; sleep counts, and a clock that is set back closes it."""
    person = Person()
    gate = Gate(person, grace=60)
    assert not gate.is_open
    for seconds, asleep, asked in (
        (0, False, 1),
        (59, False, 1),
        (2, False, 2),
        (30, True, 2),
        (31, True, 3),
    ):
        passes(clock, seconds, asleep=asleep)
        assert await outcome_of(gate) == "open"
        assert person.asked == asked
    clock.wall -= 5
    assert not gate.is_open
    always = Gate(person, grace=0)
    for _ in range(2):
        await always.enter()
    assert person.asked == 5


async def test_required_on_the_next_access():
    """Closed by hand, whatever the grace says."""
    person = Person()
    gate = Gate(person)
    await gate.enter()
    assert gate.is_open
    gate.require_authentication_on_next_access()
    assert not gate.is_open
    await gate.enter()
    assert person.asked == 2


async def test_lock_out(clock):
    """Failures in a row lock it; cancelled ones and absent readers are no failures; a success counts anew."""
    person = Person("denied", "denied", "granted", "denied", "cancelled", "unavailable", "denied", "denied")
    gate = Gate(person, grace=0, attempts=3, lockout=30)
    outcomes = [await outcome_of(gate) for _ in range(8)]
    assert outcomes == ["denied", "denied", "open", "denied", "cancelled", "unavailable", "denied", "denied"]
    assert not await gate.can_access()
    assert await outcome_of(gate) == "locked_out"
    assert person.asked == 8
    with pytest.raises(AuthenticationError, match="try again in 30 seconds"):
        await gate.enter()
    passes(clock, 31)
    assert await gate.can_access()
    assert await outcome_of(gate) == "open"


async def test_the_systems_own_lock_out_counts(clock):
    """What the system locks is not asked again at once."""
    person = Person("locked_out")
    gate = Gate(person, lockout=30)
    assert [await outcome_of(gate) for _ in range(2)] == ["locked_out", "locked_out"]
    assert person.asked == 1


async def test_can_access_asks_nobody():
    """Open, askable, or neither."""
    person = Person()
    gate = Gate(person)
    assert await gate.can_access()
    person.is_there = False
    assert not await gate.can_access()
    await gate.enter()
    assert await gate.can_access()
    assert person.asked == 1


@pytest.mark.parametrize("answer", ["granted", "denied"])
async def test_one_question_for_all_who_wait(answer):
    """Whoever comes meanwhile gets the same answer, from other threads, too; each its own error."""
    door = asyncio.Event()
    person = Person(door) if answer == "granted" else Person()
    if answer == "denied":
        person.authenticate = refusing(person, door)
    gate = Gate(person, grace=0)
    tasks = [asyncio.create_task(gate.enter()) for _ in range(5)]
    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, outcome_of(gate)))
    while len(gate._turn._waiting) < 5:
        await asyncio.sleep(0.01)
    door.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert await thread == ("open" if answer == "granted" else "denied")
    assert person.asked == 1
    if answer == "denied":
        assert len({id(error) for error in results}) == 5
        assert {error.outcome for error in results} == {"denied"}
    else:
        assert results == [None] * 5


def refusing(person, door):
    async def authenticate(reason):
        person.asked += 1
        await door.wait()
        raise AuthenticationError("no", outcome="denied")

    return authenticate


async def test_cancelled_by_the_program():
    """``cancel`` takes the question back, for all who wait; without a question it does nothing."""
    person = Person(asyncio.Event())
    gate = Gate(person)
    gate.cancel()
    tasks = [asyncio.create_task(outcome_of(gate)) for _ in range(3)]
    while not person.asked:
        await asyncio.sleep(0)
    threading.Thread(target=gate.cancel).start()
    assert await asyncio.gather(*tasks) == ["cancelled"] * 3
    assert (person.asked, person.taken_back) == (1, 1)
    assert await outcome_of(gate) == "open"


async def test_who_asked_is_cancelled():
    """The question is taken back, and whoever waits asks anew: its answer is nobody's."""
    person = Person(asyncio.Event())
    gate = Gate(person)
    asking = asyncio.create_task(gate.enter())
    waiting = asyncio.create_task(outcome_of(gate))
    while not person.asked:
        await asyncio.sleep(0)
    asking.cancel()
    assert await waiting == "open"
    assert asking.cancelled()
    assert (person.asked, person.taken_back) == (2, 1)


async def test_an_authenticator_that_fails_opens_nothing():
    """Its error goes to whoever asked; who waits asks anew."""
    person = Person(RuntimeError("a bug"), "denied")
    gate = Gate(person)
    results = await asyncio.gather(gate.enter(), gate.enter(), return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeError, AuthenticationError]
    assert not gate.is_open


async def test_a_forked_child_is_asked_anew(monkeypatch):
    """It has a copy of the gate, and was not there when it was opened."""
    gate = Gate(Person())
    await gate.enter()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert not gate.is_open


def test_impossible_gates():
    """Refused where they are made."""
    for make in (
        lambda: Gate("Touch ID"),
        lambda: Gate(Person(), grace=-1),
        lambda: Gate(Person(), lockout=float("nan")),
        lambda: Gate(Person(), attempts=0),
        lambda: open_persistence("memory:", guard=Person()),
    ):
        with pytest.raises(ConfigurationError):
            make()


# -- a store behind a gate -------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    return tmp_path / "notes.db"


async def test_every_way_into_a_store_is_guarded(place):
    """Reading, listing, changing, copying: refused, and nothing is read or changed; then open for all."""
    async with open_persistence(place) as persistence:
        await persistence.save_many({"a": 1, "b": 2})
    person = Person()
    gate = Gate(person, grace=3600)
    async with open_persistence(place, guard=gate) as persistence:
        assert person.asked == 0  # opening asks for nothing of the person's
        await persistence.load("a", int)  # into the cache
        gate.require_authentication_on_next_access()
        person.answers = ["denied"] * 100
        gate._attempts = 1000
        notes = persistence.collection("notes", int)
        for attempt in (
            lambda: persistence.load("a", int),
            lambda: persistence.load_many(["a", "b"], int),
            lambda: persistence.exists("a"),
            lambda: persistence.describe("a"),
            lambda: persistence.save("a", 3),
            lambda: persistence.save_many({"a": 3, "b": 3}),
            lambda: persistence.update("a", int, lambda n: n + 1),
            lambda: persistence.delete("a"),
            lambda: persistence.delete_many(["a", "b"]),
            lambda: keys_of(persistence),
            lambda: notes.get("1"),
            lambda: notes.put("1", 1),
            lambda: persistence.snapshot(),
            lambda: persistence.export_to(place.parent / "archive"),
        ):
            before = person.asked
            with pytest.raises(AuthenticationError, match="it did not open"):
                await attempt()
            assert person.asked > before
        person.answers = []
        assert await persistence.load_many(["a", "b"], int) == {"a": 1, "b": 2}
        asked = person.asked
        await persistence.save("a", 4)
        assert (await persistence.load("a", int), person.asked) == (4, asked)


async def keys_of(persistence):
    return [key async for key in persistence.keys("")]


async def test_streams_and_upkeep_ask_nobody(place):
    """Changes name keys and no values; what the store does by itself is not the person's access."""
    person = Person("denied")
    gate = Gate(person)
    async with open_persistence(place, guard=gate) as persistence, open_persistence(place) as other:
        change = asyncio.ensure_future(anext(persistence.changes()))
        while not change.done():
            await other.save("a", time.monotonic())
            await asyncio.sleep(0.01)
        assert change.result().key == "a"
        adapter, seen = persistence._store.adapter, []

        async def chore():
            seen.append(await listed(adapter, "a"))
            return

        upkeep = Upkeep(lambda: [(0.0, chore)])
        upkeep.start()
        while not seen:
            await asyncio.sleep(0.01)
        await upkeep.stop()
        assert (seen, person.asked) == ([["a"]], 0)
        with pytest.raises(AuthenticationError):
            await listed(adapter, "a")


class Account(Client):
    name: str = client_state("")
    token: str = client_state("", secure=True)


async def test_secure_fields_behind_a_gate(tmp_path):
    """``Guarded`` around a confidential place alone: the rest opens without a question."""
    person = Person("granted", "denied")
    gate = Gate(person)
    secrets = ConfidentialMemory()
    for attempt in range(2):
        secure = Guarded(secrets, gate)
        async with open_persistence(tmp_path / "a.db", secure=secure) as persistence:
            await persistence.save("plain", 1)
            assert person.asked == attempt
            account = Account(persistence)
            await account.restore_state()
            if attempt == 0:
                account.token, account.name = "s3cr3t", "Ada"
                await account.persist_state()
                gate.require_authentication_on_next_access()
            else:
                # Refused: the field keeps its bytes, and the client says that something is missing.
                assert (account.name, account.token, account.phase) == ("Ada", "", "degraded")
            await account.close()
            assert person.asked == attempt + 1
    async with open_persistence(tmp_path / "a.db", secure=secrets) as persistence:
        assert await persistence.secure.load("Account/token", str) == "s3cr3t"


class Preferences(Client):
    theme: str = client_state("system")
    recent: list[str] = client_state(default_factory=list)


async def test_what_clients_do_in_the_background_asks_nobody(place):
    """Changes of others, and saves by interval, wait until the gate is open; an explicit save asks."""
    person = Person()
    gate = Gate(person, grace=3600)
    quick = AutoSave(interval=0.01, max_delay=0.02)
    async with (
        open_persistence(place, guard=gate) as persistence,
        open_persistence(place) as other,
        Preferences(persistence, auto_save=quick) as preferences,
    ):
        await preferences.persist_state()
        gate.require_authentication_on_next_access()
        asked = person.asked
        preferences.recent.append("a.txt")
        await other.save("Preferences/theme", "dark")
        while preferences.last_error is None:
            await asyncio.sleep(0.01)
        assert (preferences.theme, preferences.last_error.outcome) == ("system", "unavailable")
        assert person.asked == asked
        await preferences.persist_state()
        assert person.asked == asked + 1
        while preferences.theme != "dark":
            await asyncio.sleep(0.01)
        assert await other.load("Preferences/recent", list[str]) == ["a.txt"]
        assert person.asked == asked + 1


async def test_the_gate_before_a_key(tmp_path):
    """The key is released once it is open; nothing can be opened before; the provider alone still works."""
    person = Person("granted", "denied")
    gate = Gate(person)
    provider = StaticKey(bytes(range(32)))
    async with open_persistence(tmp_path / "a.db", keys=GuardedKey(provider, gate)) as persistence:
        await persistence.save("k", "v")
    gate.require_authentication_on_next_access()
    with pytest.raises(AuthenticationError):
        await open_persistence(tmp_path / "a.db", keys=GuardedKey(provider, gate))
    async with open_persistence(tmp_path / "a.db", keys=GuardedKey(provider, gate)) as persistence:
        assert await persistence.load("k", str) == "v"
    async with open_persistence(tmp_path / "a.db", keys=provider) as persistence:
        assert await persistence.load("k", str) == "v"
    with pytest.raises(KeyUnavailableError):
        await open_persistence(tmp_path / "a.db", keys=GuardedKey(StaticKey(bytes(32)), gate))
    assert repr(bytes(range(32))) not in repr(GuardedKey(provider, gate))


def test_the_blocking_face(tmp_path):
    """The same option."""
    gate = Gate(Person("denied"))
    with blocking.open_persistence(tmp_path / "a.db", guard=gate) as persistence:
        with pytest.raises(AuthenticationError):
            persistence.save("k", "v")
        persistence.save("k", "v")
        assert persistence.load("k", str) == "v"


async def test_nothing_below_the_gate_is_handed_out(place):
    """The cache below it is not found; the streams are."""
    guarded = Guarded(Observed(Cached(MemoryAdapter())), Gate(Person()))
    assert guarded.find(Cached) is None
    assert guarded.find(Observed) is guarded.inner
    assert not guarded.traits.immediate
    async with guarded:
        assert guarded.commit_now({"a": b"1"}) is None


def test_every_way_of_an_adapter_is_guarded_or_open_on_purpose():
    """A way that adapters get later is to be put behind the gate, or into this list."""
    forwarded = {name for name in vars(Layer) if not name.startswith("_")} - vars(Guarded).keys()
    assert forwarded == {
        *("location", "aopen", "aclose", "change_mark", "mark_reader", "stats", "keeps_values"),
        "is_remote",
        *("saved_at", "check"),  # times and faults: no values
        *("scrub", "salvage", "tidy"),  # what is there is overwritten or mended, and given to nobody
    }
