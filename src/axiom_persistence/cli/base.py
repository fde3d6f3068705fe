"""What every command shares: its options, its store and the help with a misspelt name."""

from __future__ import annotations

import asyncio
import getpass
import os
import shlex
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar, get_args

import click
import msgspec
from click.shell_completion import CompletionItem

from ..errors import (
    CorruptedDataError,
    KeyUnavailableError,
    PersistenceError,
    StoreNotFoundError,
    nearest,
)
from ..keys import KEYSET
from ..opening._stack import stack
from ..opening.addresses import adapter_for
from ..opening.open import keychain_key, open_persistence
from ..persistence.persistence import AdapterBasedPersistence
from ..records.migrations import Migrations
from ..records.record import INTERNAL_SCHEMA, look_at
from ..runtime.acting import LONGEST
from ..security.audit import AuditLog, KeptAudit
from ..storage.adapter import StorageAdapter
from ..store._header import HEADER, Header
from ._endings import Ending, ExitCode, message_of
from ._keys import keys_given, keys_option
from ._output import Colour, quoted, set_colour, timestamp

if TYPE_CHECKING:
    from ..sync._options import Sync

__all__ = [
    "colour_option",
    "command",
    "complete_key",
    "complete_store",
    "facts_of",
    "kept_audit",
    "must_be_there",
    "no_such_key",
    "opened",
    "suggestion",
    "unopened",
    "versions_of",
]

T = TypeVar("T")

SUGGESTED_FROM_MAX: Final = 20_000
"""Keys compared with a misspelt one; more would make the error slow."""

COMPLETED_MAX: Final = 500
"""Keys offered to a shell: more than a person reads."""

_MEANT: Final = {"SQLiteAdapter": "an SQLite file", "FileStorageAdapter": "a directory of JSON files"}


def _set_colour(ctx: click.Context, param: click.Parameter, value: Colour | None) -> None:
    del ctx, param
    if value is not None:
        set_colour(value)


colour_option: Final = click.option(
    "--color",
    type=click.Choice(get_args(Colour)),
    expose_value=False,
    callback=_set_colour,
    help="When to colour; auto: on a terminal, unless NO_COLOR is set.",
)


def command(function: Callable[..., T]) -> Callable[..., T]:
    """The options of every command: ``--json``, ``--color`` and ``--keys``."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON; errors, too, on stderr.")
    return keys_option(colour_option(as_json(function)))


def complete_store(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """An address is completed like a file."""
    del ctx, param
    return [CompletionItem(incomplete, type="file")]


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A key is completed from the store in front of it."""
    del param
    where = ctx.params.get("where")
    if not where:
        return []

    async def found() -> list[str]:
        async with open_persistence(where, mode="inspect") as persistence:
            return await _first_keys(persistence, COMPLETED_MAX, incomplete)

    try:
        keys = asyncio.run(found())
    except PersistenceError:
        return []  # in the middle of a line there is nobody to tell
    return [CompletionItem(key) for key in keys if key.isprintable()]


@asynccontextmanager
async def opened(
    where: str,
    mode: Literal["normal", "inspect", "encrypt"],
    migrations: Migrations | None = None,
    audit: AuditLog | None = None,
    sync: Sync | None = None,
) -> AsyncIterator[AdapterBasedPersistence]:
    """The store at ``where``, which must be there: only ``set`` makes one.

    Without ``migrations`` it is read and saved as the version that it has. An audit trail is kept on.
    """
    async with _explained(where):
        as_stored = await versions_of(where)
        keys, kept = keys_given(create=mode == "encrypt"), audit or kept_audit()
        known = migrations or as_stored
        opening = open_persistence(where, mode=mode, migrations=known, keys=keys, audit=kept, sync=sync)
        async with opening as persistence:
            yield persistence


def kept_audit() -> AuditLog:
    """What an audited store is opened with: the entries say who gave the command."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        name = f"user {os.getuid()}"
    return KeptAudit(actor=name[:LONGEST])


@asynccontextmanager
async def unopened(where: str, *, inspect: bool) -> AsyncIterator[StorageAdapter]:
    """What a persistence would stand on, for one who must not mind the header. Opened with ``--keys``."""
    given = keys_given()
    keys = keychain_key(where) if given == "keychain" else given
    place = adapter_for(where, inspect=inspect)
    async with stack(place, cache=None, inspect=True, keys=keys, audit=kept_audit()) as adapter:
        if await adapter.exists(KEYSET):
            raise KeyUnavailableError(
                "this store is encrypted, and no key was given",
                adapter=adapter,
                hint="--keys says who has it",
            )
        yield adapter


async def versions_of(where: str) -> Migrations:
    """The versions that the store at ``where`` says it has. Raises ``StoreNotFoundError``."""
    migrations = Migrations()
    async with adapter_for(where, inspect=True) as adapter:
        stored = (await adapter.fetch((HEADER,))).get(HEADER)
    record = stored and look_at(HEADER, stored.data, INTERNAL_SCHEMA)[0]
    if record is not None:  # else it is damaged, and whoever opens the store says so
        header = msgspec.json.decode(record.value, type=Header)
        migrations = Migrations(header.schema)
        for name, client in header.clients.items():
            if client.schema:
                migrations.declare_client(name, client.schema)
    return migrations


async def must_be_there(where: str) -> None:
    """Raise ``Ending`` where there is no store."""
    async with _explained(where), adapter_for(where, inspect=True):
        pass


@asynccontextmanager
async def _explained(where: str) -> AsyncIterator[None]:
    """What the library says of a store, in the words of the command line."""
    try:
        yield
    except StoreNotFoundError:
        adapter = adapter_for(where)
        hint = f"{where!r} was read as {_meaning(where, adapter)}; `set` makes a new store"
        raise Ending(ExitCode.NO_SUCH_STORE, f"no store at {adapter.location}", hint=hint) from None
    except CorruptedDataError as error:
        cause = error.__cause__
        if error.key is None or (cause is not None and not isinstance(cause, PersistenceError)):
            raise  # the medium itself, which no repair of records helps
        repair = f"axiom-persistence verify {shlex.quote(where)} --repair"
        hint = f"{repair} brings back the value before it, where one is kept"
        raise Ending(ExitCode.FOUND, message_of(error), key=error.key, hint=hint) from None


def _meaning(where: str, adapter: StorageAdapter) -> str:
    if adapter.location.endswith("state.db") and "state.db" not in where:
        return "the name of an application"
    return _MEANT.get(type(adapter).__name__, f"the address of a {type(adapter).__name__}")


async def _first_keys(persistence: AdapterBasedPersistence, most: int, prefix: str = "") -> list[str]:
    found: list[str] = []
    async for key in persistence.keys(prefix):
        if len(found) == most:
            break
        found.append(key)
    return found


async def no_such_key(persistence: AdapterBasedPersistence, key: str) -> NoReturn:
    """Raise the ``Ending`` for a key that is not there, naming the nearest one that is."""
    known = await _first_keys(persistence, SUGGESTED_FROM_MAX)
    hint = suggestion(key, known) if known else "the store is empty"
    message = f"no key {key!r} in {persistence.adapter.location}"
    raise Ending(ExitCode.NO_SUCH_KEY, message, key=key, hint=hint)


async def facts_of(persistence: AdapterBasedPersistence, key: str) -> dict[str, Any] | None:
    """What is known of a record, for JSON. None: there is none."""
    info = await persistence.describe(key)
    if info is None:
        return None
    facts = msgspec.structs.asdict(info)
    del facts["too_new"]  # ``damage`` says it
    return {**facts, "saved_at": timestamp(info.saved_at), "expires_at": timestamp(info.expires_at)}


def suggestion(word: str, known: Iterable[str]) -> str:
    """``did you mean …?`` with the very word, as a shell takes it; or nothing."""
    near = nearest(word, known)
    return f"did you mean {quoted(near)}?" if near is not None else ""
