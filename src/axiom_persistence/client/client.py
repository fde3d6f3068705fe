"""A class whose annotated fields keep themselves."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self

from ..errors import ConfigurationError, PersistenceError, shown
from ..keys import encode_segment
from ..persistence.persistence import AdapterBasedPersistence
from ..records.migrations import check_version
from ..runtime.faces import AsyncOnly, Walk, walk
from ..storage.adapter import Durability
from . import _restore, _transaction
from ._auto_save import AutoSave
from ._commit import save_together
from ._fields import Field, collect_fields, resolve_kinds, unknown_field
from ._lifecycle import ClientPhase, RestoreReport
from ._place import plain_place, secure_place
from ._saver import roster_of
from ._state import State
from ._stream import ClientUpdate
from ._unsaved import finish, replace_live, tell, watch_close

__all__ = ["Client"]


class Client(AsyncOnly):
    """Declared state that keeps itself::

        class Preferences(Client):
            theme: Theme = client_state(Theme.SYSTEM)
            recent_files: list[str] = client_state(default_factory=list)

        async with Preferences(persistence) as preferences:  # restored here
            preferences.theme = Theme.DARK  # stored before the next statement, where the adapter can

    Each field is one record, under ``<ClientType>/[<instance>/]<key>``. ``instance`` tells several clients
    of one class apart. One of each is live over a persistence: a second one that is entered takes the place
    of the first, whose values are stored or handed over, and which raises from then on.
    ``class Preferences(Client, name="prefs")`` pins the type's name in the store, and ``schema="2.0"`` gives
    it versions of its own, with steps between them in the ``Migrations`` of the store. ``auto_save``:
    ``AutoSave.IMMEDIATE`` where the adapter can commit at once, else ``AutoSave()``. ``on_error`` is called
    with the client and the error of a save in the background that did not succeed: its value stays pending
    and is tried again, until the store is closed. It is called, too, once for each field whose stored value
    turns out to be unreadable.

    An assignment raises for what cannot be a value of the field (``TypeMismatchError``, ``EncodingError``,
    ``ValidationError``), for a name that is no field (``AttributeError``) and on a closed client; never
    because of the store. Changes inside a list, dict or other mutable value are noticed at the next
    interval, at ``touch``, at ``persist_state`` and at the end.

    Building one raises ``InsecureStorageError`` for secure fields without a confidential place, and
    ``ConfigurationError`` for what cannot work. Any thread may read and assign; the async methods may be
    used from any event loop. When the loop it was entered in has ended, a client goes on in the next one from
    its first use there: an awaited method, an assignment, ``touch`` or a stream. Reading a field is none.
    """

    # No ClassVar: pyright would not take the class for a Persistable then.
    persisted_keys: tuple[str, ...] = ()
    """The keys of all fields that are stored."""
    _fields: ClassVar[dict[str, Field]] = {}
    _unresolved: ClassVar[dict[str, Any]] = {}
    _stored_name: ClassVar[str] = ""
    _schema: ClassVar[str | None] = None
    _state: State

    def __init_subclass__(cls, *, name: str | None = None, schema: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited: dict[str, Field] = {}
        unresolved: dict[str, Any] = {}
        for base in reversed(cls.__mro__[1:]):
            if issubclass(base, Client):
                inherited |= base._fields
                unresolved |= base._unresolved
        cls._fields, own = collect_fields(cls, inherited, {*dir(Client), "persistence"})
        cls._unresolved = {n: a for n, a in unresolved.items() if n not in own} | own
        cls._stored_name = cls.__name__ if name is None else name
        encode_segment(cls._stored_name)
        cls._schema = None if schema is None else check_version(schema)
        cls.persisted_keys = tuple(str(f.key) for f in cls._fields.values() if f.persisted)
        resolve_kinds(cls, cls._unresolved, cls._fields, depth=1)
        if "process" in vars(cls):
            cls.process = _transaction.action(cls.process)  # type: ignore[method-assign]

    @classmethod
    def _resolve(cls) -> None:
        """Find the types that were not known yet when the class was made."""
        if not cls._unresolved:
            return
        resolve_kinds(cls, cls._unresolved, cls._fields)
        for name, annotation in cls._unresolved.items():
            raise ConfigurationError(
                f"{cls.__qualname__}.{name}: the type {annotation!r} is not known",
                hint="import it at runtime, not only under TYPE_CHECKING",
            )

    def __init__(
        self,
        persistence: AdapterBasedPersistence,
        *,
        instance: str | None = None,
        auto_save: AutoSave | None = None,
        on_error: Callable[[Self, PersistenceError], object] | None = None,
    ) -> None:
        cls = type(self)
        cls._resolve()
        path = encode_segment(cls._stored_name) + "/"
        if instance is not None:
            path += encode_segment(instance) + "/"
        plain = plain_place(persistence, path)
        secure = any(field.secure for field in cls._fields.values())
        secret = secure_place(persistence, path) if secure else plain
        for store in {plain.store, secret.store}:
            store.declare_client(encode_segment(cls._stored_name), cls._schema)
        able = plain.store.adapter.traits.immediate
        if auto_save is None:
            auto_save = AutoSave.IMMEDIATE if able else AutoSave()
        elif auto_save.immediate and not able:
            raise ConfigurationError(
                "this store cannot commit at once, which AutoSave.IMMEDIATE needs",
                adapter=plain.store.adapter,
                hint="leave auto_save out, or use AutoSave(interval, max_delay)",
            )
        state = State(
            self,
            cls.__qualname__,
            cls._fields,
            plain,
            secret,
            auto_save=auto_save,
            immediate=able and auto_save.immediate,
            on_error=on_error,
        )
        state.will_observe = cls.state_will_update is not Client.state_will_update
        state.observed = cls.state_did_update is not Client.state_did_update
        roster = roster_of(plain.store)
        roster.name(cls._stored_name, cls)
        object.__setattr__(self, "persistence", persistence)
        object.__setattr__(self, "_state", state)
        for field in cls._fields.values():
            if field.persisted:
                state.place(field).store.check_key(state.key(field))
            state.put_default(field)
        state.roster = partial(roster_of, plain.store)
        roster.add(state)
        watch_close((plain.store, secret.store))

    # -- attributes --------------------------------------------------------------------------------

    persistence: AdapterBasedPersistence
    """Where this client is kept."""

    def __setattr__(self, name: str, value: Any) -> None:
        field = self._fields.get(name)
        if field is not None:
            try:
                state = self._state
            except AttributeError:
                raise _not_built(self) from None
            state.assign(field, value)
        elif name.startswith("_") or hasattr(getattr(type(self), name, None), "__set__"):
            object.__setattr__(self, name, value)
        else:
            message = unknown_field(type(self).__qualname__, name, self._fields)
            if not message.endswith("?"):
                message += "; declare it with client_state, or begin its name with an underscore"
            raise AttributeError(message)

    def __delattr__(self, name: str) -> None:
        if name in self._fields:
            raise AttributeError(f"a field cannot be deleted; `client.reset({name!r})` forgets its value")
        object.__delattr__(self, name)

    def __repr__(self) -> str:
        # Not through vars(): an instance whose __dict__ was asked for is read more slowly ever after.
        state: State | None = getattr(self, "_state", None)
        if state is None:
            return f"<{type(self).__qualname__} not built>"
        shown = "".join(f" {n}={f.shown(getattr(self, n, None))}" for n, f in self._fields.items())
        return f"<{state.plain.prefix.rstrip('/')} {state.phase.value}{shown}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__qualname__} cannot be copied or pickled: it is the owner of its state"
        )

    @property
    def phase(self) -> ClientPhase:
        """Where the client is in its life."""
        return self._state.phase

    @property
    def restore_report(self) -> RestoreReport | None:
        """What the latest restore found, and in ``unreadable`` what cannot be read now; None before it."""
        report = self._state.report
        return None if report is None else replace(report, unreadable=dict(self._state.unreadable))

    @property
    def pending(self) -> tuple[str, ...]:
        """The fields with a value that is not stored yet."""
        return tuple(self._state.dirty)

    @property
    def last_error(self) -> PersistenceError | None:
        """Why the latest save in the background did not succeed; None once everything is stored."""
        return self._state.last_error

    def snapshot(self, *, secure: bool = False) -> dict[str, Any]:
        """The values of all fields at one moment, by name; secure ones only if ``secure`` says so.

        Values of stored fields that can be changed in place are copies; those of the fields with
        ``persisted=False`` are the objects themselves. Raises ``EncodingError`` for a value that was changed
        into what cannot be stored.
        """
        state = self._state
        with state.lock:
            values = state.values(name for name, field in state.fields.items() if secure or not field.secure)
            for name in state.mutable & values.keys():
                field = state.fields[name]
                values[name] = state.place(field).store.codec.decode(state.encoded(field), field.kind)
        return values

    # -- the store ---------------------------------------------------------------------------------

    async def restore_state(self) -> RestoreReport:
        """Take over what is stored. Fields assigned before or meanwhile keep their value and save it.

        A stored value that cannot be read makes the client ``DEGRADED`` and is left alone until
        ``accept``; the log and ``on_error`` say so, and ``restore_report.unreadable`` says why. Damaged
        records are dealt with as the persistence was told. Raises ``StorageError`` where nothing could be
        read: the client is then as before. It can be called again at any time.
        """
        state = self._state
        roster = roster_of(state.plain.store)
        for other in {state, roster.live.get(state.plain.prefix, state)}:
            other.refuse_in_transaction("restore_state")
        async with state.plain.store.turn("client " + state.plain.prefix):
            await replace_live(state)
            roster.enter(state, state.auto_save.clock)
            try:
                report = await _restore.restore(state)
            finally:
                if not state.is_live:
                    roster.leave(state)
        roster.pending.discard(state)
        return report

    async def persist_state(self, *fields: str) -> None:
        """Store what changed (only ``fields``, if given), as durably as the persistence promises.

        Restores first where that has not happened. Raises what kept a value from being stored: the others
        are stored all the same, and it stays pending.
        """
        state = self._state
        wanted = {state.field(name).name for name in fields}
        state.refuse_closed()
        state.refuse_in_transaction("persist_state")
        if state.phase is ClientPhase.CREATED:
            await self.restore_state()
        state.follow()
        for name in fields:
            if name in state.unreadable:
                raise state.unreadable[name]
        async with state.plain.store.turn("client " + state.plain.prefix):
            failures = await save_together([state], names=wanted or None)
        for errors in failures.values():
            state.last_error = errors[0]
            raise errors[0]

    async def close(self, *, discard: bool = False) -> None:
        """Store what is pending and end. Fine when it is closed; it can be restored again.

        If something cannot be stored, this raises and the client stays as it is, so that the value is not
        lost: ``accept`` the field, try again, or ``close(discard=True)``.
        """
        state = self._state
        if state.phase is ClientPhase.CLOSED:
            return
        state.refuse_in_transaction("close")
        if not discard and (state.notice_mutations() or state.dirty or (state.is_live and state.unsynced)):
            try:
                await self.persist_state()
            except PersistenceError as error:
                over = state.store_closed and not self.persistence.is_available
                if not over or state.unreported():  # else the close of the persistence has raised it already
                    tell(state, error)
                    raise
                discard = True
        with state.lock:
            if not discard and state.dirty:  # assigned from another thread while it was saved
                raise ConfigurationError(
                    f"{', '.join(state.dirty)} of {state.name} was assigned while the client was closed"
                )
            saver = state.saver
            finish(state)
        if saver is not None:
            await saver.quiet()

    async def aclose(self) -> None:
        """The same as ``close()``, under the name that ``contextlib.aclosing`` knows."""
        await self.close()

    async def __aenter__(self) -> Self:
        if getattr(self, "_state", None) is None:
            raise _not_built(self)
        if not self._state.is_live:
            await self.restore_state()
        self._state.follow()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except PersistenceError as failure:
            if error is None:
                raise
            # What ended the body matters more; this one is told beside it and still pending.
            error.add_note(f"closing {self._state.name} did not succeed: {failure}")
            self._state.failed(failure)

    async def accept(self, field: str) -> None:
        """Let the present value of ``field`` replace the stored one that could not be read.

        The old bytes go to quarantine in the same commit. Does nothing for a readable field. Raises
        ``ConflictError`` when somebody else has just stored another value.
        """
        self._state.refuse_closed()
        self._state.follow()
        await _restore.accept(self._state, self._state.field(field).name)

    async def reset(self, *fields: str) -> None:
        """Give ``fields`` (all, if none are named) their defaults and forget what is stored of them.

        Raises for a field whose stored value could not be read: ``accept`` it first.
        """
        state = self._state
        names = fields or tuple(state.fields)
        chosen = [state.field(name) for name in names]
        state.refuse_in_transaction("reset")
        if not state.is_live:
            await self.restore_state()
        state.follow()
        for name in names:
            if name in state.unreadable:
                raise state.unreadable[name]
        async with state.plain.store.turn("client " + state.plain.prefix):
            await _transaction.forget(state, chosen)

    def touch(self, field: str) -> None:
        """Say that the value of ``field`` was changed in place: it is kept as if it were assigned."""
        state = self._state
        state.assign(state.field(field), getattr(self, field))

    # -- changes -----------------------------------------------------------------------------------

    def transaction(self, *, durability: Durability | str | None = None) -> AbstractAsyncContextManager[None]:
        """Make the assignments of an ``async with`` body one commit, or none of them, in memory and stored.

        ``durability`` as for ``persistence.save``. Raises ``ConflictError`` when another process stored
        one of the assigned fields meanwhile; the fields then have what is stored. Raises
        ``ConfigurationError`` when a second field changes and both cannot be stored in one step: over an
        adapter that is not atomic, or one of them secure and in another place.
        """
        state = self._state
        return _transaction.transaction(state, state.plain.store.durability(durability))

    @property
    def _participation(self) -> _transaction.Participation:
        """How it takes part in ``persistence.transaction(client, ...)``."""
        return _transaction.Participation(self._state)

    @_transaction.action
    async def process(self, action: Any) -> Any:
        """Do ``action``: what it changes is one commit, undone when it raises.

        Override it with a ``match`` over your own actions. As it is, it takes a function of the client,
        plain or async.
        """
        if not callable(action):
            raise ConfigurationError(
                f"{type(self).__qualname__} does not know the action {shown(action)}",
                hint="override `async def process(self, action)`",
            )
        result = action(self)
        return await result if inspect.isawaitable(result) else result

    def state_will_update(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Called before fields change here, with the present and the coming values. Raise to refuse.

        In a transaction: once, at its end. Not called for what is restored or comes from elsewhere.
        """

    def state_did_update(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Called after fields changed, by whatever cause, with their earlier and present values."""

    def state_stream(self, *fields: str) -> AsyncIterator[ClientUpdate]:
        """The present state first, then the changes, until the client is closed.

        A slow consumer sees several changes as one; one that never reads costs a name a field. With
        ``fields``, only their changes are told.
        """
        state = self._state
        state.follow()
        only = frozenset(state.field(name).name for name in fields) if fields else None
        hidden = frozenset(name for name, field in state.fields.items() if field.secure)
        return Walk(state.watchers.stream(state.values, hidden, only))

    @walk
    async def observe(self, field: str) -> AsyncIterator[Any]:
        """The present value of ``field`` first, then each new one, until the client is closed."""
        async for update in self.state_stream(field):
            yield update.values[field]


def _not_built(client: Client) -> ConfigurationError:
    name = type(client).__qualname__
    return ConfigurationError(
        f"this {name} is not built yet: its __init__ has not called that of Client",
        hint="call `super().__init__(persistence)` first in it",
    )
