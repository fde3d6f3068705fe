"""``schema``: what is stored, field by field, and what of it the program's classes do not fit."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from ..errors import PersistenceError, TypeMismatchError
from ..jobs.schema import Shape, shapes
from ..keys import Key, encode_segment
from ..records.migrations import Migrations
from ..records.record import Record
from ..records.unknown import fields_unknown
from ..store.store import Store
from ._applications import named_in
from ._endings import ExitCode
from ._output import data, note, printable, style, to_json
from .base import command, complete_key, complete_store, opened

if TYPE_CHECKING:
    from ..client.client import Client

__all__ = ["schema"]


@click.command("schema", short_help="Show fields and types of what is stored.")
@click.argument("where", shell_complete=complete_store)
@click.argument("prefix", shell_complete=complete_key, default="")
@click.option("--app", metavar="MODULE", help="Compare with the clients and keys that MODULE declares.")
@command
def schema(where: str, prefix: str, app: str | None, as_json: bool) -> int:
    """Show which keys are stored, with the fields of their values and the types of these, and no value.

    With --app, also what differs from the code: fields without a value, values without a field, types that
    do not fit, read through the Migrations that MODULE declares. Exits with 3 when something stored cannot
    be read by that code.
    """
    module = None if app is None else named_in(app)
    found, differences = asyncio.run(_schema(where, prefix, module))
    if as_json:
        listed = [{name: getattr(shape, name) for name in Shape.__slots__} for shape in found]
        data(to_json({"stored": listed, **({} if module is None else {"differences": differences})}))
    else:
        for shape in found:
            _write(shape)
        for each in differences:
            mark = style("✖", "red") if each["unreadable"] else style("-", "yellow")
            data(f"{mark} {printable(each['key'])}: {printable(each['difference'])}")
        if module is not None and not differences:
            note("nothing differs from the code")
    return ExitCode.FOUND if any(each["unreadable"] for each in differences) else ExitCode.DONE


async def _schema(
    where: str, prefix: str, module: ModuleType | None
) -> tuple[list[Shape], list[dict[str, Any]]]:
    from ..client.client import Client

    declared = [] if module is None else list(vars(module).values())
    clients = [
        each for each in declared if isinstance(each, type) and issubclass(each, Client) and each._fields
    ]
    named = [encode_segment(each._stored_name) + "/" for each in clients]
    async with opened(where, "inspect") as persistence:
        store, _ = persistence.place("")
        found = await shapes(store, prefix, named=named)
    if module is None:
        return found, []
    differences: list[dict[str, Any]] = []
    migrations = next((each for each in declared if isinstance(each, Migrations)), None)
    async with opened(where, "inspect", migrations) as persistence:
        store, _ = persistence.place("")
        for client, start in zip(clients, named, strict=True):
            client._resolve()
            store.declare_client(start[:-1], client._schema)
            differences += await _of_client(store, client, start)
        for key in declared:
            if isinstance(key, Key):
                differences += await _of_value(store, key.name, key.kind)
    return found, differences


async def _of_client(store: Store, client: type[Client], start: str) -> list[dict[str, Any]]:
    fields = {
        field.segment: field for field in client._fields.values() if field.persisted and not field.secure
    }
    earlier = {segment: field for field in fields.values() for segment in field.earlier}
    seen: set[str] = set()
    found: list[dict[str, Any]] = []
    async for key in store.keys(start):
        segment = key.rpartition("/")[2]
        field = fields.get(segment)
        if field is not None:
            seen.add(segment)
            if field.migrate is None:
                found += await _of_value(store, key, field.kind)
        elif segment in earlier:
            found.append(
                _differs(key, f"the next start of {client.__name__} moves it to {earlier[segment].key!r}")
            )
        else:
            found.append(
                _differs(
                    key,
                    f"{client.__name__} has no such field; if it was renamed, "
                    f"write was={segment!r} in the client_state of the new one",
                )
            )
    return found + [_differs(start + each, "nothing is stored yet") for each in fields if each not in seen]


async def _of_value(store: Store, key: str, kind: Any) -> list[dict[str, Any]]:
    try:
        record: Record | None = (await store.read(key)).record
    except PersistenceError as error:
        return [_differs(key, error.message, unreadable=True)]
    if record is None:
        return []
    try:
        value = store.decode(key, record, kind)
    except TypeMismatchError as error:
        name = getattr(kind, "__qualname__", kind)
        return [_differs(key, f"it is not of type {name} at {error.path}; {error.hint}", unreadable=True)]
    unknown = fields_unknown(record.value, kind, store.codec.written(value, kind))
    return [_differs(key, f"{name} is not known to the code, and kept") for name in unknown]


def _differs(key: str, difference: str, *, unreadable: bool = False) -> dict[str, Any]:
    return {"key": key, "difference": difference, "unreadable": unreadable}


def _write(shape: Shape) -> None:
    count = f"  ({shape.count:,} records)" if shape.count != 1 else ""
    schemas = ", ".join(sorted(shape.schemas))
    kind = "" if shape.fields and set(shape.types) == {"dict"} else f": {_union(shape.types)}"
    data(f"{printable(shape.pattern)}{kind}{count}" + (f"  schema {schemas}" if schemas else ""))
    for name, types in shape.fields.items():
        some = "" if types.total() == shape.count else f"  (in {types.total():,})"
        data(f"    {printable(name)}: {_union(types)}{some}")
    for problem in shape.problems:
        data(f"    {style('✖', 'red')} {printable(problem)}")


def _union(types: Counter[str]) -> str:
    return " | ".join(name for name, _ in types.most_common()) or "unknown"
