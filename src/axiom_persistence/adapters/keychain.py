"""The keychain of the system, as a place for small secrets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection
from typing import TypeVar

from ..errors import CapabilityUnavailableError, ConfigurationError, PersistenceError, StorageUnavailableError
from ..keys import check_stored_keys
from ..platform.local import local_secrets
from ..platform.secrets import MOST_BYTES, Secrets
from ..runtime.threads import in_thread
from ..storage.adapter import Durability, Stored, Traits
from ..storage.basic import BasicAdapter, content_version
from ..storage.listing import Listing

__all__ = ["KeychainAdapter"]

T = TypeVar("T")


class KeychainAdapter(BasicAdapter):
    """Secrets of one ``service`` in the system's keychain: confidential, small, and slow (milliseconds).

    Linux: the Secret Service (extra ``keychain``); macOS: the login keychain; Windows: the Credential
    Manager. A locked or missing keychain is an error, ``AccessDeniedError`` or ``StorageUnavailableError``,
    and never a missing value; there is no other place that secrets would go to instead. A record has at most
    65,536 bytes, and 2,560 on Windows, its head of some 60 bytes included. Not atomic; ``expect`` holds in
    this process only. It promises ``process_exit``: when a secret reaches the disk is the keychain's own
    affair. On Linux and Windows any program of the same user can read an unlocked keychain.

    ``allow_prompt``: a locked keychain may ask the person, for up to two minutes; else it is refused.
    ``timeout``: seconds until a keychain that does not answer is given up.
    """

    def __init__(self, service: str, *, allow_prompt: bool = False, timeout: float = 25.0) -> None:
        if not service or not service.isprintable():
            raise ConfigurationError(
                "a keychain's service is a name that people can read",
                hint="for example KeychainAdapter('notes')",
            )
        self.service: str = service
        self._allow_prompt = allow_prompt
        self._timeout = timeout + (120.0 if allow_prompt else 0.0)
        self._secrets: Secrets | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"KeychainAdapter({self.service!r})"

    @property
    def location(self) -> str:
        return f"the keychain's items of {self.service!r}"

    @property
    def traits(self) -> Traits:
        return Traits(
            atomic=False,
            durability=Durability.PROCESS_EXIT,
            shared=False,
            confidential=True,
            max_value_bytes=MOST_BYTES,
            max_key_bytes=512,
        )

    async def aopen(self) -> None:
        if self._secrets is None:
            secrets = local_secrets(self.service, allow_prompt=self._allow_prompt)
            await self._ask(secrets.open)
            self._secrets = secrets

    async def aclose(self) -> None:
        secrets, self._secrets = self._secrets, None
        if secrets is not None:
            await self._ask(secrets.close)

    async def read(self, key: str) -> bytes | None:
        return (await self._ask(lambda: self._opened().read((key,)))).get(key)

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        check_stored_keys(keys, self.traits.max_key_bytes)
        found = await self._ask(lambda: self._opened().read(keys))
        return {key: Stored(data, content_version(data)) for key, data in found.items()}

    async def write(self, key: str, data: bytes) -> None:
        await self._ask(lambda: self._opened().write(key, data))

    async def delete(self, key: str) -> None:
        await self._ask(lambda: self._opened().delete(key))

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        listing = Listing(prefix, after, limit, reverse)
        for key in listing.of(sorted(await self._ask(lambda: self._opened().names()))):
            yield key

    def _opened(self) -> Secrets:
        if self._secrets is None:
            raise CapabilityUnavailableError(
                "the keychain is not open", adapter=self, hint="open it first, in `async with`"
            )
        return self._secrets

    async def _ask(self, work: Callable[[], T]) -> T:
        """Done in a thread, one request at a time: a keychain may wait for a person."""

        def alone() -> T:
            with self._lock:
                return work()

        try:
            async with asyncio.timeout(self._timeout):
                return await in_thread(alone)
        except TimeoutError as error:
            if isinstance(error, PersistenceError):
                raise
            raise StorageUnavailableError(
                f"the keychain did not answer within {self._timeout:.0f} seconds",
                adapter=self,
                hint="is a prompt waiting for an answer? what was asked may still happen",
            ) from error
        except PersistenceError as error:
            raise error.naming(adapter=self)  # noqa: B904 - the same error, named
