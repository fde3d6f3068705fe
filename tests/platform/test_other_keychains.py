"""The keychains of macOS and Windows over doubles of the system's functions, which answer as documented."""

import ctypes
import sys

import pytest

from axiom_persistence.errors import (
    AccessDeniedError,
    ConfigurationError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from axiom_persistence.platform._mac_secrets import MacSecrets
from axiom_persistence.platform._windows_secrets import Credential, WindowsSecrets

NAMES = ["token", "Token", "é/ü", "a b%2f", "\x01keys"]


class Security:
    """Security.framework as pyobjc gives it: a status, and the result where there is one."""

    kSecClass, kSecClassGenericPassword = "class", "genp"
    kSecAttrService, kSecAttrAccount, kSecValueData = "svce", "acct", "v_Data"
    kSecReturnData, kSecReturnAttributes, kSecMatchLimit = "r_Data", "r_Attributes", "m_Limit"
    kSecMatchLimitOne, kSecMatchLimitAll = "m_LimitOne", "m_LimitAll"

    def __init__(self):
        self.items, self.status = {}, 0

    def _place(self, query):
        assert query["class"] == "genp"
        return query["svce"], query["acct"]

    def SecItemAdd(self, item, result):
        if self.status:
            return self.status, None
        if self._place(item) in self.items:
            return -25299, None
        self.items[self._place(item)] = item["v_Data"]
        return 0, None

    def SecItemUpdate(self, query, changes):
        if self.status or self._place(query) not in self.items:
            return self.status or -25300
        self.items[self._place(query)] = changes["v_Data"]
        return 0

    def SecItemDelete(self, query):
        return self.status or (0 if self.items.pop(self._place(query), None) is not None else -25300)

    def SecItemCopyMatching(self, query, result):
        if self.status:
            return self.status, None
        if query["m_Limit"] == "m_LimitOne":
            found = self.items.get(self._place(query))
            return (-25300, None) if found is None else (0, found)
        found = [{"acct": name} for service, name in self.items if service == query["svce"]]
        return (0, found) if found else (-25300, None)


class Advapi32:
    """The four functions of wincred.h; names are the same whatever their case."""

    def __init__(self):
        self.kept, self.code, self.held = {}, 0, []

    def last_error(self):
        return self.code

    def _refuses(self, code):
        self.code = code
        return 0

    def CredWriteW(self, reference, flags):
        credential = reference._obj
        if credential.CredentialBlobSize > 2560:
            return self._refuses(1783)
        blob = ctypes.string_at(credential.CredentialBlob, credential.CredentialBlobSize)
        self.kept[credential.TargetName.lower()] = (credential.TargetName, blob)
        return 1

    def _made(self, target, blob):
        buffer = ctypes.create_string_buffer(blob, len(blob))
        credential = Credential(
            TargetName=target, CredentialBlobSize=len(blob), CredentialBlob=ctypes.addressof(buffer)
        )
        self.held += [buffer, credential]
        return credential

    def CredReadW(self, target, kind, flags, reference):
        if target.lower() not in self.kept:
            return self._refuses(1168)
        reference._obj.contents = self._made(*self.kept[target.lower()])
        return 1

    def CredDeleteW(self, target, kind, flags):
        return 1 if self.kept.pop(target.lower(), None) else self._refuses(1168)

    def CredEnumerateW(self, pattern, flags, count, reference):
        if self.code == 1312:
            return 0
        found = [v for name, v in self.kept.items() if name.startswith(pattern.rstrip("*").lower())]
        if not found:
            return self._refuses(1168)
        pointers = (ctypes.POINTER(Credential) * len(found))(
            *(ctypes.pointer(self._made(*each)) for each in found)
        )
        self.held.append(pointers)
        count._obj.value = len(found)
        reference._obj.contents = pointers[0]
        ctypes.memmove(reference, ctypes.byref(ctypes.c_void_p(ctypes.addressof(pointers))), 8)
        return 1

    def CredFree(self, pointer):
        pass


@pytest.fixture(params=["macOS", "Windows"])
def made(request, monkeypatch):
    """Makes the secrets of one service over one double."""
    if request.param == "Windows":
        api = Advapi32()
        return lambda service: WindowsSecrets(service, api)
    double = Security()
    monkeypatch.setitem(sys.modules, "Security", double)
    return MacSecrets


def test_round_trips(made):
    """Written, replaced, listed, read and deleted; another service's items are not seen."""
    secrets, other = made("notes"), made("notes 2")
    secrets.open()
    assert secrets.names() == []
    for name in NAMES:
        secrets.write(name, name.encode())
        secrets.write(name, name.encode() + b"!")
        other.write(name, b"other")
    assert sorted(secrets.names()) == sorted(NAMES)
    assert secrets.read([*NAMES, "absent"]) == {name: name.encode() + b"!" for name in NAMES}
    secrets.write("empty", b"")
    assert secrets.read(["empty"]) == {"empty": b""}
    for name in (*NAMES, "empty", "absent"):
        secrets.delete(name)
    assert secrets.names() == []
    assert other.read(["token"]) == {"token": b"other"}
    secrets.close()


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (-25308, AccessDeniedError, "locked"),
        (-128, AccessDeniedError, "did not allow"),
        (-25293, AccessDeniedError, "not recognised"),
        (-34018, AccessDeniedError, "entitlement"),
        (-25307, StorageUnavailableError, "no default keychain"),
        (-67000, StorageError, "error -67000"),
    ],
)
def test_what_macos_refuses(status, kind, said, monkeypatch):
    """Each verb raises what the status means; never a missing value."""
    double = Security()
    monkeypatch.setitem(sys.modules, "Security", double)
    secrets = MacSecrets("notes")
    secrets.write("token", b"1")
    double.status = status
    for attempt in (
        secrets.open,
        secrets.names,
        lambda: secrets.read(["token"]),
        lambda: secrets.write("token", b"2"),
        lambda: secrets.delete("token"),
    ):
        with pytest.raises(kind, match=said):
            attempt()


def test_what_windows_refuses():
    """Too large, a session without credentials, another error."""
    api = Advapi32()
    secrets = WindowsSecrets("notes", api)
    with pytest.raises(StorageFullError, match="2,560 bytes"):
        secrets.write("token", b"x" * 2561)
    api.code = 1312
    with pytest.raises(AccessDeniedError, match="no credentials"):
        secrets.open()
    api.CredWriteW = lambda reference, flags: api._refuses(87)
    with pytest.raises(StorageError, match="error 87"):
        secrets.write("token", b"1")


def test_a_missing_package_is_named(monkeypatch):
    """Without pyobjc the extra is named."""
    monkeypatch.setitem(sys.modules, "Security", None)
    with pytest.raises(ConfigurationError, match=r"axiom-persistence\[keychain\]"):
        MacSecrets("notes")
