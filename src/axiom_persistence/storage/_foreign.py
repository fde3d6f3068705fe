"""Adapters and layers that others have written: whatever they raise leaves them as an error of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from functools import wraps
from typing import Any, Final

from ..errors import PersistenceError, StorageError, from_os_error

__all__ = ["guard"]

_AWAITED: Final = (
    *("fetch", "commit", "aopen", "aclose", "previous", "previous_many", "set_previous", "saved_at"),
    *("read", "write", "delete", "exists", "check", "purge"),
)
_AT_ONCE: Final = ("commit_now", "fetch_now", "change_mark")
_PACKAGE: Final = __name__.partition(".")[0] + "."


def guard(cls: type) -> None:
    """Have the methods that ``cls`` defines itself raise errors of our tree only, if it is not our own."""
    if cls.__module__.startswith(_PACKAGE):
        return
    for names, guarded in ((_AWAITED, _awaited), (_AT_ONCE, _at_once), (("keys",), _walked)):
        for name in names:
            method = vars(cls).get(name)
            # An abstract one is not called; what is no function, a Mock for one, is left as it is.
            if callable(method) and not getattr(method, "__isabstractmethod__", False):
                setattr(cls, name, guarded(method))


def _awaited(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    async def guarded(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return await method(self, *args, **kwargs)
        except PersistenceError as error:
            raise error.naming(key=_key_of(args), adapter=self)  # noqa: B904 - the same error, named
        except Exception as error:
            raise _wrapped(error, self, method, args) from error

    return guarded


def _at_once(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def guarded(self: Any, /, *args: Any) -> Any:
        try:
            return method(self, *args)
        except PersistenceError as error:
            raise error.naming(key=_key_of(args), adapter=self)  # noqa: B904 - the same error, named
        except Exception as error:
            raise _wrapped(error, self, method, args) from error

    return guarded


def _walked(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    async def guarded(self: Any, /, *args: Any, **kwargs: Any) -> AsyncIterator[str]:
        try:
            walk = method(self, *args, **kwargs)
            if not hasattr(walk, "aclose"):
                async for key in walk:
                    yield key
                return
            async with aclosing(walk):
                async for key in walk:
                    yield key
        except PersistenceError:
            raise
        except Exception as error:
            raise _wrapped(error, self, method, ()) from error

    return guarded


def _key_of(args: tuple[Any, ...]) -> str | None:
    """The key that a call is about, if it is about one."""
    keys = args[0] if args else ()
    if isinstance(keys, str):
        return keys
    return next(iter(keys)) if isinstance(keys, Collection) and len(keys) == 1 else None


def _wrapped(
    error: Exception, adapter: Any, method: Callable[..., Any], args: tuple[Any, ...]
) -> StorageError:
    """Its class is named and not its text, which may quote what was to be stored."""
    key = _key_of(args)
    doing = f"{type(adapter).__qualname__}.{method.__name__}"
    if isinstance(error, OSError):
        return from_os_error(error, doing, key=key, adapter=adapter)
    return StorageError(
        f"{doing} raised {type(error).__qualname__}",
        key=key,
        adapter=adapter,
        hint="see the cause of this error; an adapter raises StorageError where its medium refuses",
    )
