"""The two faces: what is said to whoever uses one as if it were the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ..errors import ConfigurationError

__all__ = ["AsyncOnly", "Walk", "not_iterable", "walk"]

P = ParamSpec("P")
T = TypeVar("T")


class AsyncOnly:
    """What is entered by ``async with``, and says so to whoever writes ``with``."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers are to go on finding the mistake themselves

        def __enter__(self) -> None:
            raise ConfigurationError(
                f"{type(self).__qualname__} is asynchronous, and entered with `async with`, not `with`",
                hint="write `async with`, in an `async def`; programs without an event loop open the store "
                "with `axiom_persistence.blocking.open_persistence`",
            )

        def __exit__(self, *_: object) -> None:
            """Never called: nothing is entered. Python looks for it first."""


class Walk(AsyncIterator[T]):
    """An asynchronous iterator that says ``async for`` to whoever writes ``for``. Costs nothing an item."""

    __slots__ = ("_source",)

    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source = source

    def __aiter__(self) -> AsyncIterator[T]:
        return self._source.__aiter__()

    def __anext__(self) -> Any:
        return self._source.__anext__()

    async def aclose(self) -> None:
        """End it before its end."""
        closing = getattr(self._source, "aclose", None)
        if closing is not None:
            await closing()

    if not TYPE_CHECKING:

        def __iter__(self) -> None:
            raise not_iterable("each item")


def not_iterable(what: str) -> ConfigurationError:
    """The error for a ``for`` loop over what needs ``async for``."""
    return ConfigurationError(
        f"{what} comes asynchronously, so the loop over it is `async for`, not `for`",
        hint="write `async for`, or `[item async for item in ...]` for a list; programs without an event "
        "loop open the store with `axiom_persistence.blocking.open_persistence`",
    )


def walk(method: Callable[P, AsyncIterator[T]]) -> Callable[P, AsyncIterator[T]]:
    """Have an asynchronous generator method return a ``Walk``."""

    @wraps(method)
    def walking(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return Walk(method(*args, **kwargs))

    return walking
