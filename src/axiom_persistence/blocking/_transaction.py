"""What the body of a blocking transaction sees."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar, cast, overload

from ..keys import MISSING, Key
from ..persistence.transaction import Transaction as _Transaction
from ._background import run

__all__ = ["Transaction"]

T = TypeVar("T")
D = TypeVar("D")


class Transaction:
    """What the body of a blocking transaction sees; the same as the async one, without ``await``."""

    def __init__(self, inner: _Transaction) -> None:
        self._inner = inner

    @overload
    def load(self, key: Key[T]) -> T: ...
    @overload
    def load(self, key: str, type: type[T], *, default: None = None) -> T | None: ...
    @overload
    def load(self, key: str, type: type[T], *, default: D) -> T | D: ...
    @overload
    def load(self, key: str, type: Any, *, default: Any = None) -> Any: ...
    def load(self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None) -> Any:
        return run(self._inner.load(cast(str, key), type, default=default))

    def exists(self, key: str | Key[Any]) -> bool:
        return run(self._inner.exists(key))

    def save(
        self, key: str | Key[Any], value: Any, *, type: Any = None, ttl: timedelta | None = None
    ) -> None:
        run(self._inner.save(key, value, type=type, ttl=ttl))

    def delete(self, key: str | Key[Any]) -> bool:
        return run(self._inner.delete(key))
