"""A value that shows itself to nobody who does not ask for it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Generic, NoReturn, TypeVar, get_args, get_origin

__all__ = ["Secret", "mentions_secret"]

T = TypeVar("T")

_SHOWN = "Secret(<hidden>)"


class Secret(Generic[T]):
    """A token or a password that no repr, message, log or pickle shows: ``secret.reveal()`` says it.

    It is stored in confidential places only, be it a value, a field of a dataclass or a client's field;
    any other save raises ``InsecureStorageError`` before something is written. Stored is what is in it, so
    that ``str`` and ``Secret[str]`` read the same record. Equal secrets are equal and hash alike. Python
    cannot erase memory: what a core dump of the running program holds is not hidden.

    >>> token = Secret("s3cr3t")
    >>> print(token, f"{token}", [token])
    Secret(<hidden>) Secret(<hidden>) [Secret(<hidden>)]
    >>> token.reveal()
    's3cr3t'
    """

    __slots__ = ("_value",)
    _value: T

    def __init__(self, value: T) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> T:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return _SHOWN

    def __format__(self, spec: str) -> str:
        return _SHOWN

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret is not changed: make another")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret is not changed: make another")

    def __copy__(self) -> Secret[T]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret[T]:
        return Secret(deepcopy(self._value, memo))

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: reveal() it, if it may be read there")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self.__getstate__()


def mentions_secret(kind: Any) -> bool:
    """Whether a type says Secret, as ``Secret[str] | None`` does. Fields of classes are not looked into."""
    if get_origin(kind) is Secret or kind is Secret:
        return True
    arguments = get_args(kind)
    return any(mentions_secret(each) for each in arguments)
