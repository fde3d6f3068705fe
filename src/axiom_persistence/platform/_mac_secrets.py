"""The macOS keychain (Security framework). Written against Apple's documentation; not run there."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import Any, Final

from ..errors import AccessDeniedError, ConfigurationError, StorageError, StorageUnavailableError
from .secrets import Secrets

__all__ = ["MacSecrets"]

_NOT_FOUND: Final = -25300
_DUPLICATE: Final = -25299
# https://developer.apple.com/documentation/security/security-framework-result-codes
_REFUSED: Final = {
    -128: "the person did not allow it",
    -25293: "the person was not recognised",
    -25308: "it is locked, and this session cannot ask a person",
    -34018: "this program lacks the entitlement for it",
}
_ABSENT: Final = {
    -25291: "none is available",
    -25294: "it does not exist",
    -25307: "there is no default keychain",
}


class MacSecrets(Secrets):
    """Generic passwords of one service in the login keychain.

    An item belongs to the program that made it, which for a script is the Python interpreter.
    """

    kind = "macOS keychain"

    def __init__(self, service: str) -> None:
        self._service = service
        try:
            self._api: Any = importlib.import_module("Security")
        except ImportError as error:
            raise ConfigurationError(
                "the keychain needs the package pyobjc-framework-Security",
                hint="pip install 'axiom-persistence[keychain]'",
            ) from error

    def open(self) -> None:
        self.names()  # fails where it is locked for good

    def close(self) -> None:
        """Nothing is kept open."""

    def read(self, names: Collection[str]) -> dict[str, bytes]:
        api, found = self._api, {}
        for name in names:
            wanted = {
                **self._query(name),
                api.kSecReturnData: True,
                api.kSecMatchLimit: api.kSecMatchLimitOne,
            }
            status, data = api.SecItemCopyMatching(wanted, None)
            if status != _NOT_FOUND:
                self._check(status)
                found[name] = bytes(data)
        return found

    def write(self, name: str, data: bytes) -> None:
        api, query = self._api, self._query(name)
        status = api.SecItemUpdate(query, {api.kSecValueData: data})
        if status == _NOT_FOUND:
            status, _ = api.SecItemAdd({**query, api.kSecValueData: data}, None)
            if status == _DUPLICATE:  # another process was faster
                status = api.SecItemUpdate(query, {api.kSecValueData: data})
        self._check(status)

    def delete(self, name: str) -> None:
        status = self._api.SecItemDelete(self._query(name))
        if status != _NOT_FOUND:
            self._check(status)

    def names(self) -> list[str]:
        api = self._api
        wanted = {**self._query(), api.kSecReturnAttributes: True, api.kSecMatchLimit: api.kSecMatchLimitAll}
        status, items = api.SecItemCopyMatching(wanted, None)
        if status == _NOT_FOUND:
            return []
        self._check(status)
        return [str(item[api.kSecAttrAccount]) for item in items]

    def _query(self, name: str | None = None) -> Mapping[Any, Any]:
        api = self._api
        of_all = {api.kSecClass: api.kSecClassGenericPassword, api.kSecAttrService: self._service}
        return of_all if name is None else {**of_all, api.kSecAttrAccount: name}

    def _check(self, status: int) -> None:
        if status == 0:
            return
        if status in _REFUSED:
            raise AccessDeniedError(
                f"the macOS keychain refused: {_REFUSED[status]}", hint="unlock it and allow this program"
            )
        if status in _ABSENT:
            raise StorageUnavailableError(
                f"the macOS keychain cannot be used: {_ABSENT[status]}", hint="log in to the desktop once"
            )
        raise StorageError(
            f"the macOS keychain refused with error {status}", hint="security error explains it"
        )
