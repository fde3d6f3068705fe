"""The objects of one store, as requests: the one place that knows obstore."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, S3Store

from ...errors import (
    AccessDeniedError,
    CapabilityUnavailableError,
    ConfigurationError,
    StorageError,
    StoreNotFoundError,
)
from .._networked.settle import Unreachable
from .place import Place

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ObjectStore

__all__ = ["Bucket", "Part"]

T = TypeVar("T")

_REQUEST: Final = 3
"""How many requests without any reply fit into the time that a call may take."""
_CONNECTING_S: Final = 3
_STATUS: Final = re.compile(r"non-2xx status code: (\d\d\d)")
_GONE: Final[dict[type[Exception], None]] = {FileNotFoundError: None}
_BUSY: Final = (408, 409, 429)
_METADATA: Final = "//169.254."
"""Where a machine of a cloud asks for its role, which the client does where it has no key."""
_STORES: Final[dict[str, type[AzureStore | GCSStore | S3Store]]] = {
    "s3": S3Store,
    "az": AzureStore,
    "gs": GCSStore,
}
"""By the scheme of an address."""

_process: int | None = None
"""Who has used the client's threads: they do not come along into a forked child."""


class Part(NamedTuple):
    """What was read of an object."""

    data: bytes
    size: int
    """Of the whole object."""


class Bucket:
    """What lies below the prefix. Every call is one request and may be made on any thread.

    Raises ``Unreachable`` where nobody knows what became of it and trying again may help.
    """

    def __init__(self, place: Place, adapter: object) -> None:
        global _process
        if _process not in (None, os.getpid()):
            raise CapabilityUnavailableError(
                "an object store was used in the process that this one was forked from",
                adapter=adapter,
                hint="start other processes by 'spawn' or 'forkserver', or open the store only in the child",
            )
        _process = os.getpid()
        self._adapter = adapter
        self.place: Place = place
        self._above = f"{place.prefix}/" if place.prefix else ""
        self._store = self._opened()
        self.requests: Counter[str] = Counter()
        """By kind."""

    def _opened(self) -> ObjectStore:
        place = self.place
        limit = timedelta(seconds=place.timeout / _REQUEST)
        try:
            return _STORES[place.vendor.scheme](
                place.bucket,
                config=place.login,  # type: ignore[arg-type]
                client_options={
                    "allow_http": place.endpoint is not None and place.endpoint.startswith("http:"),
                    "timeout": limit,
                    "connect_timeout": min(timedelta(seconds=_CONNECTING_S), limit),
                    "user_agent": "axiom-persistence",
                },
                # We repeat ourselves: it could not tell its own first attempt from somebody else's.
                retry_config={"max_retries": 0},
            )
        except BaseError:  # not chained: its text quotes what it was given
            pass
        raise ConfigurationError(
            "the settings of the environment and the address are none that obstore can use",
            adapter=self._adapter,
            hint=f"check the variables that begin with {place.vendor.variables}",
        )

    def create(self, name: str, data: bytes) -> bool:
        """Make an object of a name that no object has. False: one has it."""
        return self._ask("put", lambda: self._put(name, data, create=True), {AlreadyExistsError: False})

    def put(self, name: str, data: bytes) -> None:
        """Make an object, or replace it."""
        self._ask("put", lambda: self._put(name, data, create=False))

    def _put(self, name: str, data: bytes, *, create: bool) -> bool:
        mode = "create" if create else "overwrite"
        obstore.put(self._store, self._above + name, data, mode=mode, use_multipart=False)  # type: ignore[arg-type]
        return True

    def read(self, name: str, start: int = 0, length: int | None = None) -> Part | None:
        """``length`` bytes from ``start`` (None: all of it). None: there is none, or it ends before."""

        options: GetOptions = {} if length is None else {"range": (start, start + length)}

        def get() -> Part | None:
            found = obstore.get(self._store, self._above + name, options=options)
            return Part(bytes(found.bytes()), found.meta["size"])

        absent: dict[type[Exception], Part | None] = {FileNotFoundError: None}
        return self._ask("get", get, absent, unsatisfiable=None)

    def names(self, below: str, most: int | None = None) -> list[str]:
        """The names that begin with the folder ``below``, in order; the first ``most`` of them."""

        def get() -> list[str]:
            found = obstore.list(self._store, self._above + below, chunk_size=min(1000, most or 1000))
            every = (each["path"].removeprefix(self._above) for page in found for each in page)
            return list(islice(every, most))

        return self._ask("list", get)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects, one request each; fine where they are gone."""
        for name in names:
            # Not many at once: where one of them is gone, the client may not come to the others.
            self._ask("delete", partial(obstore.delete, self._store, self._above + name), _GONE)

    def _ask(
        self,
        kind: str,
        request: Callable[[], T],
        meant: dict[type[Exception], T] | None = None,
        **unsatisfiable: T,
    ) -> T:
        """What ``request`` returns, or what an error means. Others are raised as our own."""
        self.requests[kind] += 1
        try:
            return request()
        except Exception as raised:
            # Not chained: its text quotes the request, and a server's answer may quote credentials.
            error, text = raised, str(raised)
        if self.place.vendor.absent not in text:
            for each, answer in (meant or {}).items():
                if isinstance(error, each):
                    return answer
            if unsatisfiable and _status(text) == 416:
                return unsatisfiable["unsatisfiable"]
        raise self._explained(error, text)

    def _explained(self, error: Exception, text: str) -> Exception:
        vendor, status = self.place.vendor, _status(text)
        if _METADATA in text:
            return AccessDeniedError(
                "no access key was found in the address or the environment, and this machine has no role",
                adapter=self._adapter,
                hint=vendor.keys,
            )
        if "incorrectly configured region" in text:
            return ConfigurationError(
                "the bucket is in another region", adapter=self._adapter, hint="name it in region="
            )
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return AccessDeniedError(
                "the server does not let us in, or not do this: the keys are wrong, or lack a right",
                adapter=self._adapter,
                hint="check the keys in the address or the environment, and that they may get, put, list "
                "and delete objects below the prefix",
            )
        if vendor.absent in text or isinstance(error, FileNotFoundError) or status == 404:
            return StoreNotFoundError(
                f"there is no {vendor.bucket} {self.place.bucket!r}",
                adapter=self._adapter,
                hint="create it, or correct the address",
            )
        if status is None or status >= 500 or status in _BUSY:
            return Unreachable(self._why(error, text, status))
        return StorageError(
            f"the server refused with status {status}", adapter=self._adapter, hint="see the server's log"
        )

    def _why(self, error: Exception, text: str, status: int | None) -> str:
        if "dns error" in text:
            account = self.place.account if self.place.endpoint is None else None
            return "no host of that name is known" + (f"; is {account!r} the account?" if account else "")
        if "ConnectionRefused" in text or "Connection refused" in text:
            return "nothing listens there"
        return f"it answered {status}" if status else type(error).__name__


def _status(text: str) -> int | None:
    found = _STATUS.search(text)
    return int(found[1]) if found else None
