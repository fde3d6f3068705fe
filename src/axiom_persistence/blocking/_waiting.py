"""A method that is awaited, as a method that returns when it is done."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from ._background import run

__all__ = ["Face", "typed_as", "waiting"]

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)


class Face(Generic[A_co]):
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

    @wraps(method)
    def call(self: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        # By its name: what is awaited may be of a subclass, such as a namespace.
        work: Coroutine[Any, Any, R] = getattr(self.inner, name)(*args, **kwargs)
        return run(work)

    return call


def typed_as(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]],
) -> Callable[[Callable[..., R]], Callable[Concatenate[Face[A], P], R]]:
    """Decorate a twin of ``method`` written by hand: the types, the signature and documentation are given."""
    return wraps(method)
