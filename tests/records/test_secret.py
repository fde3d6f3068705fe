"""A Secret shows itself to nobody, and goes to confidential places only."""

import copy
import dataclasses
import json
import logging
import pickle
import string
import traceback

import msgspec
import pytest

from axiom_persistence import Client, Secret, client_state, open_persistence
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import SHOW_VALUES, InsecureStorageError, TypeMismatchError
from axiom_persistence.security import StaticKey
from axiom_persistence.testing.confidential import ConfidentialMemory
from axiom_persistence.testing.suite._base import content

KEYS = StaticKey(bytes(range(32)))
MARKER = "marker-d41d8cd98f00b204"


@dataclasses.dataclass(frozen=True)
class Login:
    user: str
    password: Secret[str]
    codes: Secret[list[int]] | None = None


@pytest.mark.parametrize("shows_values", ["0", "1"])
def test_nothing_shows_it(monkeypatch, caplog, shows_values):
    """repr, str, format, containers, dataclasses, logging, tracebacks, asdict: none has the value."""
    monkeypatch.setenv(SHOW_VALUES, shows_values)
    secret = Secret(MARKER)
    login = Login("ada", secret)
    logging.getLogger("app").error("%s %r %s", secret, login, {"s": [secret]})
    shown = [
        *(
            repr(secret),
            str(secret),
            f"{secret}",
            f"{secret:>40}",
            f"{secret!r:>40}",
            f"{secret}{secret!r}",
        ),
        *(string.Template("$s").substitute(s=secret), repr(login), repr(dataclasses.asdict(login))),
        *(repr([secret]), repr({secret: secret}), repr(copy.copy(secret)), repr(copy.deepcopy(login))),
        *(repr(vars(type(secret))), repr(dir(secret)), caplog.text),
    ]
    try:
        raise ValueError(secret, login)
    except ValueError as error:
        shown += [str(error), *traceback.format_exception(error)]
    for way in (
        lambda: pickle.dumps(secret),
        lambda: pickle.dumps(login),
        secret.__getstate__,
        lambda: json.dumps(secret),
        lambda: msgspec.json.encode(login),
        lambda: msgspec.to_builtins(login),
        lambda: vars(secret),
        lambda: setattr(secret, "_value", 1),
        lambda: setattr(secret, "other", 1),
        lambda: delattr(secret, "_value"),
    ):
        with pytest.raises((TypeError, AttributeError)) as caught:
            way()
        shown.append(str(caught.value))
    assert all(MARKER not in each for each in shown)
    assert secret.reveal() == MARKER


def test_it_is_a_value():
    """Equal to an equal one, hashable like what is in it, and copied deeply."""
    assert Secret(1) == Secret(1) != Secret(2)
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), "a"}) == 2
    held = [1]
    assert copy.deepcopy(Secret(held)).reveal() is not held


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Secret(MARKER), Secret[str]),
        (Secret([1, 2]), Secret[list[int]]),
        (Secret(Login("a", Secret("b"))), Secret[Login]),
        (Login("ada", Secret(MARKER), Secret([1])), Login),
        ([Secret(1)], list[Secret[int]]),
        ({"a": Secret(None)}, dict[str, Secret[None]]),
    ],
)
async def test_it_is_kept_in_confidential_places(value, kind, tmp_path):
    """It comes back as it was, as itself or in a class; the store and the secure place take it."""
    async with open_persistence(tmp_path / "a.db", keys=KEYS) as persistence:
        await persistence.save("k", value)
        await persistence.save("typed", value, type=kind)
    async with open_persistence(tmp_path / "a.db", keys=KEYS) as persistence:
        assert await persistence.load("k", kind) == value
        assert await persistence.load("typed", kind) == value
        assert await persistence.update("k", kind, lambda same: same) == value
    async with open_persistence(MemoryAdapter(), secure=ConfidentialMemory()) as persistence:
        await persistence.secure.save("k", value, type=kind)
        assert await persistence.secure.load("k", kind) == value


@pytest.mark.parametrize("shows_values", ["0", "1"])
async def test_no_other_place_takes_it(tmp_path, monkeypatch, shows_values):
    """By no verb, however deep it is in a value; nothing is written, and the error shows nothing."""
    monkeypatch.setenv(SHOW_VALUES, shows_values)
    adapter = SQLiteAdapter(tmp_path / "a.db")
    login = Login("ada", Secret(MARKER))
    async with open_persistence(adapter) as persistence:
        await persistence.save("before", 1)
        before = await content(adapter)
        people = persistence.collection("people", Login)

        async def in_transaction():
            async with persistence.transaction() as tx:
                await tx.save("other", 1)
                await tx.save("k", login)

        for way in (
            lambda: persistence.save("k", Secret(MARKER)),
            lambda: persistence.save("k", Secret(MARKER), type=Secret[str]),
            lambda: persistence.save("k", login),
            lambda: persistence.save("k", {"deep": [login]}),
            lambda: persistence.save("k", login, durability="process_exit"),
            lambda: persistence.save_many({"a": 1, "k": login}),
            lambda: persistence.update("k", Login | None, lambda _: login),
            lambda: people.put("ada", login),
            in_transaction,
        ):
            with pytest.raises(InsecureStorageError, match="no confidential place") as caught:
                await way()
            assert MARKER not in "".join(traceback.format_exception(caught.value))
        assert await content(adapter) == before
    for path in tmp_path.iterdir():
        assert MARKER.encode() not in path.read_bytes()


class Account(Client):
    name: str = client_state("")
    token: Secret[str] = client_state(Secret(""))
    other: Secret[str] | None = client_state(None)


class Careless(Client):
    login: Login = client_state(Login("", Secret("")))


async def test_a_field_of_a_client_is_secure_by_its_type():
    """Kept in the secure place without being told so, and refused where there is none."""
    plain, secure = MemoryAdapter(), ConfidentialMemory()
    for _ in range(2):
        async with open_persistence(plain, secure=secure) as persistence, Account(persistence) as account:
            account.name = "ada"
            account.token = Secret(MARKER)
            account.other = Secret(MARKER)
            assert MARKER not in repr(account)
            await account.persist_state()
            async with Account(persistence) as again:
                assert again.token.reveal() == MARKER
    async with plain, secure:
        assert not any(MARKER.encode() in data for data in (await content(plain)).values() if data)
        assert sum(MARKER.encode() in data for data in (await content(secure)).values() if data) == 2
    with pytest.raises(InsecureStorageError):
        async with open_persistence("memory:") as persistence:
            Account(persistence)


async def test_a_field_that_holds_one_inside_is_refused_when_it_is_assigned():
    """A class says nothing of its fields: the assignment does, before anything is stored."""
    adapter = MemoryAdapter()
    async with open_persistence(adapter) as persistence, Careless(persistence) as careless:
        with pytest.raises(InsecureStorageError, match="secure=True"):
            careless.login = Login("ada", Secret(MARKER))
    async with adapter:
        assert not any(MARKER.encode() in data for data in (await content(adapter)).values() if data)


async def test_what_does_not_fit_is_told_without_the_value(tmp_path):
    """A record of another type: where, and not what."""
    async with open_persistence(tmp_path / "a.db", keys=KEYS) as persistence:
        await persistence.save("k", MARKER)
        with pytest.raises(TypeMismatchError) as caught:
            await persistence.load("k", Secret[int])
        assert MARKER not in "".join(traceback.format_exception(caught.value))
        with pytest.raises(TypeMismatchError) as caught:
            await persistence.save("k", Secret(MARKER), type=Secret[int])
        assert MARKER not in "".join(traceback.format_exception(caught.value))
