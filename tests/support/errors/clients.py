"""Declared clients."""

from typing import ClassVar

from axiom_persistence import (
    AutoSave,
    Client,
    ClientManager,
    action,
    blocking,
    client_state,
    open_persistence,
)
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    EncodingError,
    InsecureStorageError,
    InvalidKeyError,
    TypeMismatchError,
    ValidationError,
)
from axiom_persistence.testing import ConfidentialMemory

from . import MARK, NUMBER, case
from .verbs import Shelf


def short(text: str) -> None:
    raise ValueError(f"{text} is too long")


class Player(Client):
    name: str = client_state("", validate=lambda name: name != MARK)
    title: str = client_state("", validate=lambda title: title == "" or short(title))
    tags: list[str] = client_state(default_factory=list)
    draft: str = client_state("", persisted=False)


class Secret(Client):
    token: str = client_state("", secure=True)


async def player(change, where="memory:"):
    async with open_persistence(where) as persistence, Player(persistence) as client:
        await change(client) if change is not None else None
        return client


# -- declaring ------------------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "a_field_without_client_state.<locals>.A.theme has a type and no client_state: it would "
    "not be stored; write theme: str = client_state(...) around the default; for a constant "
    "of the class, theme: ClassVar[str]",
)
async def a_field_without_client_state(world):
    class A(Client):
        theme: str = MARK


@case(
    ConfigurationError,
    "a_list_without_client_state.<locals>.A.tags has a type and no client_state: it would "
    "not be stored; write tags: list[str] = client_state(default_factory=lambda: list(...)); "
    "for a constant of the class, tags: ClassVar[list[str]]",
)
async def a_list_without_client_state(world):
    class A(Client):
        tags: list[str] = [MARK]


@case(
    ConfigurationError,
    "a_field_without_a_type.<locals>.A.theme has no type; write theme: SomeType = client_state(...)",
)
async def a_field_without_a_type(world):
    class A(Client):
        theme = client_state(MARK)


@case(
    ConfigurationError,
    "a_field_with_a_name_that_is_taken.<locals>.A.close cannot be a field: the name is a "
    "member of every client; choose another, and key='close' to name it so in the store",
)
async def a_field_with_a_name_that_is_taken(world):
    class A(Client):
        close: str = client_state(MARK)


@case(
    ConfigurationError,
    "a_field_that_is_hidden.<locals>.A.name hides a field that is declared in a base class; "
    "declare it anew: name: SomeType = client_state(...)",
)
async def a_field_that_is_hidden(world):
    class A(Player):
        name = MARK


@case(
    ConfigurationError,
    "the default of a_default_that_all_would_share.<locals>.A.tags is a list, which all "
    "instances would share; write client_state(default_factory=lambda: list(...))",
)
async def a_default_that_all_would_share(world):
    class A(Client):
        tags: list[str] = client_state([MARK])


@case(
    ConfigurationError,
    "the default of a_default_of_another_type.<locals>.A.volume cannot be used: the value is "
    "of type str, not int; pass a value of type int; nothing was stored",
)
async def a_default_of_another_type(world):
    class A(Client):
        volume: int = client_state(MARK)


@case(
    ConfigurationError,
    "the default of a_field_of_no_value.<locals>.A.volume cannot be used: "
    "typing.ClassVar[int] is not a type that values can be read as: typing.ClassVar accepts "
    "only single type. Got (<class 'int'>,).; name a concrete type: a class, list[...], "
    "dict[str, ...], a union, Any",
)
async def a_field_of_no_value(world):
    class A(Client):
        volume: ClassVar[int] = client_state(5)


@case(
    ConfigurationError,
    "client_state takes either a default or one default_factory; for example "
    "client_state('system') or client_state(default_factory=list)",
)
async def two_defaults(world):
    client_state(MARK, default_factory=list)


@case(
    ConfigurationError,
    "default_factory is a function without arguments, not <str of 7 characters>; for example "
    "client_state(default_factory=list)",
)
async def a_factory_that_is_none(world):
    client_state(default_factory=MARK)


@case(
    ConfigurationError,
    "secure_and_not_stored.<locals>.A.token is secure and not persisted; what is not stored "
    "needs no confidential place",
)
async def secure_and_not_stored(world):
    class A(Client):
        token: str = client_state(MARK, secure=True, persisted=False)


@case(
    ConfigurationError,
    "two_fields_of_one_key.<locals>.A.one and two_fields_of_one_key.<locals>.A.two have the "
    "same key, 'k'; give one of them another key=",
)
async def two_fields_of_one_key(world):
    class A(Client):
        one: str = client_state(MARK, key="k")
        two: str = client_state(MARK, key="k")


@case(
    ConfigurationError,
    "a_type_that_is_never_known.<locals>.A.price: the type 'Price' is not known; import it "
    "at runtime, not only under TYPE_CHECKING",
)
async def a_type_that_is_never_known(world):
    class A(Client):
        price: "Price" = client_state(MARK)  # noqa: F821 - the mistake

    async with open_persistence("memory:") as persistence:
        A(persistence)


@case(
    ConfigurationError,
    "AutoSave(0, 2.0): an interval is above zero and max_delay at least as long, in seconds; "
    "AutoSave() has 0.5 and 2; AutoSave.OFF saves nothing by itself",
)
async def an_interval_of_nothing(world):
    AutoSave(0)


@case(
    ConfigurationError,
    "@action is for methods of a Client; an_action_of_nothing.<locals>.free is none; write "
    "it in the body of the class, with self first",
)
async def an_action_of_nothing(world):
    @action
    def free(text: str) -> None: ...

    free(MARK)


# -- building -------------------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "a client is built over a persistence, not <str of 8 characters>; for example "
    "Preferences(open_persistence('notes'))",
)
async def over_an_address(world):
    Player("notes.db")


@case(
    ConfigurationError,
    "an asynchronous client is built over a persistence of axiom_persistence.blocking; "
    "declare it as an `axiom_persistence.blocking.Client`, or open the store with "
    "`axiom_persistence.open_persistence`",
)
async def over_a_blocking_persistence(world):
    Player(blocking.open_persistence("memory:"))


@case(
    ConfigurationError,
    "this without_the_base.<locals>.A is not built yet: its __init__ has not called that of "
    "Client; call `super().__init__(persistence)` first in it",
)
async def without_the_base(world):
    class A(Player):
        def __init__(self, persistence) -> None:
            self.name = "x"

    A(open_persistence("memory:"))


@case(
    InsecureStorageError,
    "a secret has no confidential place to go [in MemoryAdapter(the memory of this "
    "process)]; open the store with secure=, a confidential adapter",
    place=True,
)
async def a_secret_without_a_place(world):
    Secret(open_persistence("memory:"))


@case(
    ConfigurationError,
    "this store cannot commit at once, which AutoSave.IMMEDIATE needs [in "
    "Shelf(shelf://\u2026@attic/top)]; leave auto_save out, or use AutoSave(interval, max_delay)",
    place=True,
)
async def at_once_where_that_cannot_be(world):
    Player(open_persistence(Shelf()), auto_save=AutoSave.IMMEDIATE)


@case(
    ConfigurationError,
    "two client classes are called 'Player' in one store: support.errors.clients.Player and "
    "other.Player would read and overwrite each other's state; pin another name: class "
    "Player(Client, name='...')",
)
async def two_classes_of_one_name(world):
    persistence = open_persistence("memory:")
    Player(persistence)
    type("Player", (Client,), {"__module__": "other"})(persistence)


@case(InvalidKeyError, "a name is a str that is not empty, not an empty one; for example 'notes'")
async def an_instance_without_a_name(world):
    Player(open_persistence("memory:"), instance="")


@case(
    ConfigurationError,
    "Player is asynchronous, and entered with `async with`, not `with`; write `async with`, "
    "in an `async def`; programs without an event loop open the store with "
    "`axiom_persistence.blocking.open_persistence`",
)
async def enter_a_client_with_with(world):
    with Player(open_persistence("memory:")):
        pass


# -- using ----------------------------------------------------------------------------------------------


@case(
    TypeMismatchError,
    "the value is of type int, not str [key 'Player/name'] [in MemoryAdapter(the memory of "
    "this process)]; pass a value of type str; nothing was stored",
    key="Player/name",
    place=True,
)
async def assign_another_type(world):
    async def change(client):
        client.name = NUMBER

    await player(change)


@case(
    EncodingError,
    "object is a class this library cannot write (at $[0]) [key 'Player/tags'] [in "
    "MemoryAdapter(the memory of this process)]; save what it can be built from, its text or "
    "a list of its items, and build it after loading",
    key="Player/tags",
    place=True,
)
async def assign_what_cannot_be_saved(world):
    async def change(client):
        client.tags = [object()]

    await player(change)


@case(
    ValidationError,
    "Player.name refuses <str of 7 characters> [key 'name']; nothing was changed; see the "
    "`validate` of the field",
    key="name",
)
async def assign_what_validate_answers_false_to(world):
    async def change(client):
        client.name = MARK

    await player(change)


@case(
    ValidationError,
    "Player.title refuses <str of 7 characters>: Player.<lambda> raised ValueError [key "
    "'title']; nothing was changed; see the cause, and the `validate` of the field",
    key="title",
)
async def assign_what_validate_raises_for(world):
    async def change(client):
        client.title = MARK

    await player(change)


@case(TypeMismatchError, "Player.draft is a str, not <int> [key 'draft']; nothing was changed", key="draft")
async def assign_another_type_to_what_is_not_stored(world):
    async def change(client):
        client.draft = NUMBER

    await player(change)


@case(
    ConfigurationError,
    "Player has no field 'NAME'; did you mean 'name'?; its fields are name, title, tags, draft",
)
async def persist_a_field_that_is_none(world):
    await player(lambda client: client.persist_state("NAME"))


@case(
    CapabilityUnavailableError,
    "the client is closed: nothing can be kept any more [key 'Player/']; use it inside its "
    "`with` block, or restore it again",
    key="Player/",
)
async def assign_after_the_end(world):
    client = await player(None)
    client.name = "x"


@case(
    CapabilityUnavailableError,
    "the client is not restored yet [key 'Player/']; use it inside its `with` block",
    key="Player/",
)
async def a_transaction_before_it_is_restored(world):
    async with open_persistence("memory:") as persistence, Player(persistence).transaction():
        pass


@case(
    ConfigurationError,
    "persist_state inside a transaction or an action of the same client; the end of the "
    "transaction saves what its body changed",
)
async def persist_inside_a_transaction(world):
    async def change(client):
        async with client.transaction():
            await client.persist_state()

    await player(change)


@case(
    ConfigurationError,
    "Player.name and .tags cannot change as one: a transaction of several fields needs an "
    "atomic adapter [in Shelf(shelf://\u2026@attic/top)]; put Journaled around it, or change one "
    "field at a time",
    place=True,
)
async def two_fields_where_it_is_not_atomic(world):
    async def change(client):
        async with client.transaction():
            client.name, client.tags = "x", ["y"]

    await player(change, Shelf())


@case(
    ConfigurationError,
    "Player does not know the action <str of 7 characters>; override `async def process(self, action)`",
)
async def an_unknown_action(world):
    await player(lambda client: client.process(MARK))


@case(
    ConfigurationError,
    "each item comes asynchronously, so the loop over it is `async for`, not `for`; write "
    "`async for`, or `[item async for item in ...]` for a list; programs without an event "
    "loop open the store with `axiom_persistence.blocking.open_persistence`",
)
async def walk_the_state_with_for(world):
    async def change(client):
        for _ in client.state_stream():
            pass

    await player(change)


@case(
    TypeMismatchError,
    "the stored value is not of type list[str]: Expected `array`, got `str` at $; it is a "
    "JSON string of 7 characters [key 'Player/tags'] [in MemoryAdapter(the memory of this "
    'process)]; load it as the type it was saved with, or write @migrations.value("1.0", '
    "\"2.0\", key='Player/tags') in the Migrations that open_persistence(migrations=...) is given; "
    "where the type of the field changed, `tags: ... = "
    "client_state(..., migrate=...)` with a function of the stored value; "
    "`client.accept('tags')` lets the present value replace it; another key= begins anew",
    key="Player/tags",
    place=True,
)
async def a_stored_value_of_another_type(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("Player/tags", MARK)
        client = Player(persistence)
        report = await client.restore_state()
        await client.close(discard=True)
        raise report.unreadable["tags"]


# -- several --------------------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "str is not Persistable: it has no persisted_keys, persistence, persist_state, "
    "restore_state; make it a Client, or give it these",
)
async def manage_what_is_no_client(world):
    ClientManager().register(MARK)


@case(ConfigurationError, "a client is registered as 'player' already; give this one a key of its own")
async def manage_two_of_one_key(world):
    manager, persistence = ClientManager(), open_persistence("memory:")
    manager.register(Player(persistence), "player")
    manager.register(Player(persistence, instance="b"), "player")


@case(ConfigurationError, "no Player is registered as 'player'; registered are none")
async def manage_none_of_that_key(world):
    ClientManager().client("player", Player)


@case(
    ConfigurationError,
    "manage_a_blocking_client.<locals>.Other is a blocking client, which nobody can await; "
    "declare it as an axiom_persistence.Client, or enter it with `with`",
)
async def manage_a_blocking_client(world):
    class Other(blocking.Client):
        name: str = client_state("")

    with blocking.open_persistence("memory:") as persistence:
        manager, other = ClientManager(), Other(persistence)
        manager.register(other, "other")
        failures = await manager.start()
        other.close(discard=True)
        raise failures["other"]


@case(
    ConfigurationError,
    "an_action_for_what_has_none.<locals>.Own, registered as 'own', processes no actions; "
    "give it `async def process(self, action)`, as a Client has",
)
async def an_action_for_what_has_none(world):
    class Own:
        persisted_keys = ("a",)
        persistence = None

        async def persist_state(self) -> None: ...

        async def restore_state(self) -> None: ...

    manager = ClientManager()
    manager.register(Own(), "own")
    await manager.process("own", MARK)


# -- secrets --------------------------------------------------------------------------------------------


class Vault(Client):
    token: str = client_state("", secure=True, validate=lambda token: token != MARK)
    name: str = client_state("")


async def vault(change):
    opening = open_persistence("memory:", secure=ConfidentialMemory())
    async with opening as persistence, Vault(persistence) as client:
        await change(client)


@case(ValidationError, "Vault.token refuses this value [key 'token']; nothing was changed", key="token")
async def assign_a_secret_that_is_refused(world):
    async def change(client):
        client.token = MARK

    await vault(change)


@case(
    ConfigurationError,
    "Vault.name is kept in another place than what else changes in the transaction, and two "
    "places cannot change as one; assign secure fields in a transaction of their own",
)
async def a_secret_and_a_name_as_one(world):
    async def change(client):
        async with client.transaction():
            client.token, client.name = "x", "y"

    await vault(change)


@case(
    TypeMismatchError,
    "the confidential value does not fit its type at $ [key 'k'] [in ConfidentialMemory(the "
    "memory of this process)]; its content is not shown here",
    key="k",
    place=True,
)
async def load_a_secret_of_another_type(world):
    async with open_persistence("memory:", secure=ConfidentialMemory()) as persistence:
        await persistence.secure.save("k", MARK)
        await persistence.secure.load("k", int)


@case(
    ConfigurationError,
    "a_type_that_is_misspelt.<locals>.A.volume has no type of a value: Forward reference "
    "must be an expression -- got 'int['; write volume: SomeType = client_state(...)",
)
async def a_type_that_is_misspelt(world):
    class A(Client):
        volume: "int[" = client_state(5)  # noqa: F722 - the mistake


@case(
    ConfigurationError,
    "Player is kept by another persistence, and two cannot change as one [key 'Player/'] [in "
    "MemoryAdapter(the memory of this process)]; use a transaction of that one",
    key="Player/",
    place=True,
)
async def a_client_of_another_persistence(world):
    one, other = open_persistence("memory:"), open_persistence("memory:")
    async with one, other, Player(other) as client, one.transaction(client):
        pass


@case(
    ConfigurationError,
    "the default of declare_a_secret_with_a_wrong_default.<locals>.Account.token cannot be used: "
    "it does not fit",
    no_hint="what is wrong with a secret is not told",
)
async def declare_a_secret_with_a_wrong_default(world):
    class Account(Client):
        token: int = client_state(MARK, secure=True)
