"""A method that is awaited, as a method that returns when it is done."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from ..errors import PersistenceError
from ._background import run
from ._spelling import BlockingOnly, respelled

__all__ = ["ByHand", "Face", "waiting"]

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)


class Face(BlockingOnly, Generic[A_co]):
    """An object whose methods wait for those of ``inner``, which are awaited."""

    def __init__(self, inner: A_co) -> None:
        self.inner: Final = inner
        """What does the work; its coroutines are for ``run(...)``."""

    def __repr__(self) -> str:
        return f"<blocking {self.inner!r}>"


def waiting(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Face[A], P], R]:
    """``method`` for a ``Face``: the same parameters, documentation and outcome, without ``await``.

    A class takes a verb over in one line: ``delete: Final = waiting(AdapterBasedPersistence.delete)``. With
    ``Final``, every type checker infers the same type for it: that of the method, overloads included.
    """
    name = method.__name__

    def twin(self: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        # By its name: ``inner`` may be of a subclass, such as a namespace.
        work: Coroutine[Any, Any, R] = getattr(self.inner, name)(*args, **kwargs)
        return run(work)

    return wraps(method)(twin)


class ByHand:
    """A method that waits in a way of its own: ``save: Final = ByHand(_save).typed_as(...save)``."""

    def __init__(self, twin: Callable[..., Any]) -> None:
        @wraps(twin)
        def spelling(*args: Any, **kwargs: Any) -> Any:
            try:
                return twin(*args, **kwargs)
            except PersistenceError as error:
                raise respelled(error)  # noqa: B904 - the same error

        self._twin = spelling

    # The only argument, as in ``waiting``: else mypy takes no more than the first overload over.
    def typed_as(
        self, method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]]
    ) -> Callable[Concatenate[Face[A], P], R]:
        """The twin with the name, the types and the documentation of ``method``."""
        return wraps(method)(self._twin)
