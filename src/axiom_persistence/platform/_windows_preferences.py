"""The Windows registry. Written against Microsoft's documentation; not run there."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from ..errors import AccessDeniedError, from_os_error
from .preferences import Native, Preferences, Strange, escaped, plain

__all__ = ["WindowsPreferences"]

_SZ, _EXPAND_SZ, _BINARY, _DWORD, _QWORD = 1, 2, 3, 4, 11
_UNSAFE: Final = re.compile(rb"[^a-z0-9 ._/-]")
_NO_MORE_ITEMS: Final = 259


class WindowsPreferences(Preferences):
    r"""The values of ``HKEY_CURRENT_USER\Software\SUITE``.

    The registry knows no booleans and no fractions: a boolean is a DWORD of 0 or 1, an integer a QWORD, a
    number with a fraction a REG_EXPAND_SZ with its digits, a string a REG_SZ. A DWORD of 2 or more, which
    only another program writes, is an integer. Names are not case-sensitive there, so capitals are ``%XX``.
    """

    kind: ClassVar[str] = "registry"
    atomic: ClassVar[bool] = False

    def __init__(self, suite: str, api: Any = None) -> None:
        self._path = rf"Software\{suite}"
        self._api = importlib.import_module("winreg") if api is None else api

    def open(self) -> None:
        self.read(())

    def close(self) -> None:
        """Nothing is kept open."""

    def read(self, keys: Collection[str] | None) -> Mapping[str, Native | Strange]:
        if keys is None:
            return dict(self._all())
        found: dict[str, Native | Strange] = {}
        with self._opened(write=False) as key:
            for name in keys if key is not None else ():
                try:
                    found[name] = _native(*self._api.QueryValueEx(key, escaped(name, _UNSAFE)))
                except FileNotFoundError:
                    pass  # absent
        return found

    def _all(self) -> Iterator[tuple[str, Native | Strange]]:
        with self._opened(write=False) as key:
            number = 0
            while key is not None:
                try:
                    name, value, kind = self._api.EnumValue(key, number)
                except OSError as error:
                    if getattr(error, "winerror", None) != _NO_MORE_ITEMS:
                        raise
                    return
                number += 1
                read = _key_of(name.lower())
                if read:  # the nameless one is the registry's default value
                    yield read, _native(value, kind)

    def write(self, changes: Mapping[str, Native | None]) -> None:
        with self._opened(write=True) as key:
            for name, value in changes.items():
                if value is not None:
                    kind, data = _written(value)
                    self._api.SetValueEx(key, escaped(name, _UNSAFE), 0, kind, data)
                    continue
                try:
                    self._api.DeleteValue(key, escaped(name, _UNSAFE))
                except FileNotFoundError:
                    pass  # deleting what is absent is fine

    @contextmanager
    def _opened(self, *, write: bool) -> Iterator[Any]:
        """The registry key; None: there is none, and it is only read."""
        api = self._api
        try:
            try:
                make = api.CreateKeyEx if write else api.OpenKeyEx
                access = api.KEY_READ | api.KEY_WRITE if write else api.KEY_READ
                key = make(api.HKEY_CURRENT_USER, self._path, 0, access)
            except FileNotFoundError:
                yield None
                return
            with key:
                yield key
        except PermissionError as error:
            raise AccessDeniedError(
                rf"Windows does not allow it: HKEY_CURRENT_USER\{self._path}",
                hint="look at the permissions of that registry key",
            ) from error
        except OSError as error:
            raise from_os_error(error, rf"the registry refused: HKEY_CURRENT_USER\{self._path}") from error


def _written(value: Native) -> tuple[int, Any]:
    if isinstance(value, bytes):
        return _BINARY, value
    if isinstance(value, str):
        return _SZ, value
    if isinstance(value, bool):
        return _DWORD, int(value)
    if isinstance(value, float):
        return _EXPAND_SZ, repr(value)
    return _QWORD, value % (1 << 64)


def _native(value: Any, kind: int) -> Native | Strange:
    if kind == _DWORD:
        return bool(value) if value in (0, 1) else int(value)
    if kind == _QWORD:
        return int(value) - (1 << 64 if value >> 63 else 0)
    if kind in (_SZ, _EXPAND_SZ):
        text = str(value or "")
        return _fraction(text) if kind == _EXPAND_SZ else text
    if kind == _BINARY:
        return bytes(value or b"")
    return Strange(f"registry type {kind}", repr(value).encode())


def _fraction(text: str) -> str | float:
    try:
        number = json.loads(text)
    except ValueError:
        return text  # a path with variables in it, which this type is for
    return number if isinstance(number, float) else text


def _key_of(name: str) -> str | None:
    """None: another program made the name up."""
    try:
        key = plain(name)
    except UnicodeDecodeError:
        return None
    return key if escaped(key, _UNSAFE).lower() == name else None
