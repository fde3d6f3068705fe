"""What is said to users of the blocking face: how they spell it, and when they take it for the other one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, TypeVar

from ..errors import ConfigurationError, PersistenceError

__all__ = ["BlockingOnly", "Entering", "Walk", "respelled", "spelt"]

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

_SPELLINGS: Final = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"save its result: `await (.+?)`", r"save its result: `axiom_persistence.blocking.run(\1)`"),
        (r"save `\[(.+?) async for .+?\]`", r"save a list of its items"),
        (r"\basync (with|for|def)\b", r"\1"),
        (r"or `await` it", "or call its `open()`"),
        (r"\bawait ", ""),
    )
)


def spelt(text: str) -> str:
    """A message or hint as programs without ``await`` spell it."""
    for pattern, ours in _SPELLINGS:
        text = pattern.sub(ours, text)
    return text


def respelled(error: E) -> E:
    """The same error, if it is one of ours, in the words of the blocking face."""
    if isinstance(error, PersistenceError):
        error.hint, error.message = spelt(error.hint), spelt(error.message)
    return error


class BlockingOnly:
    """What is entered by ``with`` and never awaited, and says so to whoever does otherwise."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers are to go on finding the mistake themselves

        def __aenter__(self) -> None:
            raise self._not_awaited("entered with `with`, not `async with`")

        def __aexit__(self, *_: object) -> None:
            """Never called: nothing is entered. Python looks for it first."""

        def __await__(self) -> None:
            raise self._not_awaited("not awaited")

        def __aiter__(self) -> None:
            raise self._not_awaited("walked with `for`, not `async for`")

        def _not_awaited(self, how: str) -> ConfigurationError:
            return ConfigurationError(
                f"this is of axiom_persistence.blocking, and {how}",
                hint="for asynchronous programs there is `axiom_persistence.open_persistence`",
            )


class Entering(AbstractContextManager[T], BlockingOnly):
    """A context manager that says the same."""

    __slots__ = ("_inner",)

    def __init__(self, inner: AbstractContextManager[T]) -> None:
        self._inner = inner

    def __enter__(self) -> T:
        return self._inner.__enter__()

    def __exit__(self, *error: object) -> bool | None:
        return self._inner.__exit__(*error)  # type: ignore[arg-type]


class Walk(Iterator[T], BlockingOnly):
    """An iterator that says the same. Costs nothing an item: a loop walks its source."""

    __slots__ = ("_source",)

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source

    def __iter__(self) -> Iterator[T]:
        return self._source

    def __next__(self) -> T:
        return next(self._source)
