"""Which steps bring a stored value from one version of an application to another. Pure: no input or output.

A *line* is a row of versions: the store has one, and so has each client type with a schema of its own.
Versions are numbers with dots (``"2.0"``). Within a major version one may go up without a step; from one
major version to the next there must be one. A record carries the version in which its own form last
changed, so that what no step touches is never rewritten, and older programs go on reading it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Final, NoReturn, Protocol, TypeVar

import msgspec

from ..errors import ConfigurationError, MigrationError, PersistenceError, refused_by
from ._lines import Edge, Line, StoreStep, ValueStep, check_version, order
from .codec import Codec, encode_value
from .record import FIRST_SCHEMA, INTERNAL_SCHEMA, Record, body_with, seal_about, seal_body, seal_record

__all__ = [
    "Edge",
    "Line",
    "Migrations",
    "Renewed",
    "StoreStep",
    "StoreTransaction",
    "ValueStep",
    "check_version",
    "order",
    "told",
]

_INTERNAL: Final = Line("", INTERNAL_SCHEMA)

V = TypeVar("V", bound=Callable[[Any], Any])


class StoreTransaction(Protocol):
    """What a store step is given: the whole store, as it is at the step's first version, changed at the end.

    Values are builtins (dict, list, str, int, float, bool, None), as JSON has them.
    """

    def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """The keys that begin with ``prefix``, in code point order, the step's own changes included."""
        ...

    async def read(self, key: str, default: Any = None) -> Any:
        """The value under ``key``; ``default`` where there is none."""

    async def write(self, key: str, value: Any) -> None:
        """Store ``value``. An expiry that the key has stays."""

    async def delete(self, key: str) -> None:
        """Forget ``key``. Fine when it is absent."""

    async def rename(self, old: str, new: str) -> None:
        """Give the value under ``old`` another key, with its expiry. Fine when it is absent."""


S = TypeVar("S", bound=Callable[[StoreTransaction], Awaitable[None]])


@dataclass(frozen=True, slots=True)
class _Check:
    matches: Callable[[str], object]
    kind: Any


class Renewed(msgspec.Struct, frozen=True, gc=False):
    """An older value in its form of today."""

    body: bytes
    """As JSON."""
    label: str
    """The version in which that form began."""
    steps: tuple[str, ...]
    """The names of the steps that were run."""


class Migrations:
    """What changed in the stored data from version to version of an application::

        migrations = Migrations(current="3.0")

        @migrations.value("1.0", "2.0", key="profile")
        def split_name(value):
            first, _, last = value.pop("name").partition(" ")
            return value | {"first": first, "last": last}

        @migrations.store("2.0", "3.0")
        async def one_list(tx):
            await tx.write("notes", [await tx.read(key) async for key in tx.keys("note/")])

        migrations.validate("profile", Profile)

    Give it to ``open_persistence(..., migrations=migrations)``. Steps are named by their functions. They run
    more than once for the same data (when it is tried, when it is written, at each access until then), so a
    step may depend on what it is given only, and must do nothing else. Complete it before a store is opened.
    """

    def __init__(self, current: str = FIRST_SCHEMA) -> None:
        self._lines = {"": Line("", check_version(current))}
        self._checks: list[_Check] = []
        self._in_use = False
        self.leads_back: bool = False
        """Whether any step has a ``down``: only then is there anything to write as ``compat``."""
        self._codec = Codec()

    def __repr__(self) -> str:
        names = [name for name in self._lines if name]
        return f"Migrations(current={self.current!r}{', clients=' + repr(names) if names else ''})"

    @property
    def current(self) -> str:
        """The version of the store that this program knows and writes."""
        return self._lines[""].current

    # -- declaring ---------------------------------------------------------------------------------

    def value(
        self,
        from_version: str,
        to_version: str,
        *,
        key: str | None = None,
        client: str | None = None,
        field: str = "*",
        down: Callable[[Any], Any] | None = None,
        name: str | None = None,
    ) -> Callable[[V], V]:
        """Declare a function from a value's old form to its new one, both builtins.

        ``key``: which keys, as in ``fnmatch`` (``"note/*"``). Or ``client``: the name of a client type that
        has a ``schema`` of its own, and the key of its ``field``. ``down`` leads back: with it, older
        programs of the major version before can go on reading, and ``rollback`` needs no original.
        """
        if (key is None) == (client is None):
            raise ConfigurationError(
                "a value step is for keys or for a client type", hint='key="profile" or client="Preferences"'
            )

        def declare(function: V) -> V:
            line, matches = self._line(client or ""), _pattern(field if key is None else key)
            if client is not None:
                matches = _field_of(client, matches)
            step = ValueStep(name or _name(function), matches, function, down)
            line.edge(from_version, to_version).values.append(step)
            self.leads_back |= down is not None
            if client is not None:
                line.current = max(line.current, to_version, key=order)
            return function

        return declare

    def store(
        self,
        from_version: str,
        to_version: str,
        *,
        down: Callable[[StoreTransaction], Awaitable[None]] | None = None,
        name: str | None = None,
    ) -> Callable[[S], S]:
        """Declare an async function that changes several keys at once: renames, splits, merges them.

        It is given a ``StoreTransaction``. What it changes becomes one commit, so it has to fit into memory.
        """

        def declare(function: S) -> S:
            step = StoreStep(name or _name(function), function, down)
            self._line("").edge(from_version, to_version).stores.append(step)
            return function

        return declare

    def validate(self, key: str, type: Any) -> None:
        """Have every result for keys like ``key`` (as in ``fnmatch``) decoded as ``type`` when migrating."""
        self._codec.decoder(type)
        self._refuse_late()
        self._checks.append(_Check(_pattern(key), type))

    def _line(self, name: str) -> Line:
        self._refuse_late()
        return self._lines.setdefault(name, Line(name, FIRST_SCHEMA))

    def _refuse_late(self) -> None:
        if self._in_use:
            raise ConfigurationError(
                "these Migrations are in use: a store was opened with them",
                hint="declare all steps before open_persistence",
            )

    # -- for the store -----------------------------------------------------------------------------

    def begin(self) -> None:
        """A store is opened with these. Raises ``ConfigurationError`` for steps that lead nowhere."""
        for line in self._lines.values():
            line.check()
        self._in_use = True

    def values_only(self) -> Migrations:
        """The same without the store steps: for a second store, which only has values."""
        other = Migrations(self.current)
        other._checks, other.leads_back = self._checks, self.leads_back
        for name, line in self._lines.items():
            own = other._lines.setdefault(name, Line(name, line.current))
            own.edges = {start: Edge(edge.start, edge.end, edge.values) for start, edge in line.edges.items()}
        return other

    def declare_client(self, name: str, schema: str | None) -> bool:
        """What the class of a client type says of its schema (None: nothing); whether that is news."""
        line = self._lines.get(name)
        if schema is None:
            if line is not None:
                raise ConfigurationError(
                    f"there are steps for the client type {name}, whose class names no schema",
                    hint=f"write class {name}(Client, schema={line.current!r})",
                )
            return False
        if line is None:
            line = self._lines[name] = Line(name, check_version(schema))
            return True
        known, line.current = line.current, check_version(schema)
        line.forget()
        try:
            line.check()
        except ConfigurationError:
            line.current = known
            line.forget()
            raise
        return known != schema

    def clients(self) -> Iterator[Line]:
        """The lines of client types."""
        return (line for name, line in self._lines.items() if name)

    def line_of(self, key: str) -> Line:
        """Whose versions count for ``key``. The library's own records have one that no step changes."""
        if key[:1] == "\x01":
            return _INTERNAL
        if len(self._lines) > 1:
            parts = key.split("/")
            for name in (*parts[-2:-1], *parts[-3:-2]):
                if name in self._lines:
                    return self._lines[name]
        return self._lines[""]

    @property
    def store_line(self) -> Line:
        """The versions of the store: of all keys but those of client types with a schema of their own."""
        return self._lines[""]

    def label(self, key: str) -> str:
        """What ``schema`` a record of ``key`` gets."""
        return self.line_of(key).label(key)

    def up(self, key: str, value: Any, start: str, end: str | None = None) -> Any:
        """``value`` at version ``end`` (None: the current). ``MigrationError`` names step and key."""
        line = self.line_of(key)
        way = line.way(start) if end is None else line.way(start, end)
        if way is None:
            self._no_way(line, key, start, end or line.current)
        for edge in way:
            for step in edge.touching(key):
                value = _run(edge, step.name, step.function, value, key)
        return value

    def steps_of(self, key: str, start: str) -> tuple[str, ...]:
        """The names of the value steps that lead from ``start`` to today."""
        way = self.line_of(key).way(start) or ()
        return tuple(step.name for edge in way for step in edge.touching(key))

    def down(self, key: str, value: Any, end: str, start: str | None = None) -> Any:
        """``value`` at ``start`` (None: the current version) as ``end`` has it. Raises ``MigrationError``."""
        line = self.line_of(key)
        way = line.way(end) if start is None else line.way(end, start)
        for edge in reversed(way or ()):
            for step in reversed(edge.touching(key)):
                if step.down is None:
                    raise MigrationError(
                        f"the step {edge.describe(step.name)} has no down, so nothing leads back",
                        key=key,
                        step=step.name,
                        hint="declare the step with down=, or restore a snapshot",
                    )
                value = _run(edge, step.name, step.down, value, key)
        return value

    def can_go_down(self, key: str, end: str) -> bool:
        """Whether every step that touches ``key`` since ``end`` leads back."""
        way = self.line_of(key).way(end)
        return way is not None and all(step.down for edge in way for step in edge.touching(key))

    def renewed(self, key: str, record: Record, floor: str = "") -> Renewed | None:
        """What an older record becomes; None: no step touches it. Raises ``MigrationError``."""
        line = self.line_of(key)
        if not line.edges:
            return None
        way = line.way(record.schema)
        if way is None:
            way = self._way(line, record.schema, floor)
            if way is None:
                self._no_way(line, key, record.schema, line.current)
        value, label = None, ""
        names: tuple[str, ...] = ()
        for edge in way:
            for step in edge.values:
                if step.matches(key):
                    if not names:
                        value = msgspec.json.decode(record.value)
                    value = _run(edge, step.name, step.function, value, key)
                    label, names = edge.end, (*names, step.name)
        return Renewed(self.encoded(key, value, names), label, names) if names else None

    def _way(self, line: Line, schema: str, floor: str) -> tuple[Edge, ...] | None:
        """The edges from a record's version on. The steps up to ``floor`` may be gone from the program."""
        way = line.way(schema)
        return line.way(max(schema, floor, key=order)) if way is None and floor and not line.name else way

    def _no_way(self, line: Line, key: str, start: str, end: str) -> NoReturn:
        raise MigrationError(
            f"no way is known from version {start} of {line} to {end}",
            key=key,
            hint=f"declare a step that begins at {start!r}",
        )

    def migrated(self, key: str, record: Record, floor: str = "") -> bytes:
        """The value in an older record as JSON of today. Raises ``MigrationError``.

        ``floor``: every record of the store has been brought to this version at least, so that one which says
        less was touched by no step since; the steps up to there may be gone from the program.
        """
        made = self.renewed(key, record, floor)
        return record.value if made is None else made.body

    def encoded(self, key: str, value: Any, steps: tuple[str, ...] = ()) -> bytes:
        """What the steps made of a value, as JSON. Raises ``MigrationError`` for what cannot be written."""
        try:
            return encode_value(value)
        except PersistenceError as error:
            raise MigrationError(
                f"what {told(steps)} made cannot be written: {error.message}",
                key=key,
                step=steps[-1] if steps else None,
                hint=error.hint,
            ) from error

    def compat(self, key: str, body: bytes) -> bytes | None:
        """The value as the major version before reads it; None: it reads the value itself, or cannot."""
        if not self.leads_back:
            return None
        line = self.line_of(key)
        label = line.label(key)
        before = line.last_of_major_before(label)
        if before is None or not self.can_go_down(key, before):
            return None
        return self.encoded(key, self.down(key, msgspec.json.decode(body), before))

    def validated(self, key: str, body: bytes, steps: tuple[str, ...] = ()) -> None:
        """Raise ``MigrationError`` unless a result is of the types that ``validate`` was told."""
        for check in self._checks:
            if check.matches(key):
                try:
                    self._codec.decode(body, check.kind)
                except PersistenceError as error:
                    raise MigrationError(
                        f"what {told(steps)} made would not load: {error.message}",
                        key=key,
                        step=steps[-1] if steps else None,
                        hint="correct the step, or what validate() says of this key",
                    ) from error

    def sealed(
        self,
        key: str,
        body: bytes,
        expires: int | None,
        label: str | None = None,
        subject: str | None = None,
    ) -> bytes:
        """The record of ``key`` with a value of today, JSON already."""
        compat = self.compat(key, body) if self.leads_back else None
        data = seal_body(key, body_with(body, label or self.label(key), expires=expires, compat=compat))
        return data if subject is None else seal_about(key, data, subject)

    def sealed_as(
        self, key: str, value: Any, version: str, expires: int | None, subject: str | None = None
    ) -> bytes:
        """The record of ``key`` with a value of an earlier version, as a program of that version wrote it."""
        label = self.line_of(key).label(key, version)
        return seal_about(key, seal_record(key, self.encoded(key, value), label, expires=expires), subject)


def _run(edge: Edge, name: str, function: Callable[[Any], Any], value: Any, key: str) -> Any:
    try:
        result = function(value)
    except Exception as error:  # a function of the user may raise anything
        raise MigrationError(
            f"the step {edge.describe(name)} failed: {refused_by(error)}",
            key=key,
            step=name,
            hint="correct the step; the record is as it was",
        ) from error
    if isinstance(result, CoroutineType):
        result.close()
        raise MigrationError(
            f"the step {edge.describe(name)} is async, and a value step is a plain function",
            key=key,
            step=name,
            hint="write it with def; a store step is async, and changes several keys at once",
        )
    return result


def told(steps: tuple[str, ...]) -> str:
    """Steps by their names, for a message."""
    return f"the step{'s' if len(steps) != 1 else ''}{' ' if steps else ''}{', '.join(map(repr, steps))}"


def _pattern(pattern: str) -> Callable[[str], object]:
    from fnmatch import translate  # a program without steps needs none of it

    return re.compile(translate(pattern)).match


def _field_of(client: str, matches: Callable[[str], object]) -> Callable[[str], object]:
    """Keys of a client type, with or without an instance, whose last part ``matches``."""

    def is_field(key: str) -> object:
        return client in key.split("/")[-3:-1] and matches(key.rpartition("/")[2])

    return is_field


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))
