"""Declared state for programs without an event loop."""

# The methods are no substitutes for their asynchronous namesakes: one face is never used as the other.
# mypy: disable-error-code="override"
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NoReturn, Self

from ..client import AutoSave, ClientUpdate, RestoreReport
from ..client import Client as _Client
from ..errors import ConfigurationError, PersistenceError, shown
from ..storage.adapter import Durability
from ._background import entered, run
from ._persistence import Persistence
from ._spelling import Entering
from ._streams import Stream

__all__ = ["Client"]


class Client(_Client):
    """``axiom_persistence.Client`` whose methods return when they are done, instead of being awaited::

        class Preferences(Client):
            theme: str = client_state("system")

        with open_persistence("notes") as persistence, Preferences(persistence) as preferences:
            preferences.theme = "dark"

    Declared and used the same way, from any thread; see there for what each method promises. Auto-save
    works in the background. ``on_error`` and, for changes that come from elsewhere, the hooks are called
    on the background thread, which must not wait: a blocking call from there is refused. ``process`` and
    actions are plain methods.
    """

    persistence: Persistence  # type: ignore[assignment]  # the blocking face of what the base class has
    _face: _Client

    def __init__(
        self,
        persistence: Persistence,
        *,
        instance: str | None = None,
        auto_save: AutoSave | None = None,
        on_error: Callable[[Self, PersistenceError], object] | None = None,
    ) -> None:
        if not isinstance(persistence, Persistence):
            raise ConfigurationError(
                f"a blocking client is built over a blocking persistence, not {shown(persistence)}",
                hint="open it with axiom_persistence.blocking.open_persistence, or declare the class as an "
                "axiom_persistence.Client",
            )
        super().__init__(persistence.inner, instance=instance, auto_save=auto_save, on_error=on_error)
        object.__setattr__(self, "persistence", persistence)
        # The same state with the methods that are awaited: those call each other by their names.
        face = object.__new__(_Client)
        object.__setattr__(face, "persistence", persistence.inner)
        object.__setattr__(face, "_state", self._state)
        self._face = face

    def restore_state(self) -> RestoreReport:
        """Take over what is stored. Fields assigned before or meanwhile keep their value and save it."""
        return run(self._face.restore_state())

    def persist_state(self, *fields: str) -> None:
        """Store what changed (only ``fields``, if given), as durably as the persistence promises."""
        run(self._face.persist_state(*fields))

    def close(self, *, discard: bool = False) -> None:
        """Store what is pending and end. Fine when it is closed; it can be restored again."""
        run(self._face.close(discard=discard))

    async def __aenter__(self) -> NoReturn:
        raise ConfigurationError(
            f"{type(self).__qualname__} is a blocking client, and is entered with `with`",
            hint="for an asynchronous one, declare it as an `axiom_persistence.Client`",
        )

    def __enter__(self) -> Self:
        run(self._face.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run(self._face.__aexit__(kind, error, traceback))

    def accept(self, field: str) -> None:
        """Let the present value of ``field`` replace the stored one that could not be read."""
        run(self._face.accept(field))

    def reset(self, *fields: str) -> None:
        """Give ``fields`` (all, if none are named) their defaults and forget what is stored of them."""
        run(self._face.reset(*fields))

    def transaction(self, *, durability: Durability | str | None = None) -> AbstractContextManager[None]:
        """Make the assignments of a ``with`` body one commit, or none of them, in memory and stored."""
        return Entering(entered(self._face.transaction(durability=durability)))

    def process(self, action: Any) -> Any:
        """Do ``action``: what it changes is one commit, undone when it raises. Override it."""
        if not callable(action):
            raise ConfigurationError(
                f"{type(self).__qualname__} does not know the action {shown(action)}",
                hint="override `def process(self, action)`",
            )
        return action(self)

    def state_stream(self, *fields: str, timeout: float | None = None) -> Stream[ClientUpdate]:
        """The present state first, then the changes; the loop ends after ``timeout`` quiet seconds."""
        return Stream(self._face.state_stream(*fields), timeout)

    def observe(self, field: str, *, timeout: float | None = None) -> Stream[Any]:
        """The present value of ``field`` first, then each new one; ends like ``state_stream``."""
        return Stream(self._face.observe(field), timeout)
