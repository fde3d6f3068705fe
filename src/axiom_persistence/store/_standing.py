"""What a store's header says, and what it means for this program: what it may read and save."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import msgspec

from ..errors import MigrationError, SchemaTooNewError
from ..keys import INTERNAL
from ..records.migrations import Edge, Line, Migrations, order
from ..records.record import FIRST_SCHEMA, FORMAT, major

__all__ = [
    "CHECKING",
    "REWRITING",
    "ROLLING_BACK",
    "ClientSchema",
    "Header",
    "Kept",
    "Running",
    "Standing",
    "layout_of",
    "new_header",
    "updated",
]

CHECKING: Final = "checking"
REWRITING: Final = "rewriting"
ROLLING_BACK: Final = "rolling back"


class ClientSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the store knows of a client type."""

    schema: str = ""
    """The schema of the newest program that saved it; empty: it has none of its own."""


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """A migration whose originals are kept."""

    id: str
    start: str
    end: str
    schema: str
    """What the header said before it, this and the others below."""
    layout: str = FIRST_SCHEMA
    migrated: str = FIRST_SCHEMA
    clients: dict[str, str] = {}


class Running(msgspec.Struct, frozen=True, omit_defaults=True):
    """A migration or a rollback that is under way, or was cut short."""

    id: str
    start: str
    end: str
    state: str
    after: str = ""
    """The last key that is done, in key order."""


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a store says of itself, in its own record."""

    id: str
    format: int = FORMAT
    created: float = 0.0
    """Seconds since 1970 UTC."""
    marks_expiry: bool = False
    """The first record that expires brings a mark of its own. False: records may expire without one."""
    encrypted: bool = False
    """It was plain, and its records are sealed since: a program that has it open without keys stops."""
    schema: str = FIRST_SCHEMA
    """That of the newest program that saved something: one of an older major version may only read."""
    layout: str = FIRST_SCHEMA
    """The version up to which store steps have been done: it says which keys there are."""
    migrated: str = FIRST_SCHEMA
    """The version that every record has at least, whatever it says of itself."""
    clients: dict[str, ClientSchema] = {}
    kept: tuple[Kept, ...] = ()
    running: Running | None = None


@dataclass(slots=True)
class Standing:
    """What a header means for a program with its migrations."""

    newer: dict[str, str] = field(default_factory=dict)
    """Client types ("" for all other keys) whose records this program may only read, and their schema."""
    moved: str = ""
    """The version of store steps that this program does not know: an absent key may have another name now."""
    behind: str = ""
    """Why nothing can be read or saved before ``migrate``."""
    way_up: str = ""
    """What to do about that."""
    stopped: str = ""
    """Why nothing can be saved now."""
    is_due: bool = False
    """The header is still to say that this program saves here."""

    @classmethod
    def of(cls, header: Header, migrations: Migrations) -> Standing | None:
        """None: nothing is to be minded."""
        found = cls()
        line, running = migrations.store_line, header.running
        written = header.schema
        if running is not None and running.state == CHECKING:
            written = max(written, running.end, key=order)
        if major(written) > major(line.current):
            found.newer[""] = written
        if major(header.layout) > major(line.current):
            found.moved = header.layout
        way = line.way(header.schema)
        if way is None and line.edges:
            found.behind = (
                f"the store is at version {header.schema}; no steps lead from there to {line.current}"
            )
            found.way_up = f"declare a step that begins at {header.schema!r}"
        elif any(edge.stores for edge in way or ()):
            found.behind = f"the store is at version {header.schema}, and store steps lead to {line.current}"
            found.way_up = "call `migrate(...)` first, or `axiom-persistence migrate`"
        if running is not None and running.state == ROLLING_BACK:
            found.stopped = f"the store is being rolled back to {running.end}"
        known = {known.name: known.current for known in migrations.clients()}
        for name, client in header.clients.items():
            if client.schema and major(client.schema) > major(known.get(name, line.current)):
                found.newer[name] = client.schema
        found.is_due = not found.behind and header != updated(header, migrations)
        return found if found != cls() else None

    def refuse_save(self, key: str, migrations: Migrations, adapter: object) -> None:
        """Raise unless this program may save ``key``."""
        if key[0] == INTERNAL:
            return
        if self.stopped:
            raise MigrationError(
                self.stopped, key=key, adapter=adapter, hint="wait until it has ended, or go on with rollback"
            )
        self.refuse_read(key, adapter)
        if self.newer:
            parts = key.split("/")
            for name in ("", *parts[-3:-1]):
                if name in self.newer:
                    raise SchemaTooNewError(
                        f"a program with schema {self.newer[name]} has saved here; this one knows "
                        f"{migrations.line_of(key).current}, and may only read",
                        key=key,
                        adapter=adapter,
                        hint="update the program; nothing was changed",
                    )

    def refuse_read(self, key: str | None, adapter: object) -> None:
        """Raise unless this program may read ``key``; None: any."""
        if self.behind and (key is None or key[0] != INTERNAL):
            raise MigrationError(self.behind, key=key, adapter=adapter, hint=self.way_up)

    def refuse_absence(self, key: str | None, adapter: object) -> None:
        """Raise if a key that is absent may have got another name by a step this program does not know."""
        if self.moved and (key is None or key[0] != INTERNAL):
            self._moved_away(key, adapter)

    def _moved_away(self, key: str | None, adapter: object) -> NoReturn:
        raise SchemaTooNewError(
            f"the keys of this store were rearranged for schema {self.moved}; this program is older",
            key=key,
            adapter=adapter,
            hint="update the program; nothing was changed",
        )


def updated(header: Header, migrations: Migrations) -> Header:
    """The header once a program with these migrations has saved here."""
    line, clients = migrations.store_line, dict(header.clients)
    for own in migrations.clients():
        was = clients.get(own.name, ClientSchema())
        if order(was.schema) < order(own.current):
            clients[own.name] = msgspec.structs.replace(was, schema=own.current)
    changes: dict[str, Any] = {} if clients == header.clients else {"clients": clients}
    if order(header.schema) < order(line.current):
        changes |= {"schema": line.current, "layout": max(header.layout, layout_of(line), key=order)}
    return msgspec.structs.replace(header, **changes) if changes else header


def new_header(id: str, created: float, migrations: Migrations) -> Header:
    """That of a store which this program begins."""
    line = migrations.store_line
    current = line.current
    first = Header(id=id, created=created, marks_expiry=True, schema=current)
    first = msgspec.structs.replace(first, layout=layout_of(line), migrated=current)
    return updated(first, migrations)


def layout_of(line: Line, *, until: str | None = None) -> str:
    """The version of the last store step up to ``until``."""
    steps: list[Edge] = [edge for edge in line.edges.values() if edge.stores]
    ends = [edge.end for edge in steps if until is None or order(edge.end) <= order(until)]
    return max([FIRST_SCHEMA, *ends], key=order)
