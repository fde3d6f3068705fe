"""Where the key of an encrypted store comes from."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from ..errors import (
    AccessDeniedError,
    ConfigurationError,
    InsecureStorageError,
    KeyUnavailableError,
    PersistenceError,
    StorageUnavailableError,
    from_os_error,
)
from ..platform.local import local_filesystem, local_secrets
from ..platform.places import refuse_shared
from ..platform.secrets import Secrets
from ..runtime.threads import in_thread

__all__ = [
    "CredentialKey",
    "EnvironmentKey",
    "FileKey",
    "KeyProvider",
    "KeychainKey",
    "PassphraseKey",
    "StaticKey",
]

T = TypeVar("T")

_KEY_BYTES: Final = 32
_ARGON2: Final = {"iterations": "3", "lanes": "4", "memory_kib": "65536"}
"""RFC 9106, section 4: its second recommended option."""


class KeyProvider(ABC):
    """Gives the key (32 bytes) that a store's own keys are sealed under.

    What ``create`` returns beside the key is kept with the store, in plain, and handed to ``find`` when the
    store is opened again: a salt, the name of a keychain item. Neither may be logged or shown.
    """

    name: str
    """What it is called in an encrypted store, such as ``"passphrase"``."""

    async def create(self) -> tuple[bytes, dict[str, str]]:
        """A key for a new store, and what is needed to find it again."""
        return await self.find({}), {}

    @abstractmethod
    async def find(self, parameters: Mapping[str, str]) -> bytes:
        """The key. Raises ``KeyUnavailableError`` where it is missing, locked or refused."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class StaticKey(KeyProvider):
    """A key that the application has already: 32 bytes, such as ``os.urandom(32)`` once made."""

    name: str = "static"

    def __init__(self, key: bytes) -> None:
        if not isinstance(key, bytes) or len(key) != _KEY_BYTES:
            raise ConfigurationError(
                f"a StaticKey is {_KEY_BYTES} bytes", hint="for text that a person types: PassphraseKey"
            )
        self._key = key

    async def find(self, parameters: Mapping[str, str]) -> bytes:  # noqa: ARG002
        return self._key


class EnvironmentKey(KeyProvider):
    """A key in an environment variable, in base64 or as 64 hex digits.

    Whoever runs as the same user can read a process's environment.
    """

    name: str = "environment"

    def __init__(self, variable: str) -> None:
        self.variable: str = variable

    async def find(self, parameters: Mapping[str, str]) -> bytes:  # noqa: ARG002
        text = os.environ.get(self.variable)
        if text is None:
            raise KeyUnavailableError(
                f"the environment variable {self.variable} is not set",
                hint="set it to the key, 32 bytes in base64",
            )
        return _spelled(text.encode(), f"the environment variable {self.variable}")


class FileKey(KeyProvider):
    """A key in a file: 32 bytes, or the same in base64 or as 64 hex digits.

    The file must belong to this user (or root) and be readable by nobody else (``chmod 600``), and nobody
    else may write to its directory; else ``InsecureStorageError``. ``create=True`` makes it for a new store
    where it is missing; keep a copy of it elsewhere: without it the store cannot be read by anybody.
    """

    name: str = "file"

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self.path: Path = Path(path).expanduser()
        self._create = create

    async def create(self) -> tuple[bytes, dict[str, str]]:
        if self._create:
            refuse_shared(self.path.absolute().parent, f"the key file {self.path}")
            try:
                _make_key_file(self.path)
            except FileExistsError:
                pass  # made before, by us or somebody else: it is the key
            except OSError as error:
                raise from_os_error(error, f"cannot make the key file {self.path}") from error
        return await self.find({}), {}

    async def find(self, parameters: Mapping[str, str]) -> bytes:  # noqa: ARG002
        try:
            text = _read_private(self.path)
        except PersistenceError:
            raise
        except OSError as error:
            raise KeyUnavailableError(
                f"the key file {self.path} cannot be read: {error.strerror}",
                hint="put the key file back; create=True makes one for a new store only",
            ) from error
        return _spelled(text, f"the key file {self.path}")


class CredentialKey(KeyProvider):
    """A key that systemd hands to a service: ``LoadCredentialEncrypted=NAME`` in its unit."""

    name: str = "credential"

    def __init__(self, credential: str) -> None:
        self.credential: str = credential

    async def find(self, parameters: Mapping[str, str]) -> bytes:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            raise KeyUnavailableError(
                "this process was given no credentials: CREDENTIALS_DIRECTORY is not set",
                hint=f"run it as a systemd service with LoadCredentialEncrypted={self.credential}",
            )
        return await FileKey(Path(directory) / self.credential).find(parameters)


class KeychainKey(KeyProvider):
    """A random key that the system's keychain keeps under ``service`` (extra ``keychain``).

    Each store has a key of its own there. A keychain that is locked or missing raises
    ``KeyUnavailableError``; ``allow_prompt``: a person may be asked to unlock it. Deleting the item in the
    keychain makes the store unreadable for good.
    """

    name: str = "keychain"

    def __init__(self, service: str, *, allow_prompt: bool = False) -> None:
        self.service: str = service
        self._allow_prompt = allow_prompt

    async def create(self) -> tuple[bytes, dict[str, str]]:
        item, key = f"key {os.urandom(8).hex()}", os.urandom(_KEY_BYTES)
        await self._ask(lambda secrets: secrets.write(item, key))
        return key, {"item": item}

    async def find(self, parameters: Mapping[str, str]) -> bytes:
        item = parameters.get("item", "")
        key = (await self._ask(lambda secrets: secrets.read((item,)))).get(item)
        if key is None:
            raise KeyUnavailableError(
                f"the keychain has no item {item!r} of {self.service!r}, which holds this store's key",
                hint="open it as the user who made it, on the machine where it was made",
            )
        return key

    async def _ask(self, work: Callable[[Secrets], T]) -> T:
        def ask() -> T:
            secrets = local_secrets(self.service, allow_prompt=self._allow_prompt)
            secrets.open()
            try:
                return work(secrets)
            finally:
                secrets.close()

        try:
            return await in_thread(ask)
        except (AccessDeniedError, StorageUnavailableError) as error:
            raise KeyUnavailableError(
                f"the store's key is in the keychain: {error.message}", hint=error.hint
            ) from error


class PassphraseKey(KeyProvider):
    """A key made of what a person types, by Argon2id (RFC 9106; 64 MiB, a tenth of a second)."""

    name: str = "passphrase"

    def __init__(self, passphrase: str) -> None:
        if not passphrase:
            raise ConfigurationError("a passphrase cannot be empty", hint="ask the person for one")
        self._passphrase = passphrase.encode()

    async def create(self) -> tuple[bytes, dict[str, str]]:
        parameters = {**_ARGON2, "salt": os.urandom(16).hex()}
        return await self.find(parameters), parameters

    async def find(self, parameters: Mapping[str, str]) -> bytes:
        try:
            salt = bytes.fromhex(parameters["salt"])
            iterations, lanes, memory = (int(parameters[name]) for name in _ARGON2)
        except (KeyError, ValueError) as error:
            raise KeyUnavailableError(
                "the store does not say how its passphrase is turned into a key",
                hint="its keyset is damaged or of a newer version; nothing was changed",
            ) from error
        if iterations > 100 or lanes > 64 or memory > 4 << 20:
            raise KeyUnavailableError("the store asks for more work per passphrase than 4 GiB and 100 passes")
        return await asyncio.to_thread(self._derive, salt, iterations, lanes, memory)

    def _derive(self, salt: bytes, iterations: int, lanes: int, memory: int) -> bytes:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        derivation = Argon2id(
            salt=salt, length=_KEY_BYTES, iterations=iterations, lanes=lanes, memory_cost=memory
        )
        return derivation.derive(self._passphrase)


def _make_key_file(path: Path) -> None:
    """Raises ``FileExistsError``, and leaves what is there."""
    files = local_filesystem(path.parent)
    files.attach(create=False)
    try:
        handle = files.create(path.name)
        try:
            files.write(handle, base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
            files.sync(handle)
        finally:
            files.close(handle)
        if files.syncs_directories:
            files.sync_directory("")
    finally:
        files.detach()


def _read_private(path: Path) -> bytes:
    refuse_shared(path.absolute().parent, f"the key file {path}")
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
        _check_private(os.fstat(file.fileno()), path)
        return file.read(1024)


def _check_private(status: os.stat_result, path: Path) -> None:
    if os.name != "posix":
        return  # modes say nothing there
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or not stat.S_ISREG(status.st_mode):
        raise InsecureStorageError(
            f"others may read the key file {path}", hint=f"chmod 600 {path}, and think of changing the key"
        )
    if status.st_uid not in (0, os.geteuid()):
        raise InsecureStorageError(
            f"the key file {path} belongs to another user", hint="copy it to a file of your own, mode 600"
        )


def _spelled(text: bytes, where: str) -> bytes:
    """The 32 bytes that ``text`` is, or spells in hex or base64."""
    if len(text) == _KEY_BYTES:
        return text
    stripped = text.strip()
    try:
        key = (
            bytes.fromhex(stripped.decode())
            if len(stripped) == 64
            else base64.b64decode(stripped, validate=True)
        )
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != _KEY_BYTES:
        raise KeyUnavailableError(
            f"{where} holds no key of {_KEY_BYTES} bytes",
            hint="openssl rand -base64 32 makes one; for text that a person types: PassphraseKey",
        )
    return key
