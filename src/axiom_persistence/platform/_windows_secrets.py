"""The Windows Credential Manager. Written against Microsoft's documentation; not run there.

https://learn.microsoft.com/windows/win32/api/wincred/ns-wincred-credentialw
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Collection
from typing import Any, Final

from ..errors import AccessDeniedError, StorageError, StorageFullError, StorageUnavailableError
from .secrets import Secrets

__all__ = ["Credential", "WindowsSecrets"]

_GENERIC: Final = 1
_LOCAL_MACHINE: Final = 2
"""CRED_PERSIST_LOCAL_MACHINE: kept for all later sessions of this user on this machine."""
_NOT_FOUND: Final = 1168
_REFUSED: Final = {5: "access is denied", 1312: "this logon session has no credentials, as of a service"}
_TOO_LARGE: Final = (1783, 8)
_UNSAFE: Final = re.compile(rb"[^a-z0-9._-]")


class Credential(ctypes.Structure):
    """CREDENTIALW."""

    _fields_ = (
        ("Flags", ctypes.c_uint32),
        ("Type", ctypes.c_uint32),
        ("TargetName", ctypes.c_wchar_p),
        ("Comment", ctypes.c_wchar_p),
        ("LastWritten", ctypes.c_uint64),
        ("CredentialBlobSize", ctypes.c_uint32),
        ("CredentialBlob", ctypes.c_void_p),
        ("Persist", ctypes.c_uint32),
        ("AttributeCount", ctypes.c_uint32),
        ("Attributes", ctypes.c_void_p),
        ("TargetAlias", ctypes.c_wchar_p),
        ("UserName", ctypes.c_wchar_p),
    )


class WindowsSecrets(Secrets):
    """Generic credentials whose names begin with ``axiom-persistence/SERVICE/``.

    Names are not case-sensitive there, so capitals are escaped. Any program of the user can read them.
    """

    kind = "Windows Credential Manager"

    def __init__(self, service: str, api: Any = None) -> None:
        self._prefix = f"axiom-persistence/{_escaped(service)}/"
        self._api = api

    def open(self) -> None:
        if self._api is None:
            # getattr: the name is there on Windows only, where alone this class is used.
            self._api = getattr(ctypes, "WinDLL")("Advapi32.dll", use_last_error=True)  # noqa: B009
        self.names()

    def close(self) -> None:
        """Nothing is kept open."""

    def read(self, names: Collection[str]) -> dict[str, bytes]:
        found = {}
        for name in names:
            pointer = ctypes.POINTER(Credential)()
            if self._api.CredReadW(self._target(name), _GENERIC, 0, ctypes.byref(pointer)):
                try:
                    credential = pointer.contents
                    found[name] = ctypes.string_at(
                        credential.CredentialBlob or 0, credential.CredentialBlobSize
                    )
                finally:
                    self._api.CredFree(pointer)
            else:
                self._check("read")
        return found

    def write(self, name: str, data: bytes) -> None:
        blob = ctypes.create_string_buffer(data, len(data))
        credential = Credential(
            Type=_GENERIC,
            TargetName=self._target(name),
            CredentialBlobSize=len(data),
            CredentialBlob=ctypes.addressof(blob),
            Persist=_LOCAL_MACHINE,
            UserName="axiom-persistence",
        )
        if not self._api.CredWriteW(ctypes.byref(credential), 0):
            self._check("write", absent_is_fine=False)

    def delete(self, name: str) -> None:
        if not self._api.CredDeleteW(self._target(name), _GENERIC, 0):
            self._check("delete")

    def names(self) -> list[str]:
        count, items = ctypes.c_uint32(), ctypes.POINTER(ctypes.POINTER(Credential))()
        if not self._api.CredEnumerateW(self._prefix + "*", 0, ctypes.byref(count), ctypes.byref(items)):
            self._check("list")
            return []
        try:
            targets = [str(items[i].contents.TargetName) for i in range(count.value)]
        finally:
            self._api.CredFree(items)
        return [_plain(target[len(self._prefix) :]) for target in targets]

    def _target(self, name: str) -> str:
        return self._prefix + _escaped(name)

    def _check(self, doing: str, *, absent_is_fine: bool = True) -> None:
        code = self._api.last_error() if hasattr(self._api, "last_error") else _last_error()
        if code == _NOT_FOUND and absent_is_fine:
            return
        if code in _REFUSED:
            raise AccessDeniedError(
                f"the Windows Credential Manager refused to {doing}: {_REFUSED[code]}",
                hint="run it in the session of a person who is logged in",
                code=code,
            )
        if code in _TOO_LARGE:
            raise StorageFullError(
                "the Windows Credential Manager keeps secrets of at most 2,560 bytes",
                hint="keep a key there, and the secret in a store with keys=",
                code=code,
            )
        kind = StorageUnavailableError if code == 0 else StorageError
        raise kind(f"the Windows Credential Manager refused to {doing}: error {code}", code=code)


def _last_error() -> int:
    code: int = getattr(ctypes, "get_last_error")()  # noqa: B009 - there on Windows only
    return code


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda match: b"%%%02x" % match[0][0], text.encode()).decode()


def _plain(text: str) -> str:
    return re.sub(rb"%([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), text.encode()).decode()
