"""The Secret Service of freedesktop.org: GNOME Keyring, KWallet, KeePassXC."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

from ..errors import (
    AccessDeniedError,
    ConfigurationError,
    PersistenceError,
    StorageError,
    StorageUnavailableError,
)
from .secrets import Secrets

try:
    import secretstorage
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC
    from jeepney import DBusErrorResponse  # type: ignore[import-untyped]
    from jeepney.io.blocking import DBusConnection  # type: ignore[import-untyped]
    from secretstorage.defines import SS_PATH, SS_PREFIX
    from secretstorage.dhcrypto import Session
    from secretstorage.exceptions import (
        ItemNotFoundException,
        LockedException,
        PromptDismissedException,
        SecretServiceNotAvailableException,
        SecretStorageException,
    )
    from secretstorage.util import DBusAddressWrapper, format_secret, open_session
except ImportError as _error:
    raise ConfigurationError(
        "the keychain needs the package secretstorage", hint="pip install 'axiom-persistence[keychain]'"
    ) from _error

__all__ = ["SecretService"]

T = TypeVar("T")

_APPLICATION: Final = "axiom-persistence"
_PROMPT_S: Final = 120.0
"""How long a person has to answer a prompt."""
_NO_ITEM: Final = "/"
_IS_LOCKED: Final = "org.freedesktop.Secret.Error.IsLocked"
_DOES_NOT_ANSWER: Final = (OSError, EOFError, DBusErrorResponse, SecretServiceNotAvailableException)


class SecretService(Secrets):
    """Items with the attributes ``application``, ``service`` and ``key`` in the default collection.

    One connection is kept; when the service was restarted, the next call connects anew. Attributes are not
    encrypted: whoever can talk to the bus sees which keys there are. Reading and writing are asked of the
    service itself, in two requests and in one: secretstorage's objects take four and three.
    """

    kind = "Secret Service"

    def __init__(self, service: str, *, allow_prompt: bool) -> None:
        self._service = service
        self._allow_prompt = allow_prompt
        self._connection: DBusConnection | None = None
        self._collection: Any = None
        self._items: Any = None  # the collection, to be asked without more ado
        self._service_itself: Any = None
        self._session: Any = None

    def open(self) -> None:
        try:
            self._unlocked()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._collection = None
        if connection is not None:
            connection.close()

    def read(self, names: Collection[str]) -> dict[str, bytes]:
        return self._asked(lambda: self._secrets(names))

    def write(self, name: str, data: bytes) -> None:
        properties = {
            f"{SS_PREFIX}Item.Label": ("s", f"{self._service}: {name}"),
            f"{SS_PREFIX}Item.Attributes": ("a{ss}", self._attributes(name)),
        }

        def work() -> None:
            self._connected()
            secret = format_secret(self._session, data, "application/octet-stream")
            item, _ = self._items.call("CreateItem", "a{sv}(oayays)b", properties, secret, True)
            if item == _NO_ITEM:
                raise LockedException("a person has to be asked")

        self._asked(work)

    def delete(self, name: str) -> None:
        def work() -> None:
            for item in self._unlocked().search_items(self._attributes(name)):
                item.delete()

        self._asked(work)

    def names(self) -> list[str]:
        def work() -> list[str]:
            items = self._unlocked().search_items(self._attributes())
            return [item.get_attributes()["key"] for item in items]

        return self._asked(work)

    def _attributes(self, name: str | None = None) -> dict[str, str]:
        of_all = {"application": _APPLICATION, "service": self._service}
        return of_all if name is None else {**of_all, "key": name}

    def _secrets(self, names: Collection[str]) -> dict[str, bytes]:
        self._connected()
        items: dict[str, str] = {}
        for name in names:
            (found,) = self._items.call("SearchItems", "a{ss}", self._attributes(name))
            items.update(dict.fromkeys(found, name))
        if len(set(items.values())) < len(names):
            self._unlocked()  # what is locked is not missing
        if not items:
            return {}
        (secrets,) = self._service_itself.call("GetSecrets", "aoo", [*items], self._session.object_path)
        if len(secrets) < len(items):
            raise LockedException("the service keeps some of them back")
        return {items[path]: _opened(self._session, secret) for path, secret in secrets.items()}

    def _connect(self) -> None:
        if not os.environ.get("DBUS_SESSION_BUS_ADDRESS") and not os.environ.get("XDG_RUNTIME_DIR"):
            raise StorageUnavailableError(
                "there is no session bus, on which the keychain would answer",
                hint="run it in a desktop session, or under dbus-run-session; on a server use another "
                "confidential place, such as a store with keys=FileKey(...)",
            )
        try:
            connection = secretstorage.dbus_init()
        except _DOES_NOT_ANSWER as error:
            raise StorageUnavailableError(
                f"the session bus cannot be reached: {error}", hint="see DBUS_SESSION_BUS_ADDRESS"
            ) from error
        try:
            if not secretstorage.check_service_availability(connection):
                raise StorageUnavailableError(
                    "no program on the session bus offers the Secret Service",
                    hint="start gnome-keyring, KWallet or KeePassXC",
                )
            self._session = open_session(connection)
            self._collection = secretstorage.Collection(connection, session=self._session)
            path = self._collection.collection_path
            self._items = DBusAddressWrapper(path, f"{SS_PREFIX}Collection", connection)
            self._service_itself = DBusAddressWrapper(SS_PATH, f"{SS_PREFIX}Service", connection)
        except ItemNotFoundException as error:
            connection.close()
            raise StorageUnavailableError(
                "the keychain has no default collection yet",
                hint="log in to the desktop once, or make one with its password manager",
            ) from error
        except _DOES_NOT_ANSWER as error:
            connection.close()
            raise _no_answer(error) from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _connected(self) -> None:
        if self._connection is None:
            self._connect()

    def _unlocked(self) -> Any:
        """The collection. Raises ``AccessDeniedError`` where it is locked, and nobody unlocks it."""
        self._connected()
        collection = self._collection
        if collection.is_locked():
            if not self._allow_prompt:
                raise AccessDeniedError(
                    "the keychain is locked",
                    hint="unlock it, or let the person be asked with KeychainAdapter(..., allow_prompt=True)",
                )
            try:
                dismissed = collection.unlock(timeout=_PROMPT_S)
            except TimeoutError as error:
                raise AccessDeniedError(
                    f"the keychain is locked, and nobody unlocked it within {_PROMPT_S:.0f} seconds",
                    hint="unlock it and try again",
                ) from error
            if dismissed:
                raise AccessDeniedError("the keychain is locked, and the person did not unlock it")
        return collection

    def _asked(self, work: Callable[[], T]) -> T:
        """What ``work`` returns. Every request may be made twice: it replaces, deletes or reads."""
        try:
            try:
                return work()
            except (OSError, EOFError) as error:
                if isinstance(error, PersistenceError):
                    raise
                self.close()  # the service was restarted
                return work()
            except (LockedException, DBusErrorResponse) as error:
                if isinstance(error, DBusErrorResponse) and error.name != _IS_LOCKED:
                    raise
                self._unlocked()
                return work()
        except (LockedException, PromptDismissedException) as error:
            raise AccessDeniedError("the keychain is locked", hint="unlock it and try again") from error
        except PersistenceError:
            raise
        except _DOES_NOT_ANSWER as error:
            self.close()
            raise _no_answer(error) from error
        except SecretStorageException as error:
            raise StorageError(f"the keychain refused: {error}") from error


def _opened(session: Session, secret: tuple[str, bytes, bytes, str]) -> bytes:
    """The secret as it was written: the service encrypts it for the way over the bus."""
    _, nonce, data, _ = secret
    if not session.encrypted:
        return bytes(data)
    assert session.aes_key is not None
    decryptor = Cipher(AES(session.aes_key), CBC(bytes(nonce))).decryptor()
    padded = decryptor.update(bytes(data)) + decryptor.finalize()
    return padded[: -padded[-1]]


def _no_answer(error: Exception) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"the keychain does not answer: {error}", hint="is its program running? nothing is known to be lost"
    )
