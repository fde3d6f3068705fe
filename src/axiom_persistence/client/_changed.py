"""Fields whose declaration has changed since they were stored: another name, another type."""

from __future__ import annotations

from typing import Any

from ..errors import ConflictError, PersistenceError, StorageError, TypeMismatchError, refused_by
from ..records.record import Record, major, seal_about, seal_record
from ..store._reading import Seen
from ..store._tagged import entries_for
from ..store.store import Store
from ._fields import Field
from ._state import State

__all__ = ["converted", "take_over"]


async def take_over(state: State, found: dict[str, Seen | PersistenceError]) -> None:
    """Move what is stored under earlier names of fields to the present ones, where nothing is there."""
    for name, one in list(found.items()):
        field = state.fields[name]
        if field.earlier and isinstance(one, Seen) and one.record is None:
            try:
                found[name] = await _moved(state, field) or one
            except StorageError:
                raise
            except PersistenceError as error:  # the record there cannot be read: it stays where it is
                found[name] = error


async def _moved(state: State, field: Field) -> Seen | None:
    """The record of the first earlier name that has one, now under the present name."""
    store, prefix = state.place(field)
    new = prefix + field.segment
    for segment in field.earlier:
        old = prefix + segment
        seen = await store.read(old)
        if seen.record is None:
            continue
        record = seen.record
        if major(record.schema) > major(store.schema_of(new)):
            return Seen(None, record)  # only its compatible form can be read: it is not ours to move
        data = seal_record(new, record.value, record.schema, expires=record.expires, compat=record.compat)
        data = seal_about(new, data, record.subject)
        if store.adapter.traits.atomic:
            steps: list[dict[str, bytes | None]] = [{new: data, old: None, **entries_for({new: data})}]
        else:  # the new one first: whatever ends the program in between, one of them is there
            steps = [{new: data}, {old: None}]
        try:
            version = None
            for changes in steps:
                versions = await store.commit(changes, expect=_expected(changes, old, seen, new))
                version = versions.get(new, version)
        except ConflictError:  # another process has just done it
            return await store.read(new)
        except StorageError:  # a place that cannot be written can still be read; the next restore tries again
            return Seen(None, seen.record)
        return Seen(version, seen.record)
    return None


def _expected(changes: dict[str, bytes | None], old: str, seen: Seen, new: str) -> dict[str, str | None]:
    expected = {new: None, old: seen.version}
    return {key: expected[key] for key in changes}


def converted(store: Store, key: str, record: Record, field: Field, where: str) -> Any:
    """What ``migrate`` makes of a record that is not of the field's type. Raises ``TypeMismatchError``."""
    assert field.migrate is not None
    old = store.decode(key, record, Any)
    try:
        made = field.migrate(old)
        return store.codec.decode(store.codec.encode(made), field.kind, key)
    except Exception as error:  # a function of the user, and what it returned
        made_none = f"migrate of {where} made no value of its type"
        if not field.secure:
            raise TypeMismatchError(
                f"{made_none}: {refused_by(error)}", key=key, adapter=store.adapter
            ) from error
        kind = type(error).__name__
    raise TypeMismatchError(f"{made_none}: {kind}", key=key, adapter=store.adapter)
